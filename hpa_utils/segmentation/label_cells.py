"""From the two predictions of hpacellseg to numbered nuclei and cells.

The same ideas as ``hpacellseg.utils.label_cell`` (CellProfiling/HPA-Cell-Segmentation 0.1.8), written anew:
areas in µm², labels that do not wrap at 255, and the work done at 0.32 µm/px, where the networks predict (the
full size is only an enlargement of that).
"""

import cv2
import numpy as np
from skimage.segmentation import watershed

from hpa_utils.segmentation.watershed import WORK_PIXEL, disk, enlarge, fill, keep_large, shrink

BORDER, BODY = 1, 2  # channels of a prediction: where objects touch, and the objects; the first is background

NUCLEUS_BODY = 0.4  # probability above which a pixel is nucleus
SEED_BODY = 0.15  # a seed may be fainter, since the touching borders bound it
SEED_BORDER = 0.95  # both borders together, below which a pixel may be seed
CELL_BODY = 0.22  # lowest probability above which a pixel is cell
CELL_BORDER = 0.05  # above it a pixel beside a cell is its outline
SMALLEST_SEED, SMALLEST_NUCLEUS, SMALLEST_CELL = 3.2, 16.0, 35.2  # µm²: 500, 2500 and 5500 px at 0.08 µm/px
CLOSING = 0.48  # µm


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
    nucleus, cell = nucleus.astype(np.float32) / 255, cell.astype(np.float32) / 255
    nuclei = _nuclei(nucleus, cell, pixel)
    return enlarge(nuclei, _cells(nuclei, cell, pixel), cell_prediction.shape[:2], pixel)


def _nuclei(nucleus, cell, pixel):
    apart = nucleus[..., BORDER] + cell[..., BORDER] < SEED_BORDER
    seeds = (apart & (nucleus[..., BODY] > SEED_BODY)).astype(np.uint8)
    _, seeds = cv2.connectedComponents(seeds, connectivity=4)
    seeds = keep_large(seeds, SMALLEST_SEED, pixel)
    mask = fill((nucleus[..., BODY] > NUCLEUS_BODY).astype(np.uint8))
    # on a flat relief the seeds grow at equal speed
    nuclei = watershed(np.zeros(mask.shape, np.uint8), seeds, mask=mask > 0)
    return keep_large(nuclei, SMALLEST_NUCLEUS, pixel)


def _cells(nuclei, cell, pixel):
    body, border = cell[..., BODY], cell[..., BORDER]
    level = cv2.threshold((body * 255).astype(np.uint8), 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)[0] / 255
    level = max(CELL_BODY, level / 2)
    relief = -np.maximum(body, level)
    cells = watershed(relief, nuclei, mask=(body > level) | (nuclei > 0))
    cells = keep_large(cells, SMALLEST_CELL, pixel)
    mask = cv2.morphologyEx((cells > 0).astype(np.uint8), cv2.MORPH_CLOSE, disk(CLOSING, pixel))
    return watershed(relief, cells, mask=(mask > 0) | (border > CELL_BORDER)).astype(np.int32)
