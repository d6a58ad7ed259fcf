"""Which masks of a field overlap, and by how much, computed on the run lengths: no mask is decoded."""

import numpy as np
import pandas as pd
from pycocotools import mask as coco


def mask_keys(rows: pd.DataFrame) -> list[tuple[int, int, bytes]]:
    """(height, width, counts) of each row: what a mask is within its field."""
    return list(zip(rows["height"].tolist(), rows["width"].tolist(), rows["counts"]))


def mask_areas(keys: list[tuple[int, int, bytes]]) -> np.ndarray:
    """Pixels of masks, (n,), counted on the run lengths."""
    return np.asarray(coco.area(_rles(keys)), np.int64).reshape(len(keys))


def mask_centres(keys: list[tuple[int, int, bytes]]) -> np.ndarray:
    """Centres (x, y) of the boxes around masks, px, (n, 2)."""
    boxes = np.asarray(coco.toBbox(_rles(keys)), float).reshape(len(keys), 4)
    return boxes[:, :2] + boxes[:, 2:] / 2


def mask_iou(first: list[tuple[int, int, bytes]], second: list[tuple[int, int, bytes]]) -> np.ndarray:
    """IoU of masks, float (n, m), computed on the run lengths.

    Masks of different sizes do not overlap: they cannot be of the same field.
    """
    overlap = np.asarray(coco.iou(_rles(first), _rles(second), [0] * len(second)), float)
    sizes = [np.array([key[:2] for key in keys]).reshape(-1, 1, 2) for keys in (first, second)]
    same = (sizes[0] == sizes[1].swapaxes(0, 1)).all(axis=2)
    return np.where(same, overlap.reshape(len(first), len(second)), 0.0)


def _rles(keys: list[tuple[int, int, bytes]]) -> list[dict]:
    return [{"size": [height, width], "counts": counts} for height, width, counts in keys]


def rows_by_field(field: np.ndarray, count: int) -> list[np.ndarray]:
    """The positions of each field 0…count − 1, in ascending order."""
    order = np.argsort(field, kind="stable")
    return np.split(order, np.searchsorted(field[order], np.arange(1, count)))[:count]


def unique_masks(keys: list[tuple], rows: np.ndarray) -> tuple[list[tuple], np.ndarray]:
    """The different masks of these rows, and which of them each row has."""
    numbers = {}
    which = np.array([numbers.setdefault(keys[row], len(numbers)) for row in rows], np.int64)
    return list(numbers), which
