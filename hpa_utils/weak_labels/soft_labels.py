"""Soft labels of cells: how much each shows the labels of its field, judged by models that did not train on it."""

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit

from hpa_utils.blending import GRADED
from hpa_utils.labels import N_CLASSES, NEGATIVE

FAR = 50.0  # log odds at which a chance is as good as 0 or 1
SHOWN = 0.5  # a soft label from which a cell counts as showing the class


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
