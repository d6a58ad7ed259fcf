"""Cell masks as text: COCO run lengths, and the competition's encoding of them.

A mask travels as its *counts*: the compressed run lengths of pycocotools, column by column over the full
field. The competition's text is base64(zlib(counts)), so the step from one to the other needs no pixels.
"""

import base64
import binascii
import zlib

import cv2
import numpy as np
from pycocotools import mask as coco

from hpa_utils.checks import check_mask


def encode_counts(mask: np.ndarray) -> bytes:
    """COCO counts of one mask, bool (H, W)."""
    check_mask(mask)
    return coco.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"]


def decode_counts(counts: bytes, height: int, width: int) -> np.ndarray:
    """The mask, bool (H, W), of COCO counts; ValueError if they describe no mask of this size."""
    check_counts(counts, height, width)
    return coco.decode({"size": [height, width], "counts": counts}).astype(bool)


def check_counts(counts: bytes, height: int, width: int) -> None:
    """Raise ValueError unless the run lengths add up to height × width.

    pycocotools itself reads past its memory on damaged counts, so they are checked here first.
    """
    lengths = _run_lengths(counts)
    if lengths.size == 0 or (lengths < 0).any() or int(lengths.sum()) != height * width:
        raise ValueError(f"mask does not fit a field of {height} × {width} px (rows × columns)")


def box_counts(mask: np.ndarray, y0: int, x0: int, height: int, width: int) -> bytes:
    """COCO counts of a mask given only inside its box, which starts at row `y0`, column `x0`: bool (h, w).

    `height` and `width` are the field's, px. Encoding the box alone is what makes writing the masks of a 2048² field
    cheap; the result is byte for byte what `encode_counts` gives for the full-size mask.
    """
    check_mask(mask)
    columns = np.zeros((mask.shape[1], mask.shape[0] + 2), np.int8)
    columns[:, 1:-1] = mask.T
    steps = np.diff(columns, axis=1)
    column, row = np.nonzero(steps == 1)
    starts = (column + x0) * height + row + y0
    column, row = np.nonzero(steps == -1)
    ends = (column + x0) * height + row + y0
    joined = starts[1:] == ends[:-1]  # a run that leaves a column at its foot and enters the next at its head
    starts, ends = starts[np.r_[True, ~joined][: starts.size]], ends[np.r_[~joined, True][: ends.size]]
    return run_counts(starts, ends, height, width)


def run_counts(starts: np.ndarray, ends: np.ndarray, height: int, width: int) -> bytes:
    """COCO counts of the mask made of these runs (half-open, apart), in pixels column by column over the field."""
    runs = np.diff(np.concatenate([[0], np.stack([starts, ends], axis=1).ravel(), [height * width]]))
    if len(ends) and ends[-1] == height * width:
        runs = runs[:-1]
    return coco.frPyObjects({"size": [height, width], "counts": runs.tolist()}, height, width)["counts"]


def counts_to_text(counts: bytes) -> str:
    """The competition's text of COCO counts: zlib at level 9, then base64."""
    return base64.b64encode(zlib.compress(counts, 9)).decode("ascii")


def text_to_counts(text: str) -> bytes:
    """COCO counts of the competition's text; ValueError if it is no base64, or not zlib inside."""
    try:
        return zlib.decompress(base64.b64decode(text, validate=True))
    except (binascii.Error, zlib.error, ValueError) as error:
        raise ValueError(f"mask text {text[:20]!r}… is not base64 of zlib: {error}") from error


def encode_mask(mask: np.ndarray) -> str:
    """Encode a mask, bool (H, W), as the competition does: COCO counts → zlib level 9 → base64.

    Source: the competition's "Encoding" page.
    """
    return counts_to_text(encode_counts(mask))


def decode_mask(text: str, height: int, width: int) -> np.ndarray:
    """Decode a mask, bool (height, width), from the competition's text: the inverse of `encode_mask`.

    Raises ValueError if the text is damaged or belongs to a field of another number of pixels.
    """
    return decode_counts(text_to_counts(text), height, width)


def paint_labels(counts: list[bytes], numbers: list[int], height: int, width: int) -> np.ndarray:
    """Label image of disjoint masks, uint16 (height, width): `numbers[i]` where mask i is, 0 elsewhere.

    Raises ValueError if a mask does not fit the field, or two overlap.
    """
    starts, ends, values = [], [], []
    for mask_counts, number in zip(counts, numbers, strict=True):
        check_counts(mask_counts, height, width)
        edges = np.cumsum(_run_lengths(mask_counts))
        starts.append(edges[0::2][: edges[1::2].size])
        ends.append(edges[1::2])
        values.append(np.full(edges[1::2].size, number))
    if not starts:
        return np.zeros((height, width), np.uint16)
    starts, ends, values = (np.concatenate(part) for part in (starts, ends, values))
    order = np.argsort(starts)
    starts, ends, values = starts[order], ends[order], values[order]
    if (starts[1:] < ends[:-1]).any():
        raise ValueError("masks of one field overlap")
    lengths = np.diff(np.r_[0, np.stack([starts, ends], axis=1).ravel(), height * width])
    runs = np.r_[np.stack([np.zeros_like(values), values], axis=1).ravel(), 0].astype(np.uint16)
    # cv2 transposes in blocks, several times as fast as a strided copy
    return cv2.transpose(np.repeat(runs, lengths).reshape(width, height))


def _run_lengths(counts: bytes) -> np.ndarray:
    """Run lengths of compressed COCO counts: 5 bits a byte, low bits first, differences from the second last run."""
    values = np.frombuffer(counts, np.uint8).astype(np.int64) - 48
    if values.size == 0 or values.min() < 0 or values.max() > 63 or values[-1] & 32:
        return np.zeros(0, np.int64)
    last = (values & 32) == 0
    number = np.concatenate([[0], np.cumsum(last)[:-1]])
    first = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    place = np.arange(values.size) - first[number]
    if place.max() > 11:
        return np.zeros(0, np.int64)
    deltas = np.zeros(int(last.sum()), np.int64)
    np.add.at(deltas, number, (values & 31) << (5 * place))
    negative = last & ((values & 16) != 0)
    deltas[number[negative]] -= np.int64(1) << (5 * (place[negative] + 1))
    # lengths[i] = deltas[i] + lengths[i - 2] from the fourth run on: two interleaved running sums
    lengths = deltas.copy()
    for parity in (1, 2):
        lengths[parity::2] = np.cumsum(deltas[parity::2])
    return lengths
