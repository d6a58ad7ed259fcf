"""Planes: the pixels of one image file, as one channel; or the reason why they cannot be read rightly."""

import functools
import io
import re
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

BIT_DEPTHS = (8, 10, 12, 14, 16)  # what cameras give
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
BITS_PER_SAMPLE, PHOTOMETRIC, PLANES, SAMPLE_FORMAT = 258, 262, 284, 339  # tags of a TIFF
SAVE = "save the channel as grey of 8 or 16 bit, without a sign"
WINDOW = 16  # bits that are looked at, as many as a code may have
LAST = 1000  # added to the coefficients of a step that ends its block, which has 64 at most
LONGEST = 64 * 32 // 8  # bytes that a block may have


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


def check_jpeg(data: bytes) -> None:
    """Raise ValueError if the codes of a JPEG do not end where its pixels do.

    A decoder fills in what a damaged file lacks, and leaves what is left over, mostly without a word. Here the lengths
    of all codes are followed, without decoding: the last block must end in the last byte, whose other bits are equal.
    Progressive and arithmetic files are not followed.
    """
    try:
        whole = _is_filled(data)
    except (IndexError, KeyError, ValueError):
        whole = False
    if not whole:
        raise ValueError("damaged inside: its JPEG codes do not fill the picture")


def _is_filled(data: bytes) -> bool:
    frame, tables, interval, start, marker = b"", {}, 0, 2, 0
    while marker != 0xDA:  # start of scan
        while data[start + 1] == 0xFF:  # fill bytes
            start += 1
        marker, content = data[start + 1], data[start + 4 : start + 2 + int.from_bytes(data[start + 2 : start + 4])]
        if marker in (0xC0, 0xC1):  # baseline and extended sequential
            frame = content
        elif marker == 0xC4:
            tables |= _read_tables(content)
        elif marker == 0xDD:
            interval = int.from_bytes(content)
        start += 4 + len(content)
    if not frame or content[0] != frame[5]:
        return True
    sampling = [(factors >> 4, factors & 15) for factors in frame[7::3]] if frame[5] > 1 else [(1, 1)]
    blocks = []  # of a unit, which has as many of each component as its sampling says
    for number, (across, down) in zip(content[2 : 2 + 2 * frame[5] : 2], sampling, strict=True):
        blocks += [(tables[number >> 4], tables[16 + number % 16])] * (across * down)
    across, down = (8 * max(factors) for factors in zip(*sampling, strict=True))
    n_units = -(-int.from_bytes(frame[1:3]) // down) * -(-int.from_bytes(frame[3:5]) // across)
    codes = re.split(rb"\xff+[^\x00\xd0-\xd7\xff]", data[start:], maxsplit=1)[0]
    for piece in re.split(rb"\xff[\xd0-\xd7]", codes):  # at restart markers
        expected = min(interval or n_units, n_units)
        if not _end_together(piece.replace(b"\xff\x00", b"\xff"), blocks, expected):
            return False
        n_units -= expected
    return n_units == 0


@functools.lru_cache(maxsize=16)  # most files have the same
def _read_tables(content: bytes) -> dict[int, list]:
    """Number of a code table → its step for each value of the next 16 bits: bits to go on + 64 × coefficients passed.

    A step is 0 where no code has these bits.
    """
    tables = {}
    while content:
        bits, passed, first, place = np.zeros(1 << WINDOW, int), np.zeros(1 << WINDOW, int), 0, 17
        for length, count in enumerate(content[1:17], start=1):
            for symbol in content[place : place + count]:  # coefficients of 0 × 16 + bits of the next one
                end = first + (1 << WINDOW - length)
                bits[first:end] = length + symbol % 16
                passed[first:end] = symbol // 16 + 1 if symbol % 16 or symbol == 0xF0 else LAST
                first = end
            place += count
        tables[content[0]] = (bits + 64 * passed).tolist()
        content = content[place:]
    return tables


def _end_together(codes: bytes, blocks: list, n_units: int) -> bool:
    """Whether the blocks of so many units end in the last byte of the codes."""
    spread = np.frombuffer(codes + bytes(LONGEST + 2), np.uint8).astype(np.uint32)
    spread = spread[:-2] << 16 | spread[1:-1] << 8 | spread[2:]
    windows = memoryview((spread[:, None] >> np.arange(8, 0, -1)).astype(np.uint16).ravel())
    position, n_bits = 0, 8 * len(codes)
    for _ in range(n_units):
        for one, step in blocks:
            position += one[windows[position]] % 64  # the first coefficient
            coefficient = 1
            while coefficient < 64:
                taken = step[windows[position]]
                coefficient += taken >> 6
                position += taken % 64
                if not taken or 64 < coefficient <= LAST:
                    return False
            if position > n_bits:
                return False
    left = n_bits - position
    return left < 8 and (not left or codes[-1] % (1 << left) in (0, (1 << left) - 1))
