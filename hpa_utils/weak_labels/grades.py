"""Cells that people graded: read, matched to our cells by their masks, used as targets."""

from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import masks
from hpa_utils.dataset import read_csv
from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.segmentation.masks_elsewhere import has_mask, iou_table, read_mask, resize_labels

LEAST_IOU = 0.5
VISIBLE = 0.6  # 3 of 5, the least grade that the MILIMED team called visible
# Lowest and highest grade of a source, or of one class in it: the MILIMED team's files. Other sources: 0…1.
SCALES = {"relabel": (0.0, 5.0), "validation": (0.0, 5.0), ("relabel", 8): (1.0, 3.0)}
OWN_SCALE = (0.0, 1.0)
GRADE_COLUMNS = ["image_id", "mask_label", "label", "score", "source"]


def read_grades(path: str | Path, scales: dict = SCALES) -> pd.DataFrame:
    """Read ``cell_scores.csv``: ``ID,mask_label,label,score`` and, if there is one, ``source``.

    A row says how sure someone is that cell `mask_label` of ``masks/{ID}`` shows class `label`. The table has
    `image_id`, `mask_label`, `label` (int), `score` (0…1 by the scale of its source), `source` (text). `scales` maps a
    source, or (source, class), to its lowest and highest score; a source without a scale has 0…1.

    Raises FileNotFoundError, or ValueError naming file and row, if a number is none, a class not 0…18 or a score off
    the scale of its source.
    """
    path = Path(path)
    table = read_csv(path, ("ID", "mask_label", "label", "score"))
    source = table["source"].str.strip() if "source" in table else pd.Series("", index=table.index)
    numbers = table[["mask_label", "label", "score"]].apply(pd.to_numeric, errors="coerce")
    whole = (numbers[["mask_label", "label"]] % 1 == 0).all(axis=1)
    fits = whole & (numbers["mask_label"] >= 1) & numbers["label"].between(0, N_CLASSES - 1)
    for row in np.flatnonzero(~fits | numbers["score"].isna()):
        raise ValueError(
            f"{path}, row {row + 2}: expected a mask_label from 1, a label 0…{N_CLASSES - 1} and a number as score, "
            f"found {', '.join(table.loc[row, ['mask_label', 'label', 'score']])}"
        )
    found = [
        scales.get((name, label), scales.get(name, OWN_SCALE))
        for name, label in zip(source, numbers["label"].astype(int), strict=True)
    ]
    low, high = np.array(found, float).T
    for row in np.flatnonzero((numbers["score"] < low) | (numbers["score"] > high)):
        raise ValueError(
            f"{path}, row {row + 2}: score {table['score'][row]} of source {source[row]!r} is off its scale "
            f"{low[row]:g}…{high[row]:g}; give the scale of the source in `scales`"
        )
    return pd.DataFrame(
        {
            "image_id": table["ID"],
            "mask_label": numbers["mask_label"].astype(int),
            "label": numbers["label"].astype(int),
            "score": (numbers["score"] - low) / (high - low),
            "source": source,
        }
    )


def match_grades(
    grades: pd.DataFrame, cells: pd.DataFrame, fields: pd.DataFrame, folder: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give grades (`read_grades`) to our cells: to the one that shares its mask with the graded cell (IoU ≥ 0.5).

    `folder` holds the masks that the grades number, ``{ID}.png`` or ``.npz``, of any resolution. The first table has a
    row a (cell, label): `image_id`, `cell_id`, `label`, `score` (0…1; the mean where it was graded more than once),
    `source` (several joined by ``+``). The second has the other rows of `grades`, with the `reason`.
    """
    cells_of = dict(tuple(cells.groupby("image_id")))
    sizes = fields.set_index("image_id")[["height", "width"]]
    cell_of, reasons = {}, {}
    for image_id, graded in grades.groupby("image_id"):
        if image_id not in cells_of:
            reasons[image_id] = "its field has no cells here"
            continue
        if not has_mask(Path(folder), image_id):
            reasons[image_id] = "no mask of its field"
            continue
        mask = read_mask(Path(folder), image_id)
        reasons[image_id] = f"no cell with IoU {LEAST_IOU:g} or more"
        own, size = cells_of[image_id], sizes.loc[image_id].tolist()
        ours = masks.paint_labels(own["rle"].tolist(), own["cell_id"].tolist(), *size)
        numbers = np.unique(graded["mask_label"])
        cell_of |= {(image_id, number): cell for number, cell in _partners(ours, mask, numbers)}
    keys = list(zip(grades["image_id"], grades["mask_label"], strict=True))
    with_cells = grades.assign(cell_id=[cell_of.get(key, 0) for key in keys])
    lost = with_cells["cell_id"] == 0
    unmatched = grades[lost].assign(reason=grades.loc[lost, "image_id"].map(reasons)).reset_index(drop=True)
    grouped = with_cells[~lost].groupby(["image_id", "cell_id", "label"], sort=True)
    matched = grouped.agg(score=("score", "mean"), source=("source", lambda own: "+".join(sorted(set(own)))))
    return matched.reset_index().astype({"score": np.float32}), unmatched


def graded_cells(root: str | Path, cells: pd.DataFrame, fields: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Grades of a data set's ``cell_scores.csv``, given to our cells; two empty tables where it has none."""
    path = Path(root) / "cell_scores.csv"
    grades = read_grades(path) if path.is_file() else pd.DataFrame(columns=GRADE_COLUMNS)
    return match_grades(grades, cells, fields, Path(root) / "masks")


def use_grades(targets: np.ndarray, cells: np.ndarray, grades: pd.DataFrame) -> np.ndarray:
    """Targets in which graded (cell, label) pairs have their grade; Negative is at most what the grades leave.

    `targets` (n, 19) are inherited or soft labels of cells; the copy is float32. `cells` has the row of `targets` of
    each of the `grades` (`match_grades`), −1 where its cell is not among them.
    """
    mixed = np.array(targets, np.float32)
    labels, scores = grades["label"].to_numpy(int), grades["score"].to_numpy(np.float32)
    is_other, is_negative = (cells >= 0) & (labels != NEGATIVE), (cells >= 0) & (labels == NEGATIVE)
    mixed[cells[is_other], labels[is_other]] = scores[is_other]
    np.minimum.at(mixed[:, NEGATIVE], cells[is_other], 1 - scores[is_other])
    mixed[cells[is_negative], NEGATIVE] = scores[is_negative]  # a grade of Negative itself is kept
    return mixed


def visible(count: int, cells: np.ndarray, grades: pd.DataFrame) -> np.ndarray:
    """What people saw, int8 (count, 19): 1 from a grade of 0.6 on, 0 below, −1 where there is none (`use_grades`)."""
    labels, known = np.full((count, N_CLASSES), -1, np.int8), cells >= 0
    labels[cells[known], grades["label"].to_numpy(int)[known]] = (grades["score"] >= VISIBLE)[known]
    return labels


def _partners(ours: np.ndarray, mask: np.ndarray, numbers: np.ndarray) -> list[tuple[int, int]]:
    """The graded cells, by number, that have a partner among ours, and its number."""
    mask = resize_labels(mask, ours.shape)
    # only the graded ones, numbered 1…n
    place = np.minimum(np.searchsorted(numbers, mask), len(numbers) - 1)
    table = iou_table(ours, np.where(numbers[place] == mask, place + 1, 0))
    best = zip(range(table.shape[1]), table.argmax(axis=0), table.max(axis=0), strict=True)
    return [(int(numbers[column]), int(cell) + 1) for column, cell, iou in best if iou >= LEAST_IOU]
