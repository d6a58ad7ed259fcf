"""What is measured of each cell: its row of the cell table."""

import cv2
import numpy as np

from hpa_utils.masks import run_counts

RED, BLUE = 0, 2
CROSS = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
FOCUS = 0.05  # share of a cell's pixels, its brightest, in which focused red is looked for


def cell_rows(image_id: str, split: str, cells: np.ndarray, nuclei: np.ndarray, field: np.ndarray) -> list[dict]:
    """Rows of the cell table for the cells of one field.

    Parameters
    ----------
    cells, nuclei : numpy.ndarray
        uint16 (H, W), cells 1…n without gaps, nuclei under the numbers of their cells; a cell may lack one.
    field : numpy.ndarray
        uint8 (H, W, 4), channel order red, green, blue, yellow.

    Returns
    -------
    list of dict
        - `y0`, `x0`, `y1`, `x1` (half-open, px), `area`, `nucleus_area` (px), `rle` (COCO counts).
        - `edge_fraction`: share of the cell's outline (its pixels with a 4-neighbour outside it) that lies on the
          image border; `nucleus_edge_fraction`: the same of its nucleus.
        - `nucleus_blue_mean`, `nucleus_blue_std`: of blue in the nucleus, grey levels.
        - `roundness`: 4π · area / perimeter² with the perimeter of the convex hull, so that a rough outline weighs
          nothing: 1 for a disk, less for what is long or has arms.
        - `nucleus_red_ratio`: mean of red in the nucleus / in the whole cell. The envelope of a nucleus keeps
          microtubules out; in mitosis there is none.
        - `red_focus`: share of the cell's red in the brightest 5 % of its pixels.

        What needs a nucleus, or some red, is 0 without. The last three do not depend on the scale.
    """
    height, width = cells.shape
    # column by column, as in COCO counts: one pass finds boxes, areas and masks
    starts, ends, labels = runs = _runs(cv2.transpose(cells).ravel())
    n = int(labels.max(initial=0))
    boxes = _boxes(runs, height, n)[:, [1, 0, 3, 2]]
    nucleus_boxes = _boxes(_runs(nuclei.ravel()), width, n)  # its own, for it may reach beyond the cell
    red, blue = (cv2.extractChannel(field, channel) for channel in (RED, BLUE))
    rows = []
    for cell_id in range(1, n + 1):
        box, nucleus_box = _window(boxes[cell_id]), _window(nucleus_boxes[cell_id])
        cell = (cells[box] == cell_id).view(np.uint8)
        nucleus = (nuclei[nucleus_box] == cell_id).view(np.uint8)
        of_cell = labels == cell_id
        blue_mean, blue_std = _mean_and_std(blue[nucleus_box], nucleus)
        red_mean, red_focus = _mean_and_focus(red[box], cell)
        rows.append(
            {
                "image_id": image_id,
                "split": split,
                "cell_id": cell_id,
                **dict(zip(("y0", "x0", "y1", "x1"), boxes[cell_id].tolist(), strict=True)),
                "area": int((ends - starts)[of_cell].sum()),
                "nucleus_area": cv2.countNonZero(nucleus) if nucleus.size else 0,
                "edge_fraction": _edge_fraction(cell, boxes[cell_id], height, width),
                "nucleus_edge_fraction": _edge_fraction(nucleus, nucleus_boxes[cell_id], height, width),
                "nucleus_blue_mean": blue_mean,
                "nucleus_blue_std": blue_std,
                "roundness": _roundness(cell),
                "nucleus_red_ratio": _mean_and_std(red[nucleus_box], nucleus)[0] / red_mean if red_mean else 0.0,
                "red_focus": red_focus,
                "rle": run_counts(starts[of_cell], ends[of_cell], height, width),
            }
        )
    return rows


def _runs(flat: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Runs of equal labels, without the background: start, end (half-open) and label of each, int64."""
    edges = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1, [flat.size]])
    labels = flat[edges[:-1]].astype(np.int64)
    inside = labels > 0
    return edges[:-1][inside], edges[1:][inside], labels[inside]


def _boxes(runs: tuple, length: int, n: int) -> np.ndarray:
    """Boxes of the labels 0…n in an image of lines of `length` px, int64 (n + 1, 4).

    Each is first line, first place in a line, end of the lines, end of the places; zeros where there is no such label.
    """
    starts, ends, labels = (part[runs[2] <= n] for part in runs)
    (line, place), (last_line, last_place) = np.divmod(starts, length), np.divmod(ends - 1, length)
    wraps = line != last_line  # the run goes on from the end of a line at the beginning of the next
    place, last_place = np.where(wraps, 0, place), np.where(wraps, length - 1, last_place)
    boxes = np.zeros((n + 1, 4), np.int64)
    boxes[labels, :2] = np.iinfo(np.int64).max
    for side, function, values in (
        (0, np.minimum, line),
        (1, np.minimum, place),
        (2, np.maximum, last_line + 1),
        (3, np.maximum, last_place + 1),
    ):
        function.at(boxes[:, side], labels, values)
    return boxes


def _window(box: np.ndarray) -> tuple[slice, slice]:
    return slice(box[0], box[2]), slice(box[1], box[3])


def _edge_fraction(mask: np.ndarray, box: np.ndarray, height: int, width: int) -> float:
    """Share of an object's outline on the image border; the mask, uint8, is given inside its box."""
    at_border = box[0] == 0, box[1] == 0, box[2] == height, box[3] == width
    if not mask.size or not any(at_border):
        return 0.0
    outline = mask - cv2.erode(mask, CROSS, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    length = cv2.countNonZero(outline)
    for side, line in zip(at_border, (np.s_[0], np.s_[:, 0], np.s_[-1], np.s_[:, -1]), strict=True):
        if side:
            outline[line] = 0
    return 1 - cv2.countNonZero(outline) / length


def _mean_and_std(plane: np.ndarray, mask: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation inside a mask, both 0 where it is empty."""
    if not mask.size:
        return 0.0, 0.0
    mean, std = cv2.meanStdDev(plane, mask=mask)
    return float(mean.item()), float(std.item())


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
