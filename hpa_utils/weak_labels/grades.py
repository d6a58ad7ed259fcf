"""Cells that people graded: read, matched to our cells by their masks or by a point, used as targets."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import masks
from hpa_utils.csv_files import read_csv
from hpa_utils.dataset import check_ids
from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.paths import HAND_MADE, find_beside
from hpa_utils.segmentation.masks_elsewhere import has_mask, iou_table, read_mask, resize_labels

LEAST_IOU = 0.5
NO_CELLS = "its field has no cells here"
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
    table, numbers = _read_numbers(path, ["mask_label", "label", "score"])
    source = table["source"].str.strip()
    fits = (numbers["mask_label"] % 1 == 0) & (numbers["mask_label"] >= 1) & numbers["score"].notna()
    _check_rows(path, table[numbers.columns], fits, numbers, "a mask_label from 1", "and a number as score")
    found = [
        scales.get((name, label), scales.get(name, OWN_SCALE))
        for name, label in zip(source, numbers["label"].astype(int), strict=True)
    ]
    low, high = np.array(found, float).T
    for row in np.flatnonzero((numbers["score"] < low) | (numbers["score"] > high)):
        raise ValueError(
            f"{path}, row {table.index[row]}: score {table['score'].iloc[row]} of source {source.iloc[row]!r} is off "
            f"its scale {low[row]:g}…{high[row]:g}; give the scale of the source in `scales`"
        )
    grades = numbers.astype({"mask_label": int, "label": int})
    grades = grades.assign(image_id=table["ID"], score=(numbers["score"] - low) / (high - low), source=source)
    return grades[GRADE_COLUMNS].reset_index(drop=True)


def read_points(path: str | Path) -> pd.DataFrame:
    """Read ``cell_labels.csv``, ``ID,y,x,label,shown``: whether the cell at a point of its field shows a class.

    `y` and `x` are the row and the column of a pixel inside the cell, in the full-size field, from 0; `shown` is 1, or
    0 for a cell that does not. The table has `image_id`, `y`, `x`, `label` (int), `score` (1 or 0), `source`.

    Raises FileNotFoundError, or ValueError naming file and row.
    """
    table, numbers = _read_numbers(path, ["y", "x", "label", "shown"])
    fits = (numbers[["y", "x"]] >= 0).all(axis=1) & numbers["shown"].isin([0, 1])
    _check_rows(path, table[numbers.columns], fits, numbers, "y and x in px from 0", "and shown 1 or 0")
    points = numbers.astype({"y": int, "x": int, "label": int}).rename(columns={"shown": "score"})
    return points.assign(image_id=table["ID"], source="points").reset_index(drop=True)


def match_grades(
    grades: pd.DataFrame, cells: pd.DataFrame, fields: pd.DataFrame, folder: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give grades (`read_grades`) to our cells: to the one that shares its mask with the graded cell (IoU ≥ 0.5).

    `folder` holds the masks that the grades number, ``{ID}.png`` or ``.npz``, of any resolution. The first table has a
    row a (cell, label): `image_id`, `cell_id`, `label`, `score` (0…1; the mean where it was graded more than once),
    `source` (several joined by ``+``). The second has the other rows of `grades`, with the `reason`.
    """
    cell_of, reasons = {}, dict.fromkeys(grades["image_id"], NO_CELLS)
    for image_id, graded, ours in _with_labels(grades, cells, fields):
        if not has_mask(Path(folder), image_id):
            reasons[image_id] = "no mask of its field"
            continue
        try:
            partners = _partners(ours, read_mask(Path(folder), image_id), np.unique(graded["mask_label"]))
        except ValueError as error:
            reasons[image_id] = str(error)
            continue
        reasons[image_id] = f"no cell with IoU {LEAST_IOU:g} or more"
        cell_of |= {(image_id, number): cell for number, cell in partners}
    keys = list(zip(grades["image_id"], grades["mask_label"], strict=True))
    return _split(grades, [cell_of.get(key, 0) for key in keys], grades["image_id"].map(reasons))


