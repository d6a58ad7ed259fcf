"""Soft labels of cells: how much each shows the labels of its field, judged by models that did not train on it."""

import numpy as np
import pandas as pd

from hpa_utils.labels import N_CLASSES, NEGATIVE

LEVELS = np.array([1.0, 0.75, 0.5, 0.25, 0.0], np.float32)
SHOWN = 0.5  # a soft label from which a cell counts as showing the class

# Share of the cells in fields with the label whose grade was 3 or more of 5: MILIMED team, `validation` files, class
# 11 its `relabel` file (repository CroDoc/HPA2021-data-centric-approach). The other classes were not graded.
GRADED_RATES = {1: 0.45, 2: 0.49, 3: 0.59, 4: 0.32, 5: 0.30, 6: 0.67, 7: 0.75, 8: 0.45, 9: 0.54, 10: 0.71}
GRADED_RATES |= {11: 0.07, 12: 0.28, 15: 0.26, 17: 0.49}


def soft_labels(
    inherited: np.ndarray, evidence: np.ndarray, rate: float = 0.6, absent: float = 0.25, floor: float = 0.25
) -> np.ndarray:
    """Soften the labels that cells inherit from their field, by the rank of the evidence for each; float32 (n, 19).

    `inherited` (n, 19) are 1 for a label of the cell's field, else 0; `evidence` (n, 19) are out-of-fold scores, such
    as cell × field, NaN where there are none. Of all cells whose field has a label, the share `rate` gets 0.5 or more
    of it: a third of them each 1, 0.75, 0.5. Of the others the lowest, a share of `absent`, get 0; what lies between
    gets 0.25. No label of the field is less than `floor`. A class that the field does not have is 0. Class 18
    (Negative), and cells without evidence, keep the field's label.

    Source: the levels and the floor are of the competition's first place.
    """
    soft = np.array(inherited, np.float32)
    cuts = [rate / 3, rate * 2 / 3, rate, 1 - absent * (1 - rate)]
    for label in range(NEGATIVE):
        cells = np.flatnonzero((inherited[:, label] > 0) & np.isfinite(evidence[:, label]))
        place = (pd.Series(-evidence[cells, label]).rank().to_numpy() - 0.5) / max(cells.size, 1)  # 0 best, 1 worst
        soft[cells, label] = np.maximum(LEVELS[np.searchsorted(cuts, place)], floor)
    return soft


def shown_shares(inherited: np.ndarray, soft: np.ndarray) -> pd.DataFrame:
    """Of the cells in fields with a label, the share with a soft label of 0.5 or more, beside what people saw.

    A row a class: `cells`, `share`, `graded`; NaN where there is none.
    """
    count, shown = (inherited > 0).sum(axis=0), ((inherited > 0) & (soft >= SHOWN)).sum(axis=0)
    share = np.divide(shown, count, out=np.full(N_CLASSES, np.nan), where=count > 0)
    graded = [GRADED_RATES.get(number, np.nan) for number in range(N_CLASSES)]
    return pd.DataFrame({"cells": count, "share": share, "graded": graded}).rename_axis("class")
