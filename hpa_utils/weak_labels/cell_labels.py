"""What cells are to learn: labels of their fields softened by evidence, and spindles told from the cell table alone."""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, ndtri

from hpa_utils.blending import GRADED
from hpa_utils.labels import N_CLASSES, NEGATIVE

FAR = 50.0  # log odds at which a chance is as good as 0 or 1
SHOWN = 0.5  # a soft label from which a cell counts as showing the class
SPINDLE = 11  # of a field, one or two cells
PRIOR_CELLS = 2  # how many cells of the whole table's median stand in for a field's own where it has few
LIKELY = 0.98  # score from which a cell may well be in mitosis
MOST = 2  # cells of a field that carry the label


def soft_labels(inherited: np.ndarray, evidence: np.ndarray, share: np.ndarray) -> np.ndarray:
    """Soften the labels that cells inherit from their field: how probably each cell shows them; float32 (n, 19).

    `inherited` (n, 19) are 1 for a label of the cell's field, else 0; `evidence` (n, 19) are log odds out of fold, such
    as a cell's logits and half of its field's mean, NaN where there are none. Class by class they are shifted until,
    over the cells whose field has the label, the mean is `share` (18,): that of the cells in which people saw it
    (`blending.GRADED`). A class that the field does not have is 0. Class 18 (Negative), unless it is the field's, is
    the chance that a cell shows none of its field's labels. Cells without evidence keep the field's labels.
    """
    soft = np.array(inherited, np.float32)
    for label in range(NEGATIVE):
        cells = np.flatnonzero((inherited[:, label] > 0) & np.isfinite(evidence[:, label]))
        if cells.size:
            odds = evidence[cells, label].astype(np.float64)
            shift = brentq(_excess, -FAR - odds.max(), FAR - odds.min(), args=(odds, share[label]))
            soft[cells, label] = expit(odds + shift)
    soft[:, NEGATIVE] = np.maximum(soft[:, NEGATIVE], np.prod(1 - soft[:, :NEGATIVE], axis=1))
    return soft


def shown_shares(inherited: np.ndarray, soft: np.ndarray) -> pd.DataFrame:
    """Of the cells in fields with a label, the share with a soft label of 0.5 or more, beside what people saw.

    A row a class: `cells`, `share`, `graded`; NaN where there is none.
    """
    count, shown = (inherited > 0).sum(axis=0), ((inherited > 0) & (soft >= SHOWN)).sum(axis=0)
    share = np.divide(shown, count, out=np.full(N_CLASSES, np.nan), where=count > 0)
    graded = np.append(GRADED.share, np.nan)
    return pd.DataFrame({"cells": count, "share": share, "graded": graded}).rename_axis("class")


def _excess(shift, odds, share):
    """By how much the mean chance of shifted log odds exceeds a share."""
    return expit(odds + shift).mean() - share


def mitosis_score(cells: pd.DataFrame) -> np.ndarray:
    """How much each cell looks like one in mitosis, compared with all others; no label is needed.

    From the cell table of as many fields as there are; float32 (n,), the share of the cells that look less so, 0 for
    cells without a nucleus.

    Five things are ranked over all cells, and the normal quantiles of their ranks are added up, each with the same
    weight: chromosomes packed together make the nucleus brighter and smaller than usual in its field (the median of
    the field's cells); the cell rounds up; with the nuclear envelope gone microtubules lie where the nucleus was,
    focused in the spindle. What a cell at the image border shows of its size and shape counts as middling at best.
    The evenness of the nucleus is left out: a plate of chromosomes is mostly rim, and early chromosomes are patchy.
    """
    has_nucleus = (cells["nucleus_area"] > 0).to_numpy()
    if not has_nucleus.any():  # no cells, or whole fields
        return np.zeros(len(cells), np.float32)
    cut = (cells["edge_fraction"] > 0).to_numpy()
    size, roundness = _quantiles(-_against_field(cells, "nucleus_area")), _quantiles(cells["roundness"])
    total = np.where(cut, np.minimum(size, 0) + np.minimum(roundness, 0), size + roundness)
    total += _quantiles(_against_field(cells, "nucleus_blue_mean"))
    total += _quantiles(cells["nucleus_red_ratio"]) + _quantiles(cells["red_focus"])
    order = pd.Series(np.where(has_nucleus, total, -np.inf)).rank()
    return np.where(has_nucleus, (order - 0.5) / len(cells), 0).astype(np.float32)


def spindle_cells(
    cells: pd.DataFrame, fields: pd.DataFrame, likely: float = LIKELY, most: int = MOST
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The cells of a cell table that carry the label 11, and those that are no negatives of it.

    Both tables have `image_id`, `cell_id`, `score` (`mitosis_score`, 0…1). The first: of each field labelled 11 its
    highest cell, and up to `most` in all that score `likely` or more, the highest first. Always draw these, with label
    11. The second: likely cells of any field that do not carry the label. Give them no label 11, neither 1 nor 0:
    graders saw spindles in fields without the label.
    """
    scored = cells[["image_id", "cell_id"]].assign(score=mitosis_score(cells))
    scored = scored.sort_values(["image_id", "score"], ascending=[True, False], kind="stable")
    labels = dict(zip(fields["image_id"], fields["labels"], strict=True))
    labelled = scored["image_id"].map({image_id: vector[SPINDLE] > 0 for image_id, vector in labels.items()})
    labelled = labelled.fillna(False).astype(bool)
    place = scored.groupby("image_id").cumcount()
    carrying = labelled & ((place == 0) | ((place < most) & (scored["score"] >= likely)))
    ignored = ~carrying & (scored["score"] >= likely)
    return scored[carrying].reset_index(drop=True), scored[ignored].reset_index(drop=True)


def mark_spindles(targets: np.ndarray, inherited: np.ndarray, carrying: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """Targets in which only spindle candidates carry label 11.

    `targets` and `inherited` (n, 19) are what cells are to learn, and the labels of their fields; `carrying` and
    `ignored` the rows of the cells of `spindle_cells`. In the new targets, float32, class 11 is 1 for the candidates,
    −1 (ignored by the loss) for the other cells of their fields and for the cells that look like one elsewhere.
    """
    marked = np.array(targets, np.float32)
    marked[inherited[:, SPINDLE] > 0, SPINDLE] = -1
    marked[ignored, SPINDLE] = -1
    marked[carrying, SPINDLE] = 1
    return marked


def _against_field(cells: pd.DataFrame, column: str) -> pd.Series:
    """Logarithm of a measure over what is usual in its field; of few cells alone one cannot tell."""
    values = np.log(cells[column].clip(lower=1))
    with_nucleus = values.where(cells["nucleus_area"] > 0)
    by_field = with_nucleus.groupby(cells["image_id"])
    n, median = by_field.transform("count"), by_field.transform("median").fillna(0)
    return values - (n * median + PRIOR_CELLS * with_nucleus.median()) / (n + PRIOR_CELLS)


def _quantiles(values: pd.Series) -> np.ndarray:
    """Normal quantiles of the ranks of the values, float64."""
    return ndtri((values.rank().to_numpy() - 0.5) / len(values))