def match_points(points: pd.DataFrame, cells: pd.DataFrame, fields: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Give points (`read_points`) to the cells they lie in; two tables as of `match_grades`."""
    found, reasons = pd.Series(0, points.index), pd.Series(NO_CELLS, points.index)
    for _, own, labels in _with_labels(points, cells, fields):
        inside = own[(own["y"] < labels.shape[0]) & (own["x"] < labels.shape[1])]
        found[inside.index] = labels[inside["y"], inside["x"]]
        reasons[own.index], reasons[inside.index] = "outside its field", "no cell at this point"
    return _split(points, found, reasons)


def graded_cells(root: str | Path, cells: pd.DataFrame, fields: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Grades of ``cell_scores.csv`` and ``cell_labels.csv``, given to our cells; empty tables where there is neither.

    The files lie in the data set, or, on Kaggle, in any attached one (`paths.find_beside`). The tables are as of
    `match_grades`; a cell of both files has the mean.
    """
    graded, pointed = (find_beside(root, name) for name in HAND_MADE)
    grades = read_grades(graded) if graded.is_file() else pd.DataFrame(columns=GRADE_COLUMNS)
    matched, unmatched = match_grades(grades, cells, fields, graded.parent / "masks")
    if pointed.is_file():
        more, lost = match_points(read_points(pointed), cells, fields)
        matched, unmatched = _one_each(pd.concat([matched, more])), pd.concat([unmatched, lost], ignore_index=True)
    return matched, unmatched


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


def _read_numbers(path, columns: list[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The table as text, and these of its columns as numbers, NaN where there is none."""
    table = read_csv(path, ("ID", *columns), optional=("source",))
    check_ids(table["ID"].drop_duplicates(), path)  # a field has many graded cells
    return table, table[columns].apply(pd.to_numeric, errors="coerce")


def _check_rows(path, texts: pd.DataFrame, fits: pd.Series, numbers: pd.DataFrame, first: str, last: str) -> None:
    """Raise ValueError naming the first row that does not fit, or whose label is none."""
    for row in texts.index[~(fits & numbers["label"].isin(range(N_CLASSES)))]:
        found = ", ".join(texts.loc[row])
        raise ValueError(f"{path}, row {row}: expected {first}, a label 0…{N_CLASSES - 1} {last}, found {found}")


def _with_labels(
    rows: pd.DataFrame, cells: pd.DataFrame, fields: pd.DataFrame
) -> Iterator[tuple[str, pd.DataFrame, np.ndarray]]:
    """Of each field that has cells: its ID, its rows, and the labels of its cells, uint16 (H, W)."""
    cells_of = dict(tuple(cells.groupby("image_id")))
    sizes = fields.set_index("image_id")[["height", "width"]]
    for image_id, own in rows.groupby("image_id"):
        if image_id in cells_of:
            ours, size = cells_of[image_id], sizes.loc[image_id].tolist()
            yield image_id, own, masks.paint_labels(ours["rle"].tolist(), ours["cell_id"].tolist(), *size)


def _split(rows: pd.DataFrame, cell_ids, reasons: pd.Series) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Grades that have a cell, one a cell and label; and the others (cell 0), with the reason."""
    with_cells = rows.assign(cell_id=cell_ids)
    lost = with_cells["cell_id"] == 0
    return _one_each(with_cells[~lost]), rows[lost].assign(reason=reasons[lost]).reset_index(drop=True)


def _one_each(rows: pd.DataFrame) -> pd.DataFrame:
    grouped = rows.groupby(["image_id", "cell_id", "label"], sort=True)
    matched = grouped.agg(score=("score", "mean"), source=("source", lambda own: "+".join(sorted(set(own)))))
    return matched.reset_index().astype({"score": np.float32})


def _partners(ours: np.ndarray, mask: np.ndarray, numbers: np.ndarray) -> list[tuple[int, int]]:
    """The graded cells, by number, that have a partner among ours, and its number."""
    mask = resize_labels(mask, ours.shape)
    # only the graded ones, numbered 1…n
    place = np.minimum(np.searchsorted(numbers, mask), len(numbers) - 1)
    table = iou_table(ours, np.where(numbers[place] == mask, place + 1, 0))
    best = zip(range(table.shape[1]), table.argmax(axis=0), table.max(axis=0), strict=True)
    return [(int(numbers[column]), int(cell) + 1) for column, cell, iou in best if iou >= LEAST_IOU]
