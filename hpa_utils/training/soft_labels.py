"""Soft labels of cells: how much each shows the labels of its field, judged by models that did not train on it."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import tables
from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.model.prediction import CELL_COLUMNS, FIELD_COLUMNS

SOFT_COLUMNS = [f"s{number:02d}" for number in range(N_CLASSES)]
LEVELS = (1.0, 0.75, 0.5, 0.25)  # and 0
POSITIVE = 0.5

# Share of the cells in fields with the label whose grade was 3 or more of 5: MILIMED team, `validation` files, class
# 11 its `relabel` file (repository CroDoc/HPA2021-data-centric-approach). The other classes were not graded.
GRADED_RATES = {1: 0.45, 2: 0.49, 3: 0.59, 4: 0.32, 5: 0.30, 6: 0.67, 7: 0.75, 8: 0.45, 9: 0.54, 10: 0.71}
GRADED_RATES |= {11: 0.07, 12: 0.28, 15: 0.26, 17: 0.49}


@dataclass(frozen=True)
class SoftLabelConfig:
    """How scores become soft labels 1, 0.75, 0.5, 0.25 and 0.

    Attributes
    ----------
    by : {"rank", "threshold"}
        By a cell's rank within all cells of the fields that carry the class, or by fixed scores.
    rate : float
        ``rank``: share of those cells that get 0.5 or more, a third of them each of 0.5, 0.75 and 1.
    match_graded : bool
        ``rank``: take the rate at which people saw the class (`GRADED_RATES`) where it is known.
    absent : float
        ``rank``: share of the other cells, the lowest, that get 0; what lies between gets 0.25.
    thresholds : tuple of float
        ``threshold``: least scores of 1, 0.75, 0.5 and 0.25.
    floor : float
        Least soft label that a cell has of any label of its field, unless it is judged Negative.
    """

    by: str = "rank"
    rate: float = 0.6
    match_graded: bool = False
    absent: float = 0.25
    thresholds: tuple = (0.6, 0.4, 0.2, 0.05)
    floor: float = 0.25

    def __post_init__(self):
        if self.by not in ("rank", "threshold"):
            raise ValueError(f"soft_labels.by is {self.by!r}; expected rank or threshold")
        for name in ("rate", "absent", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"soft_labels.{name} is {getattr(self, name)}; expected 0…1")
        found = tuple(self.thresholds)
        falling = len(found) == len(LEVELS) and 1 >= found[0] > found[1] > found[2] > found[3] >= 0
        if not falling:
            raise ValueError(f"soft_labels.thresholds is {found}; expected four falling numbers in 0…1")


def make_soft_labels(scores: pd.DataFrame, cells: pd.DataFrame, fields: pd.DataFrame, config: SoftLabelConfig):
    """Soft labels of every cell whose field's labels are known.

    Parameters
    ----------
    scores : pandas.DataFrame
        Out-of-fold scores: `image_id`, `cell_id`, `p00`…`p18` of the cell, `f00`…`f18` of its field.
    cells, fields : pandas.DataFrame
        `image_id`, `cell_id`; `image_id`, `labels` (19, −1 where unknown).

    Returns
    -------
    pandas.DataFrame
        `image_id`, `cell_id`, `s00`…`s18` (float32), in the order of `cells`. Cells without a score (their fold was
        not trained) inherit their field's labels.

    Notes
    -----
    A class that the field does not carry is 0. Of the others, cell score × field score decides, so that 1 needs both
    to be high (the competition's first place). Negative is 1 − the largest other soft label before floors; a cell
    with nothing else is judged Negative and gets no floors. In fields labelled Negative alone all cells are.
    """
    known = {i: np.asarray(vector) for i, vector in zip(fields["image_id"], fields["labels"], strict=True)}
    known = {image_id: vector for image_id, vector in known.items() if vector.min() >= 0}
    table = cells.loc[cells["image_id"].isin(known), ["image_id", "cell_id"]].reset_index(drop=True)
    labels = np.array([known[image_id] > 0 for image_id in table["image_id"]]).reshape(-1, N_CLASSES)
    joined = table.merge(scores, on=["image_id", "cell_id"], how="left", validate="one_to_one")
    evidence = joined[CELL_COLUMNS].to_numpy(np.float64) * joined[FIELD_COLUMNS].to_numpy(np.float64)
    scored = np.isfinite(evidence).all(axis=1)
    soft = labels.astype(np.float32)
    judged = scored & labels[:, :NEGATIVE].any(axis=1)
    for number in range(NEGATIVE):
        rows = np.flatnonzero(judged & labels[:, number])
        soft[rows, number] = _levels(evidence[rows, number], number, config)
    soft[judged, NEGATIVE] = 1 - soft[judged, :NEGATIVE].max(axis=1)
    lifted = (judged & (soft[:, NEGATIVE] < 1))[:, None] & labels
    lifted[:, NEGATIVE] = False
    soft = np.where(lifted, np.maximum(soft, config.floor), soft).astype(np.float32)
    return pd.concat([table, pd.DataFrame(soft, columns=SOFT_COLUMNS)], axis=1)


def first_labels(path: str | Path, cells: pd.DataFrame, fields: pd.DataFrame) -> pd.DataFrame:
    """The soft labels in a file, if one is named; else every cell has the labels of its field."""
    if path:
        return read_soft_labels(path, cells)
    nobody = pd.DataFrame(columns=["image_id", "cell_id", *CELL_COLUMNS, *FIELD_COLUMNS], dtype=float)
    return make_soft_labels(nobody.astype({"image_id": str, "cell_id": int}), cells, fields, SoftLabelConfig())


def positive_shares(soft: pd.DataFrame, fields: pd.DataFrame) -> pd.DataFrame:
    """Of the cells in fields with a class the share with a soft label of 0.5 or more, beside what people saw.

    Returns
    -------
    pandas.DataFrame
        A row a class: `cells`, `share`, `graded`; NaN where there is none.
    """
    labels = dict(zip(fields["image_id"], fields["labels"], strict=True))
    carries = np.array([np.asarray(labels[i]) > 0 for i in soft["image_id"]]).reshape(-1, N_CLASSES)
    positive = carries & (soft[SOFT_COLUMNS].to_numpy() >= POSITIVE)
    count = carries.sum(axis=0)
    share = np.divide(positive.sum(axis=0), count, out=np.full(N_CLASSES, np.nan), where=count > 0)
    graded = [GRADED_RATES.get(number, np.nan) for number in range(N_CLASSES)]
    return pd.DataFrame({"cells": count, "share": share, "graded": graded}).rename_axis("class")


def check_soft_labels(soft: pd.DataFrame, cells: pd.DataFrame, source: str | Path) -> None:
    """Raise ValueError, naming row and column, unless this is a table of soft labels of these cells.

    Cells may be missing (they inherit), but none may be unknown or stand there twice; values are in 0…1.
    """
    missing = [name for name in ("image_id", "cell_id", *SOFT_COLUMNS) if name not in soft.columns]
    if missing:
        raise ValueError(f"{source} has no column {', '.join(missing)}")
    values = soft[SOFT_COLUMNS].apply(pd.to_numeric, errors="coerce").to_numpy(np.float64)
    wrong = np.argwhere(~((values >= 0) & (values <= 1)))
    if len(wrong):
        row, column = wrong[0]
        name, found = SOFT_COLUMNS[column], soft[SOFT_COLUMNS[column]].iloc[row]
        raise ValueError(f"{source}, row {row} ({_cell(soft, row)}): {name} is {found}; expected 0…1")
    keys = pd.MultiIndex.from_frame(soft[["image_id", "cell_id"]])
    unknown = np.flatnonzero(~keys.isin(pd.MultiIndex.from_frame(cells[["image_id", "cell_id"]])))
    for rows, what in (
        (unknown, "is not in the cell table"),
        (np.flatnonzero(keys.duplicated()), "stands there twice"),
    ):
        if rows.size:
            raise ValueError(f"{source}, row {rows[0]}: {_cell(soft, rows[0])} {what}; expected each cell once")


def write_soft_labels(path: str | Path, soft: pd.DataFrame, cells: pd.DataFrame) -> None:
    """Check soft labels, made or edited, and write them with the fingerprint of their cell table."""
    check_soft_labels(soft, cells, path)
    tables.write_keyed(path, soft, tables.cells_fingerprint(cells))


def read_soft_labels(path: str | Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Read soft labels that `write_soft_labels` wrote, refusing those of other cells."""
    soft = tables.read_keyed(path, cells)
    check_soft_labels(soft, cells, path)
    return soft


def _cell(table: pd.DataFrame, row: int) -> str:
    return f"image {table['image_id'].iloc[row]}, cell {table['cell_id'].iloc[row]}"


def _levels(evidence: np.ndarray, number: int, config: SoftLabelConfig) -> np.ndarray:
    """Soft labels, before floors, of the cells in the fields that carry class `number`."""
    if config.by == "threshold":
        place, cuts = -evidence, -np.array(config.thresholds)
    else:
        rate = GRADED_RATES.get(number, config.rate) if config.match_graded else config.rate
        place = (pd.Series(-evidence).rank().to_numpy() - 0.5) / max(evidence.size, 1)  # 0 the best, 1 the worst
        cuts = np.array([rate / 3, rate * 2 / 3, rate, 1 - config.absent * (1 - rate)])
    return np.array([*LEVELS, 0.0])[np.searchsorted(cuts, place)]
