"""Fields: four single-channel files of one place, read as one array."""

import hashlib
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from hpa_utils.dataset import CHANNELS, EXTENSIONS
from hpa_utils.limits import OutOfTime

PERCENTILES = (1, 50, 99, 99.9)


def read_field(folder: str | Path, image_id: str) -> np.ndarray:
    """Read the four channels of a field: uint8 (H, W, 4), channel order red, green, blue, yellow.

    `folder` holds ``{image_id}_{red,green,blue,yellow}`` as png, jpg or tif, 8 or 16 bit. A colour file is reduced to
    the channel it is named for (yellow: the mean of red and green). Raises FileNotFoundError naming the channels that
    are missing, ValueError if a file cannot be decoded, or the channels differ in size.
    """
    files = channel_files(folder, image_id)
    missing = [channel for channel in CHANNELS if channel not in files]
    if missing:
        raise FileNotFoundError(f"field {image_id}: no {', '.join(missing)} channel in {folder}")
    planes = [_read_plane(files[channel], channel) for channel in CHANNELS]
    if len({plane.shape for plane in planes}) > 1:
        sizes = ", ".join(f"{name} {p.shape[0]}×{p.shape[1]}" for name, p in zip(CHANNELS, planes, strict=True))
        raise ValueError(f"field {image_id}: channels differ in size (rows × columns): {sizes}")
    return cv2.merge(planes)


def channel_files(folder: str | Path, image_id: str) -> dict[str, Path]:
    """The file of each channel that a field has in `folder`."""
    candidates = ((c, Path(folder) / f"{image_id}_{c}{ext}") for c in CHANNELS for ext in reversed(EXTENSIONS))
    return {channel: path for channel, path in candidates if path.is_file()}


def field_size(folder: str | Path, image_id: str) -> tuple[int, int]:
    """Height and width of a field, px, from the header of one of its files.

    Raises FileNotFoundError if it has none, ValueError if that is no image.
    """
    files = channel_files(folder, image_id)
    if not files:
        raise FileNotFoundError(f"field {image_id}: no channel file in {folder}")
    path = next(iter(files.values()))
    try:
        with Image.open(path) as image:
            return image.height, image.width
    except (UnidentifiedImageError, OSError) as error:
        raise ValueError(f"{path} is no readable image: {error}") from None


def field_percentiles(field: np.ndarray) -> np.ndarray:
    """Brightness percentiles 1, 50, 99 and 99.9 of each channel, float32 (4 channels, 4), from exact histograms."""
    table = np.empty((4, len(PERCENTILES)), np.float32)
    for channel in range(4):
        counts = cv2.calcHist([field], [channel], None, [256], [0, 256]).ravel()
        table[channel] = np.searchsorted(np.cumsum(counts), np.array(PERCENTILES) / 100 * counts.sum())
    return table


def perceptual_hash(plane: np.ndarray) -> str:
    """64-bit DCT hash of an image, 16 hexadecimal digits: near-duplicates differ in few bits.

    Source: the pHash scheme (Zauner 2010): the 8 × 8 lowest frequencies of a 32 × 32 thumbnail, each against
    their median.
    """
    thumbnail = cv2.resize(plane, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = cv2.dct(thumbnail)[:8, :8].ravel()
    return np.packbits(low > np.median(low)).tobytes().hex()


def file_digest(folder: str | Path, image_id: str) -> str:
    """SHA-256 of the names and contents of a field's files: tells whether a field set aside has changed."""
    digest = hashlib.sha256()
    for channel, path in sorted(channel_files(folder, image_id).items()):
        digest.update(f"{channel}:{path.name}:".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def describe_failure(folder: str | Path, image_id: str, error: Exception) -> dict:
    """Why a field is set aside, as manifests and the field table say it: `error` and `error_files`.

    One that there was no time for has no `error_files`, so that it is tried again whatever its files are.
    """
    reason = f"{type(error).__name__}: {error}".replace(str(folder), Path(folder).name)
    return {"error": reason, "error_files": "" if isinstance(error, OutOfTime) else file_digest(folder, image_id)}


def set_aside_unchanged(folders: dict[str, Path], set_aside: list[dict]) -> bool:
    """Whether the files of the fields set aside are still the ones that failed.

    Each field has `image_id`, `split` and `error_files`, the `file_digest` of then; `folders` are the image folders of
    the splits, and fields of other splits are passed over.
    """
    return all(
        row["error_files"] == file_digest(folders[row["split"]], row["image_id"])
        for row in set_aside
        if row["split"] in folders
    )


def _read_plane(path: Path, channel: str) -> np.ndarray:
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None:
        raise ValueError(f"{path} cannot be decoded: not a whole png, jpg or tif")
    if image.ndim == 3:
        image = _reduce_colour(image, channel)
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ValueError(f"{path} holds {image.dtype} values; expected 8 or 16 bit")
    return image


def _reduce_colour(image: np.ndarray, channel: str) -> np.ndarray:
    blue, green, red = (image[..., i].astype(np.uint32) for i in range(3))  # OpenCV's order
    plane = {"red": red, "green": green, "blue": blue, "yellow": (red + green + 1) // 2}[channel]
    return plane.astype(image.dtype)
