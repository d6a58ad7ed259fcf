"""From the two predictions of hpacellseg to numbered nuclei and cells.

Step for step what ``hpacellseg.utils.label_cell`` does (CellProfiling/HPA-Cell-Segmentation 0.1.8), since the
competition's truth was made by it, but written anew: areas in µm², labels that do not wrap at 255, and the work
done at 0.32 µm/px, where the networks predict (the full size is only an enlargement of that).
"""

import cv2
import numpy as np
from skimage.measure import label as number_pieces
from skimage.segmentation import watershed

from hpa_utils.segmentation.watershed import WORK_PIXEL, enlarge, keep_large, shrink

BORDER, BODY = 1, 2  # channels of a prediction: where objects touch, and the objects; the first is background

NUCLEUS_BODY = 0.4  # probability above which a pixel is nucleus
SEED_BODY = 0.15  # a seed may be fainter, since the touching borders bound it
SEED_BORDER = 242.25  # both borders together, below which a pixel may be seed
CELL_BODY = 0.22  # lowest probability above which a pixel is cell
CELL_BORDER = 0.05  # above it a pixel beside a cell is its outline
SMALLEST_SEED, SMALLEST_NUCLEUS, SMALLEST_CELL = 3.2, 16.0, 35.2  # µm²: 500, 2500 and 5500 px at 0.08 µm/px
LARGEST_HOLE = 6.4  # µm² of a hole that still belongs to the nucleus
CLOSING = 0.48  # µm
SMOOTHING, INSET = 0.24, 0.08  # µm; hpacellseg takes one or two full-size pixels off every outline


def label_cells(
    nuclei_prediction: np.ndarray, cell_prediction: np.ndarray, pixel_size: float = 0.08
) -> tuple[np.ndarray, np.ndarray]:
    """Nuclei and cells of a field from what hpacellseg's networks predict.

    Nuclei are parted at the predicted borders and seed a watershed on the predicted cells, which is then let
    into the predicted borders between the cells. A cell without a nucleus is dropped.

    Parameters
    ----------
    nuclei_prediction, cell_prediction : uint8 (H, W, 3)
        Probabilities times 255: unused, border, body; as ``CellSegmentator.pred_nuclei`` and ``pred_cells``
        return them.
    pixel_size : float
        µm per px.

    Returns
    -------
    (nuclei, cells) : uint16 (H, W) each
        The same numbers 1…n in both, 0 is background.
    """
    # nothing finer than 0.32 µm is in a prediction, and averaging would wash out the thin borders
    nucleus, cell = (shrink(p, pixel_size, cv2.INTER_LINEAR) for p in (nuclei_prediction, cell_prediction))
    pixel = pixel_size if cell is cell_prediction else WORK_PIXEL
    return label_small(nucleus, cell, cell_prediction.shape[:2], pixel)


def label_small(nucleus: np.ndarray, cell: np.ndarray, shape: tuple[int, int], pixel: float = WORK_PIXEL):
    """As `label_cells`, from predictions, uint8 (h, w, 3), at `pixel` µm per px, for a field of `shape`."""
    nuclei = _nuclei(nucleus, cell, pixel)
    return enlarge(nuclei, _cells(nuclei, cell, pixel), shape, pixel, SMOOTHING, INSET)


def _nuclei(nucleus, cell, pixel):
    body = nucleus[..., BODY]
    # uint8: where both borders are certain the sum wraps, and no border is seen; so it was when the truth was made
    apart = nucleus[..., BORDER] + cell[..., BORDER] < SEED_BORDER
    _, seeds = cv2.connectedComponents((apart & (body > SEED_BODY * 255)).astype(np.uint8), connectivity=4)
    seeds = keep_large(seeds, SMALLEST_SEED, pixel)
    mask = _without_small_holes(body > NUCLEUS_BODY * 255, LARGEST_HOLE / pixel**2)
    # on a flat relief the seeds grow at equal speed
    nuclei = keep_large(watershed(np.zeros(mask.shape, np.uint8), seeds, mask=mask), SMALLEST_NUCLEUS, pixel)
    return number_pieces(nuclei).astype(np.int32)


def _without_small_holes(mask, smallest):
    count, holes = cv2.connectedComponents((~mask).astype(np.uint8), connectivity=4)
    return mask | (np.bincount(holes.ravel(), minlength=count) < smallest)[holes]


def _cells(nuclei, cell, pixel):
    body, border = cell[..., BODY], cell[..., BORDER]
    otsu, _ = cv2.threshold(body, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    relief = 255 - body
    cells = watershed(relief, nuclei, mask=body > max(CELL_BODY * 255, otsu / 2))
    cells = keep_large(cells, SMALLEST_CELL, pixel)
    closed = _close(cells, max(1, int(CLOSING / pixel)))
    return watershed(relief, closed, mask=(closed > 0) | (border > CELL_BORDER * 255))


def _close(labels, radius):
    """Labels without gaps and notches up to twice this radius wide; the image border closes nothing."""
    margin = 2 * radius
    padded = cv2.copyMakeBorder(labels.astype(np.uint16), *[margin] * 4, cv2.BORDER_REFLECT)
    # a square: hpacellseg's disk of 6 px covers it, and a cross, the disk of OpenCV at this scale, is less like it
    closed = cv2.morphologyEx(padded, cv2.MORPH_CLOSE, np.ones((2 * radius + 1,) * 2, np.uint8))
    return closed[margin:-margin, margin:-margin].astype(np.int32)
