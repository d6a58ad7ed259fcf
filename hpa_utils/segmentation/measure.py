"""What is measured of each cell: its row of the cell table."""

import cv2
import numpy as np
from scipy.ndimage import find_objects

from hpa_utils.arrays import check_labels, check_pixels
from hpa_utils.masks import box_counts

RED, BLUE = 0, 2
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
FOCUS = 0.05  # share of a cell's pixels, its brightest, in which focused red is looked for


def cell_rows(image_id: str, split: str, cells: np.ndarray, nuclei: np.ndarray, field: np.ndarray) -> list[dict]:
    """Rows of the cell table for the cells of one field, uint8 (H, W, 4) in the order red, green, blue, yellow.

    `cells` and `nuclei` are uint16 (H, W): cells 1…n without gaps, nuclei inside their cells and with their numbers; a
    cell may lack one. What needs a nucleus, or some red, is 0 without. The columns:

    - `y0`, `x0`, `y1`, `x1` (half-open, px), `area`, `nucleus_area` (px), `rle` (COCO counts).
    - `edge_fraction`, `nucleus_edge_fraction`: share of the outline (pixels with a 4-neighbour outside) that lies on
      the image border.
    - `nucleus_blue_mean`, `nucleus_blue_std`: of blue in the nucleus, grey levels.
    - `roundness`: 4π · area / perimeter² of the convex hull: 1 for a disk, less for what is long or has arms.
    - `nucleus_red_ratio`: mean of red in the nucleus / in the whole cell. The envelope of a nucleus keeps microtubules
      out; in mitosis there is none.
    - `red_focus`: share of the cell's red in the brightest 5 % of its pixels. Like the two before, it does not depend
      on the scale.
    """
    check_pixels(field, "field")
    check_labels(cells, "cells", field.shape[:2])
    check_labels(nuclei, "nuclei", field.shape[:2])
    red, blue = (cv2.extractChannel(field, channel) for channel in (RED, BLUE))
    rows = []
    for cell_id, box in enumerate(find_objects(cells), start=1):
        cell, nucleus = ((labels[box] == cell_id).view(np.uint8) for labels in (cells, nuclei))
        blue_mean, blue_std = (value.item() for value in cv2.meanStdDev(blue[box], mask=nucleus))  # 0 without nucleus
        nucleus_red = cv2.meanStdDev(red[box], mask=nucleus)[0].item()
        red_mean, red_focus = _mean_and_focus(red[box], cell)
        ids = {"image_id": image_id, "split": split, "cell_id": cell_id}
        corners = {"y0": box[0].start, "x0": box[1].start, "y1": box[0].stop, "x1": box[1].stop}
        measured = {
            "area": cv2.countNonZero(cell),
            "nucleus_area": cv2.countNonZero(nucleus),
            "edge_fraction": _edge_fraction(cell, box, cells.shape),
            "nucleus_edge_fraction": _edge_fraction(nucleus, box, cells.shape),
            "nucleus_blue_mean": blue_mean,
            "nucleus_blue_std": blue_std,
            "roundness": _roundness(cell),
            "nucleus_red_ratio": nucleus_red / red_mean if red_mean else 0.0,
            "red_focus": red_focus,
            "rle": box_counts(cell.view(bool), box[0].start, box[1].start, *cells.shape),
        }
        rows.append({**ids, **corners, **measured})
    return rows


def _edge_fraction(mask: np.ndarray, box: tuple[slice, slice], shape: tuple[int, int]) -> float:
    """Share of an object's outline on the image border; the mask, uint8, is given inside the box of its cell."""
    rows, columns = box
    top, bottom, left, right = rows.start == 0, rows.stop == shape[0], columns.start == 0, columns.stop == shape[1]
    if not (top or bottom or left or right) or not mask.any():
        return 0.0
    outline = mask - cv2.erode(mask, CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    inside = outline[top : len(mask) - bottom, left : mask.shape[1] - right]
    return float(1 - np.count_nonzero(inside) / np.count_nonzero(outline))


def _mean_and_focus(plane: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Mean inside a mask, and the share of the whole that its brightest pixels hold."""
    counts = cv2.calcHist([plane], [0], mask, [256], [0, 256]).ravel()[::-1].astype(np.float64)
    levels = np.arange(255, -1, -1)
    total = counts @ levels
    brightest = np.clip(FOCUS * counts.sum() - (np.cumsum(counts) - counts), 0, counts)
    return total / counts.sum(), brightest @ levels / max(total, 1)


def _roundness(mask: np.ndarray) -> float:
    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    perimeter = cv2.arcLength(cv2.convexHull(np.concatenate(contours)), closed=True)
    # contours run through the middle of pixels: what is only a few px wide would exceed 1
    return min(1.0, 4 * np.pi * cv2.countNonZero(mask) / max(perimeter, 1) ** 2)
