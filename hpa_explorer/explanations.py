"""Which part of a cell's protein a class of the network hangs on: the light is hidden place by place."""

from collections.abc import Sequence

import cv2
import numpy as np

from hpa_utils.labels import N_CLASSES
from hpa_utils.model import keras

GREEN = 1
SPACING = 12  # steps of the hidden square along a crop's side; it is two steps wide, so each pixel is hidden four times


def explain_cells(
    network: keras.Model,
    crops: np.ndarray,
    percentiles: np.ndarray,
    labels: Sequence[int] | None = None,
    batch_size: int = 64,
) -> np.ndarray:
    """By how much a class's logit falls where the protein's light is hidden (occlusion, Zeiler and Fergus 2014).

    A square of a sixth of the crop's side is moved over the cell; within it green is 0, the other channels stay. A
    pixel has the mean of the four squares that hide it, smoothed by half a step.

    Parameters
    ----------
    network : keras.Model
        As of `predict_logits`.
    crops : numpy.ndarray
        uint8 (N, S, S, 4), channel order red, green, blue, yellow.
    percentiles : numpy.ndarray
        float32 (N, 4, 4), brightness of the cells' fields.
    labels : sequence of int, optional
        The classes wanted, in this order; all 19 by default, at no further cost.
    batch_size : int
        Hidden squares a step; a cell has some 170.

    Returns
    -------
    numpy.ndarray
        float32 (N, labels, S, S), in logits: above 0 where the light speaks for the class, below 0 where against it.

    Raises
    ------
    ValueError
        If a label is none of 0…18, or there are not as many percentiles as crops.

    Notes
    -----
    The maps are coarse. They do not show where the structure is, the protein channel itself does that better; they
    tell which of the light counts for which class (``benchmarks/explanations.py``, ``docs/explore.md``).
    """
    labels = list(range(N_CLASSES) if labels is None else labels)
    if not set(labels) <= set(range(N_CLASSES)):
        raise ValueError(f"labels are {labels}; expected some of 0…{N_CLASSES - 1}")
    if len(percentiles) != len(crops):
        raise ValueError(f"percentiles of {len(percentiles)} cells for {len(crops)} crops; expected one (4, 4) each")
    maps = np.zeros((len(crops), len(labels), *crops.shape[1:3]), np.float32)
    if not labels:
        return maps
    step = max(1, crops.shape[1] // SPACING)
    for of_cell, crop, brightness in zip(maps, crops, percentiles, strict=True):
        squares = _squares(crop[..., GREEN], step)
        falls = _falls(network, crop, brightness, squares, batch_size)[:, labels]
        for square, fall in zip(squares, falls, strict=True):
            of_cell[:, *square] += fall[:, None, None] / 4
        of_cell[:] = [cv2.GaussianBlur(one, (0, 0), step / 2) for one in of_cell]
    return maps


def _squares(plane: np.ndarray, step: int) -> list[tuple[slice, slice]]:
    """The squares, two steps wide and one apart, in which a plane (S, S) has any light."""
    starts = range(-step, len(plane), step)
    slices = [slice(max(start, 0), start + 2 * step) for start in starts]
    return [(rows, columns) for rows in slices for columns in slices if plane[rows, columns].any()]


def _falls(network: keras.Model, crop: np.ndarray, brightness: np.ndarray, squares: list, batch_size: int):
    """By how much each logit of a cell falls when one of the squares is hidden: float32 (squares, 19)."""

    def logits(cells):
        return network.predict_on_batch([cells, np.repeat(brightness[None], len(cells), 0)])

    whole, falls = np.float32(crop)[None], [np.zeros((0, N_CLASSES), np.float32)]
    before = logits(whole)
    for start in range(0, len(squares), batch_size):
        some = squares[start : start + batch_size]
        cells = np.repeat(whole, batch_size, 0)  # always as many: TensorFlow traces each number anew
        for cell, square in zip(cells, some):
            cell[*square, GREEN] = 0
        falls.append(before - logits(cells)[: len(some)])
    return np.concatenate(falls)
