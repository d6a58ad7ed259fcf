"""Fields whose cells differ: for each class, ranked by how far apart the probabilities of their cells are."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from hpa_utils.labels import N_CLASSES

FEWEST = 3  # cells of a field that is ranked
COLUMNS = ["label", "rank", "image_id", "disagreement", "n_cells", "highest", "lowest"]


def rank_fields(confidences: np.ndarray, image_ids: Sequence[str], cell_ids: Sequence[int]) -> pd.DataFrame:
    """For each class, the fields in the order of how much their cells disagree.

    Parameters
    ----------
    confidences : numpy.ndarray
        float (n, 19), probabilities of the cells; a cell without them (nan) is left out.
    image_ids, cell_ids : sequences of n
        Whose they are; the cells of a field need not follow each other.

    Returns
    -------
    pandas.DataFrame
        A row a class and field of `FEWEST` cells or more: `label`; `rank`, 1 for the field whose cells disagree
        most (ties: more cells first, then by ID); `image_id`; `disagreement`, the mean difference of two of its cells
        (`mean_difference`), 0…1; `n_cells`; `highest` and `lowest`, the cells of the highest and the lowest
        probability (ties: the lowest number).

    Raises
    ------
    ValueError
        If the three do not go together.
    """
    confidences, image_ids, cell_ids = np.asarray(confidences), np.asarray(image_ids, object), np.asarray(cell_ids)
    if confidences.shape != (len(image_ids), N_CLASSES) or len(cell_ids) != len(image_ids):
        found = f"confidences {confidences.shape}, {len(image_ids)} image_ids and {len(cell_ids)} cell_ids"
        raise ValueError(f"{found}; expected (n, {N_CLASSES}), n and n")
    rows = pd.DataFrame({"image_id": image_ids, "cell_id": cell_ids, "row": np.arange(len(image_ids))})
    rows = rows[~np.isnan(confidences).any(1)].sort_values(["image_id", "cell_id"], kind="stable")
    ranked = [pd.DataFrame(columns=COLUMNS)]
    for image_id, of_field in rows.groupby("image_id", sort=True):
        if len(of_field) >= FEWEST:
            ids, scores = of_field["cell_id"].to_numpy(), confidences[of_field["row"]]
            ranked.append(_field_rows(image_id, ids, scores))
    if len(ranked) == 1:
        return ranked[0].astype(_types())
    table = pd.concat(ranked[1:], ignore_index=True)
    order = ["label", "disagreement", "n_cells", "image_id"]
    table = table.sort_values(order, ascending=[True, False, False, True], kind="stable", ignore_index=True)
    table["rank"] = table.groupby("label").cumcount() + 1
    return table[COLUMNS].astype(_types())


def mean_difference(values: np.ndarray) -> np.ndarray:
    """Gini's mean difference: the mean of |a − b| over all pairs of different rows, by column.

    Of n sorted values it is 2 / (n(n − 1)) · Σ (2i − n − 1)·xᵢ with i = 1…n.

    Parameters
    ----------
    values : numpy.ndarray
        float (n, columns).

    Returns
    -------
    numpy.ndarray
        float64 (columns,); nan for fewer than two rows.
    """
    number = len(values)
    if number < 2:
        return np.full(values.shape[1], np.nan)
    weights = 2 * np.arange(1, number + 1) - number - 1
    ordered = np.sort(np.asarray(values, np.float64), axis=0)
    return np.maximum(weights @ (ordered - ordered[0]), 0) * 2 / (number * (number - 1))


def _field_rows(image_id: str, cell_ids: np.ndarray, scores: np.ndarray) -> pd.DataFrame:
    """A field's rows, a class each, but for their rank; the cells in the order of their numbers."""
    found = {"label": np.arange(N_CLASSES), "image_id": image_id, "disagreement": mean_difference(scores)}
    found |= {"n_cells": len(cell_ids), "highest": cell_ids[scores.argmax(0)], "lowest": cell_ids[scores.argmin(0)]}
    return pd.DataFrame(found)


def _types() -> dict:
    whole = dict.fromkeys(("label", "rank", "n_cells", "highest", "lowest"), np.int64)
    return whole | {"image_id": object, "disagreement": np.float64}
