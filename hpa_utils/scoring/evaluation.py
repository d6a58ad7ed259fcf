"""How well scores tell classes apart, on fields and cells that were not trained on."""

from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.scoring.metrics import IOU_THRESHOLD, by_class, mask_iou, mask_keys
from hpa_utils.scoring.submission import read_truth
from hpa_utils.tables import CELL_COLUMNS, label_matrix


def ranking_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """How well probabilities (n, 19) rank the fields, or cells, that carry a label above the others.

    Labels (n, 19) are 1 or 0, −1 where unknown: such a row is left out for that class. The dict has
    `average_precision`, `roc_auc` and `chance` (the share of positives) by class number (a string), None where the
    known labels are all alike; `mean_average_precision`, `mean_roc_auc`, `mean_chance` over the others.
    """
    table = np.full((3, N_CLASSES), np.nan)
    for label in range(N_CLASSES):
        known = labels[:, label] >= 0
        own, ranked = labels[known, label], probabilities[known, label]
        if len(np.unique(own)) == 2:
            table[:, label] = average_precision_score(own, ranked), roc_auc_score(own, ranked), own.mean()
    scores = dict(zip(("average_precision", "roc_auc", "chance"), table))
    found = {f"mean_{name}": values[~np.isnan(values)] for name, values in scores.items()}
    means = {name: float(values.mean()) if values.size else None for name, values in found.items()}
    return means | {name: by_class(values) for name, values in scores.items()}


def held_out_scores(
    oof: pd.DataFrame, cells: pd.DataFrame, fields: pd.DataFrame, truth: Path | None, seen: np.ndarray
) -> dict[str, dict]:
    """How well out-of-fold scores of cells rank fields, by the mean of their cells, and cells: by truth, by people.

    `oof` are the scores, `image_id`, `cell_id`, `p00` … `p18`; `truth` is the file of the cell-level truth, if there is
    one; `seen` (n, 19) what people saw of the cells of `oof`, −1 where nobody looked. By what they are ranked: the dict
    of `ranking_scores`; none without cells.
    """
    if oof.empty:
        return {}
    own, of_fields = oof[CELL_COLUMNS].to_numpy(), oof.groupby("image_id")[CELL_COLUMNS].mean()
    labels = label_matrix(fields.set_index("image_id").loc[of_fields.index])
    ranked = {"fields": (labels, of_fields.to_numpy())}
    if truth:
        ranked["cells, by truth"] = truth_labels(read_truth(truth), oof.merge(cells, "left"), fields), own
    ranked["cells, by people"] = seen, own
    return {title: ranking_scores(*pair) for title, pair in ranked.items() if (pair[0] >= 0).any()}


def truth_labels(truth: pd.DataFrame, cells: pd.DataFrame, fields: pd.DataFrame) -> np.ndarray:
    """Labels of our cells by cell-level truth: those of the true cell that each overlaps most, if IoU ≥ 0.6.

    `truth` is as of `read_truth`, `cells` a cell table, `fields` the field table of all their fields. The labels, int8
    (n, 19) in the order of `cells`, are 1 or 0; −1 for a cell without a partner, or in a field without truth.
    """
    sizes = fields.set_index("image_id")[["height", "width"]]
    truth_of = truth.groupby("image_id", sort=False).indices
    labels = np.full((len(cells), N_CLASSES), -1, np.int8)
    for image_id, places in cells.reset_index(drop=True).groupby("image_id", sort=False).indices.items():
        if image_id not in truth_of:
            continue
        size = sizes.loc[image_id].tolist()
        ours = [(*size, counts) for counts in cells["rle"].to_numpy()[places]]
        rows = truth.iloc[truth_of[image_id]]
        number, _ = pd.factorize(rows["counts"])  # of the true cell, in the order in which they come
        labels_of = np.zeros((number.max() + 1, N_CLASSES), np.int8)
        labels_of[number, rows["label"]] = 1
        overlap = mask_iou(ours, mask_keys(rows.drop_duplicates("counts")))
        found = overlap.max(axis=1) >= IOU_THRESHOLD
        labels[places[found]] = labels_of[overlap.argmax(axis=1)[found]]
    return labels


def confident_mistakes(fields: pd.DataFrame, scores: pd.DataFrame, count: int) -> pd.DataFrame:
    """The fields whose probability of a class, that of their highest cell (of Negative, the lowest), is most wrong.

    `fields` have `labels` (19, −1 where unknown); `scores` are out-of-fold scores of cells, `image_id`, `cell_id`,
    `p00` … `p18`. At most `count` rows, half of them false alarms (one more if odd), half misses, the most wrong first:
    `image_id`, `class`, `probability` (of the field), `labelled` (0 or 1), `cell_id` (the cell it is of).
    """
    cells_of = scores.groupby("image_id", sort=False).indices
    values = scores[CELL_COLUMNS].to_numpy(np.float64)
    signed = np.where(np.arange(N_CLASSES) == NEGATIVE, -values, values)
    chosen = [own[signed[own].argmax(axis=0)] for own in cells_of.values()]  # the cells that speak for the field
    chosen = np.array(chosen, np.int64).reshape(-1, N_CLASSES)
    probabilities = np.take_along_axis(values, chosen, axis=0)
    labels = label_matrix(fields.set_index("image_id").loc[list(cells_of)])
    wrong, picked = np.abs(probabilities - labels), []
    for labelled, wanted in ((0, count - count // 2), (1, count // 2)):
        places = np.flatnonzero(labels == labelled)
        picked += places[np.argsort(-wrong.flat[places], kind="stable")][:wanted].tolist()
    rows = []
    for place in sorted(picked, key=lambda place: -wrong.flat[place]):
        image_id, cell_id = scores[["image_id", "cell_id"]].iloc[chosen.flat[place]]
        rows.append((image_id, place % N_CLASSES, probabilities.flat[place], labels.flat[place], cell_id))
    return pd.DataFrame(rows, columns=["image_id", "class", "probability", "labelled", "cell_id"])
