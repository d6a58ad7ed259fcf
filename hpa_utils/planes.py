"""Planes: the pixels of one image file, as one channel; or the reason why they cannot be read rightly."""

import io
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from hpa_utils.jpeg import check_jpeg

BIT_DEPTHS = (8, 10, 12, 14, 16)  # what cameras give
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS_PER_SAMPLE, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 258, 262, 284, 339  # tags of a TIFF
SAVE = "save the channel as grey of 8 or 16 bit, without a sign"


def read_plane(path: str | Path, channel: str) -> np.ndarray:
    """Read one file as the channel that it is named for: its values as stored, uint8 or uint16 (H, W).

    A colour file is reduced to that channel (yellow: the mean of red and green). Raises FileNotFoundError, or
    ValueError, naming the file, if it cannot be decoded or its values would not be what they seem: damaged, of several
    pages, 16 bit with white as zero, partly transparent, not of 8 or 16 bit.
    """
    data = Path(path).read_bytes()
    try:
        if data.startswith(TIFF):
            image = _decode_tiff(data)
        else:
            if data.startswith(b"\xff\xd8"):
                check_jpeg(data)
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
        if image is None:
            raise ValueError("not a whole png, jpg or tif")
        if image.dtype not in (np.uint8, np.uint16):
            raise ValueError(f"it holds {image.dtype} values; {SAVE}")
        return _reduce_colour(image, channel) if image.ndim == 3 else image
    except Exception as error:  # Pillow's decoders raise whatever they meet
        raise ValueError(f"{path} cannot be decoded: {str(error) or type(error).__name__}") from None


def brightest_value(plane: np.ndarray) -> int:
    """The brightest pixel of a plane; 0 of one of 8 bit, whose range is known."""
    return int(plane.max(initial=0)) if plane.dtype == np.uint16 else 0


def fitting_depth(brightest: int) -> int:
    """The bit depth of a camera that gives such a value in files of 16 bit."""
    return next(depth for depth in BIT_DEPTHS if brightest < 1 << depth)


def to_eight_bit(plane: np.ndarray, bit_depth: int, path: str | Path) -> np.ndarray:
    """Bring a plane to uint8: one of 16 bit from 0…2^`bit_depth` − 1, one of 8 bit as it is.

    ValueError if it holds values beyond that range: none are cut off.
    """
    if plane.dtype == np.uint8:
        return plane
    white = (1 << bit_depth) - 1
    if plane.max(initial=0) > white:
        raise ValueError(
            f"{path} holds values up to {plane.max():,}, beyond the {bit_depth} bit (0…{white:,}) of the data set: "
            f'give "bit_depth": {fitting_depth(brightest_value(plane))} in dataset.json'
        )
    return ((np.arange(white + 1) * 255 + white // 2) // white).astype(np.uint8)[plane]


def _decode_tiff(data: bytes) -> np.ndarray:
    """As OpenCV does, but by Pillow: OpenCV passes over damage, and over tags that say what the values mean."""
    try:
        image = Image.open(io.BytesIO(data))
    except UnidentifiedImageError:
        raise ValueError(f"a kind of TIFF that is not read; {SAVE}") from None
    tags, pages = image.tag_v2, getattr(image, "n_frames", 1)
    if pages > 1:
        raise ValueError(f"it has {pages} pages; expected one")
    if not set(tags.get(SAMPLE_FORMAT, (1,))) <= {1, 4}:  # unsigned or unknown
        raise ValueError(f"it holds floating-point or signed values; {SAVE}")
    bits = max(tags.get(BITS_PER_SAMPLE, (1,)))
    try:
        image.load()
    except OSError as error:
        raise ValueError(f"damaged ({error})") from None
    if image.mode.startswith("I;16"):
        if tags.get(PHOTOMETRIC) == 0:
            raise ValueError(f"its tags say that white is zero; {SAVE}, black as zero")
        return np.asarray(image).astype(np.uint16)
    if image.mode == "RGB" and bits == 16 and tags.get(PLANES, 1) == 1:  # Pillow gives 8 bit of it
        return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if image.mode == "P":
        image = image.convert("RGB")
    if image.mode not in ("L", "RGB", "RGBA") or bits != 8:
        raise ValueError(f"it holds {bits} bit {image.mode} pixels; {SAVE}")
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 2 else pixels[..., [2, 1, 0, 3][: pixels.shape[2]]]


def _reduce_colour(image: np.ndarray, channel: str) -> np.ndarray:
    if image.shape[2] == 4 and image[..., 3].min() < np.iinfo(image.dtype).max:
        raise ValueError("it is partly transparent: save it without an alpha channel")
    blue, green, red = (image[..., i].astype(np.uint32) for i in range(3))  # OpenCV's order
    plane = {"red": red, "green": green, "blue": blue, "yellow": (red + green + 1) // 2}[channel]
    return plane.astype(image.dtype)
