"""Fields: four single-channel files of one place, read as one array; what tells two fields apart, or one twice."""

import contextlib
import hashlib
import unicodedata
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image, UnidentifiedImageError

from hpa_utils import planes
from hpa_utils.checks import check_pixels
from hpa_utils.dataset import CHANNELS, Dataset, list_fields
from hpa_utils.limits import OutOfTime

PERCENTILES = (1, 50, 99, 99.9)
# JPEG, a gamma or another size change at most 6 bits; of 66,066 pairs of different fields (real and
# simulated) none differed in fewer than 12. A crop by 2 % changes up to 12 bits, and a mirrored field is another one.
DISTANCE = 6
BLOCK = 64  # hashes that are compared with all others at a time


def read_field(
    folder: str | Path, image_id: str, names: dict[str, str] | None = None, bit_depth: int = 0
) -> np.ndarray:
    """Read the four channels of a field: uint8 (H, W, 4), channel order red, green, blue, yellow.

    `folder` holds ``{image_id}_{red,green,blue,yellow}`` as png, jpg or tif, 8 or 16 bit. A colour file is reduced to
    the channel it is named for (yellow: the mean of red and green). `names` are the field's in `Dataset.files`, without
    which the folder is listed; `bit_depth` is the data set's, without which the field's own brightest pixel decides.

    Raises FileNotFoundError naming the channels that are missing; ValueError, naming the file, if one is damaged, holds
    values beyond the bit depth or of unknown meaning (`planes.read_plane`), or the channels differ in size.
    """
    files = channel_files(folder, image_id, names)
    missing = [channel for channel in CHANNELS if channel not in files]
    if missing:
        raise FileNotFoundError(f"field {image_id}: no {', '.join(missing)} channel in {folder}")
    found = [planes.read_plane(files[channel], channel) for channel in CHANNELS]
    if len({plane.shape for plane in found}) > 1:
        sizes = ", ".join(f"{name} {p.shape[0]}×{p.shape[1]}" for name, p in zip(CHANNELS, found, strict=True))
        raise ValueError(f"field {image_id}: channels differ in size (rows × columns): {sizes}")
    bit_depth = bit_depth or planes.fitting_depth(max(map(planes.brightest_value, found)))
    return cv2.merge([planes.to_eight_bit(p, bit_depth, files[c]) for c, p in zip(CHANNELS, found, strict=True)])


def read_field_of(dataset: Dataset, split: str, image_id: str) -> np.ndarray:
    """`read_field` of a field of a data set, without another look at its folder."""
    names = dataset.files[split].get(image_id, {})
    return read_field(dataset.folders[split], image_id, names, dataset.bit_depth)


def channel_files(folder: str | Path, image_id: str, names: dict[str, str] | None = None) -> dict[str, Path]:
    """The file of each channel that a field has in `folder`; `names` as of `read_field`."""
    if names is None:
        names = list_fields(folder).get(unicodedata.normalize("NFC", image_id), {})
    return {channel: Path(folder) / names[channel] for channel in CHANNELS if channel in names}


def field_size(folder: str | Path, image_id: str, names: dict[str, str] | None = None) -> tuple[int, int]:
    """Height and width of a field, px, from the header of one of its files; `names` as of `read_field`.

    Raises FileNotFoundError if it has none, ValueError if that is no image.
    """
    files = channel_files(folder, image_id, names)
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
    check_pixels(field, "field")
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


def file_digest(folder: str | Path, image_id: str, names: dict[str, str]) -> str:
    """SHA-256 of the names and contents of a field's files: tells whether a field set aside has changed."""
    digest = hashlib.sha256()
    for channel, path in sorted(channel_files(folder, image_id, names).items()):
        digest.update(f"{channel}:{path.name}:".encode())
        with contextlib.suppress(OSError):  # a dead link, no permission
            digest.update(path.read_bytes())
    return digest.hexdigest()


