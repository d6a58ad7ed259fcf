"""Examples: crops of simulated cells that show a given class, for pictures."""

import numpy as np
from scipy import ndimage

from hpa_simulator.fields import draw_field
from hpa_simulator.plan import COARSE_UM

FIELD = 512  # px, of the fields that the crops are cut from


def draw_examples(label: int, number: int, side: int, seed: int) -> list[np.ndarray]:
    """Cells that show class `label`, each from another field and so mostly of another line.

    Returns
    -------
    list of numpy.ndarray
        `number` crops, uint8 (side, side, 4), at 0.32 µm a pixel. None is from a field that is dim or saturated.
    """
    crops, attempt = [], 0
    while len(crops) < number:
        rng = np.random.default_rng([seed, label, attempt])
        attempt += 1
        field = draw_field(rng, FIELD, COARSE_UM, [label], must={label})
        middles = _find_middles(field, label, side)
        if middles and field.image.max() > 100 and field.image.mean() < 60:
            row, column = middles[0]
            crops.append(field.image[row - side // 2 :, column - side // 2 :][:side, :side])
    return crops


def _find_middles(field, label, side):
    """Middles of the cells that show a class, fit a crop and lie far enough from the border."""
    middles = []
    for cell, (rows, columns) in enumerate(ndimage.find_objects(field.masks)):
        row, column = (rows.start + rows.stop) // 2, (columns.start + columns.stop) // 2
        fits = max(rows.stop - rows.start, columns.stop - columns.start) <= 1.1 * side
        inside = side // 2 <= min(row, column) and max(row, column) <= FIELD - side // 2
        if field.shows[cell, label] and fits and inside:
            middles.append((row, column))
    return middles
