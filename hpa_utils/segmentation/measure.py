"""What is measured of each cell: its row of the cell table."""

import numpy as np
from scipy import ndimage

from hpa_utils import masks


def cell_rows(image_id: str, split: str, cells: np.ndarray, nuclei: np.ndarray, blue: np.ndarray) -> list[dict]:
    """Rows of the cell table for the cells of one field.

    Parameters
    ----------
    cells, nuclei : numpy.ndarray
        uint16 (H, W), cells 1…n without gaps, nuclei under the numbers of their cells.
    blue : numpy.ndarray
        uint8 (H, W), the nucleus channel.

    Returns
    -------
    list of dict
        Boxes half-open, areas in px. `edge_fraction` is the share of the cell's outline (its pixels with a
        4-neighbour outside it) that lies on the image border, `nucleus_edge_fraction` the same of its nucleus.
    """
    height, width = cells.shape
    boxes = ndimage.find_objects(cells)
    n = len(boxes)
    area = np.bincount(cells.ravel(), minlength=n + 1)
    nucleus_area = np.bincount(nuclei.ravel(), minlength=n + 1)
    inside = nuclei > 0
    number, bright = nuclei[inside], blue[inside].astype(np.float64)
    count = np.maximum(nucleus_area, 1)
    mean = np.bincount(number, bright, n + 1) / count
    variance = np.maximum(np.bincount(number, bright**2, n + 1) / count - mean**2, 0)
    edge, nucleus_edge = _edge_fractions(cells, n), _edge_fractions(nuclei, n)
    rows = []
    for cell_id, (rows_slice, columns_slice) in enumerate(boxes, start=1):
        box_mask = cells[rows_slice, columns_slice] == cell_id
        rows.append(
            {
                "image_id": image_id,
                "split": split,
                "cell_id": cell_id,
                "y0": rows_slice.start,
                "x0": columns_slice.start,
                "y1": rows_slice.stop,
                "x1": columns_slice.stop,
                "area": area[cell_id],
                "nucleus_area": nucleus_area[cell_id],
                "edge_fraction": edge[cell_id],
                "nucleus_edge_fraction": nucleus_edge[cell_id],
                "nucleus_blue_mean": mean[cell_id],
                "nucleus_blue_std": np.sqrt(variance[cell_id]),
                "rle": masks.box_counts(box_mask, rows_slice.start, columns_slice.start, height, width),
            }
        )
    return rows


def _edge_fractions(labels: np.ndarray, n: int) -> np.ndarray:
    """Share of each object's outline on the image border, float (n + 1,)."""
    padded = np.pad(labels, 1)
    outline = np.zeros(labels.shape, bool)
    for neighbour in (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]):
        outline |= neighbour != labels
    border = np.zeros(labels.shape, bool)
    border[[0, -1]] = border[:, [0, -1]] = True
    length = np.bincount(labels[outline], minlength=n + 1)
    return np.bincount(labels[outline & border], minlength=n + 1) / np.maximum(length, 1)