def describe_failure(folder: str | Path, image_id: str, names: dict[str, str], error: Exception) -> dict:
    """Why a field is set aside, as manifests and the field table say it: `error` and `error_files`.

    One that there was no time for has no `error_files`, so that it is tried again whatever its files are.
    """
    reason = f"{type(error).__name__}: {error}".replace(str(folder), Path(folder).name)
    late = isinstance(error, OutOfTime)
    return {"error": reason, "error_files": "" if late else file_digest(folder, image_id, names)}


def set_aside_unchanged(folders: dict[str, Path], files: dict[str, dict], set_aside: list[dict]) -> bool:
    """Whether the files of the fields set aside are still the ones that failed.

    Each field has `image_id`, `split` and `error_files`, the `file_digest` of then; `folders` and `files` are as in
    `Dataset`, and fields of other splits are passed over.
    """
    return all(
        row["error_files"]
        == file_digest(folders[row["split"]], row["image_id"], files[row["split"]].get(row["image_id"], {}))
        for row in set_aside
        if row["split"] in folders
    )


def near_duplicates(hashes, others=None, distance: int = DISTANCE) -> np.ndarray:
    """Pairs of fields whose hashes differ in at most `distance` bits (0…64).

    Every hash is compared with every other (XOR and a count of bits), so none is missed. Hashes are those of
    `perceptual_hash`, 16 hexadecimal digits, as in the column `blue_hash` of the field table. An empty string (a
    field set aside) and the hash of an even plane, which tells nothing, have no duplicates.

    The pairs, int64 (n, 2), sorted, are positions in `hashes` and in `others`; without `others` both in `hashes`, the
    smaller first. Raises ValueError if a hash is neither empty nor 16 hexadecimal digits, naming it, or the distance is
    no number of bits.
    """
    if not 0 <= distance <= 64:
        raise ValueError(f"distance is {distance}; expected 0…64 bits")
    within = others is None
    left, left_at = _parse_hashes(hashes)
    right, right_at = (left, left_at) if within else _parse_hashes(others)
    found = [np.zeros((0, 2), np.int64)]
    for top in range(0, left.size, BLOCK):
        start = top if within else 0
        differing = np.bitwise_count(left[top : top + BLOCK, None] ^ right[start:])
        i, j = np.nonzero(differing <= distance)
        found.append(np.stack([left_at[top + i], right_at[start + j]], axis=1))
    pairs = np.concatenate(found)
    pairs = pairs[pairs[:, 0] < pairs[:, 1]] if within else pairs
    return pairs[np.lexsort(pairs.T[::-1])]


def fields_repeated(fields: pd.DataFrame, others: pd.DataFrame) -> pd.DataFrame:
    """The fields of one field table that recur in another.

    A row a field: `image_id`, and `recurs_as`, the ID of the first of `others` that it nearly equals.
    """
    pairs = near_duplicates(fields["blue_hash"], others["blue_hash"])
    pairs = pairs[np.unique(pairs[:, 0], return_index=True)[1]]
    mine, theirs = fields["image_id"].to_numpy(), others["image_id"].to_numpy()
    return pd.DataFrame({"image_id": mine[pairs[:, 0]], "recurs_as": theirs[pairs[:, 1]]})


def _parse_hashes(hashes) -> tuple[np.ndarray, np.ndarray]:
    """The hashes that tell something, uint64, and their positions."""
    numbers = np.zeros(len(hashes), np.uint64)
    for position, text in enumerate(hashes):
        if text:
            try:
                (numbers[position],) = np.frombuffer(bytes.fromhex(text), ">u8")
            except ValueError:
                raise ValueError(f"hash {text!r} at position {position}: expected 16 hexadecimal digits") from None
    # half of a hash's bits are set, but only the first, if any, where the plane is even
    at = np.flatnonzero(np.bitwise_count(numbers) > 1)
    return numbers[at], at
