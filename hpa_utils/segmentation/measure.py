"""What is measured of each cell, its row of the cell table; and of all cells: areas, and the fields that look wrong."""

import contextlib

import cv2
import numpy as np
import pandas as pd
from scipy.ndimage import find_objects

from hpa_utils import images, masks
from hpa_utils.checks import check_labels, check_pixels
from hpa_utils.dataset import Dataset
from hpa_utils.segmentation.watershed import WORK_PIXEL, find_nuclei, shrink

RED, BLUE = 0, 2
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
FOCUS = 0.05  # share of a cell's pixels, its brightest, in which focused red is looked for
GIANT = 6.0  # times the usual cell area from which a cell is probably several, or background
ODD = 3.5  # robust standard deviations from which a field is not like the others
NARROWEST = 0.15  # of log areas and log counts; fields that are all but alike are not told apart


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
            "rle": masks.box_counts(cell.view(bool), box[0].start, box[1].start, *cells.shape),
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


def usual_nucleus(dataset: Dataset, split: str, count: int = 8) -> float:
    """Median area, µm², of the nuclei in the first fields of a split; 0 where none is found.

    They are looked for whatever the pixel size, as it is in doubt where they are far from HPA's: 80…350 µm².
    """
    areas = []
    for image_id in dataset.image_ids(split)[:count]:
        with contextlib.suppress(Exception):  # the field will be set aside
            blue = images.read_field_of(dataset, split, image_id)[..., BLUE]
            small = shrink(blue, max(WORK_PIXEL / 4, WORK_PIXEL * 512 / max(blue.shape)))
            pixel = dataset.pixel_size_um * len(blue) / len(small)
            areas.extend(np.bincount(find_nuclei(small, WORK_PIXEL).ravel())[1:] * pixel**2)
    return float(np.median(areas)) if areas else 0.0


def areas_um2(fields: pd.DataFrame, cells: pd.DataFrame, column: str = "area") -> pd.Series:
    """An area column of the cell table in µm²."""
    pixel_size = cells["image_id"].map(fields.set_index("image_id")["pixel_size_um"])
    return cells[column] * pixel_size.astype(float) ** 2


def suspects(fields: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The fields that look wrong, worst first; those set aside are not among them.

    A field looks wrong that has no cells, a cell `GIANT` times the usual area, or a median area or a count far from the
    other fields'. Columns: `image_id`, `split`, `height`, `width`, `n_cells`, `why` and `score`, 1 at the limit.
    """
    read = fields[fields["error"] == ""].set_index("image_id")
    areas = areas_um2(fields, cells)
    of_field = areas.groupby(cells["image_id"])
    size_um2 = read["height"] * read["width"] * read["pixel_size_um"].astype(float) ** 2
    scores = {
        "no cells": (read["n_cells"] == 0) * 1e3,
        "giant cell": of_field.max() / (GIANT * areas.median()),
        "unusual cell area": _oddity(np.log(of_field.median())),
        "unusual number of cells": _oddity(np.log((read["n_cells"] / size_um2)[read["n_cells"] > 0])),
    }
    score = pd.DataFrame(scores).reindex(read.index).fillna(0.0)
    reasons = [", ".join(score.columns[row >= 1]) for row in score.to_numpy()]
    table = read[["split", "height", "width", "n_cells"]].assign(why=reasons, score=score.max(axis=1).round(2))
    return table[table["score"] >= 1].sort_values("score", ascending=False, kind="stable").reset_index()


def _oddity(values: pd.Series) -> pd.Series:
    """Distance from the median in robust standard deviations, divided by `ODD`."""
    away = (values - values.median()).abs()
    return away / (ODD * max(1.4826 * away.median(), NARROWEST)) if len(values) else away


def field_and_labels(dataset: Dataset, cells: pd.DataFrame, row) -> tuple[np.ndarray, np.ndarray]:
    """A field, uint8 (H, W, 4), and its `labels_of`; `row`, of the field table or `suspects`, is of ``itertuples``."""
    return images.read_field_of(dataset, row.split, row.image_id), labels_of(cells, row)


def labels_of(cells: pd.DataFrame, row) -> np.ndarray:
    """The labels, uint16 (H, W), that the cell table holds of a field; `row` as in `field_and_labels`."""
    own = cells[cells["image_id"] == row.image_id]
    return masks.paint_labels(list(own["rle"]), list(own["cell_id"]), row.height, row.width)
