"""How well scores tell classes apart and say how sure they are, on fields and cells that were not trained on."""

import numpy as np
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from hpa_utils import tables
from hpa_utils.labels import N_CLASSES
from hpa_utils.scoring.metrics import IOU_THRESHOLD
from hpa_utils.scoring.overlaps import mask_iou, mask_keys

# What needs a name of `training` or `model` imports it where it is used: scoring alone must not load Keras.


def ranking_scores(labels: np.ndarray, probabilities: np.ndarray) -> dict:
    """How well a score ranks the fields, or cells, that carry a label above the others.

    Parameters
    ----------
    labels : numpy.ndarray
        (n, 19), 1 or 0, −1 where unknown: such a row is left out for that class.
    probabilities : numpy.ndarray
        (n, 19).

    Returns
    -------
    dict
        `average_precision`, `roc_auc` and `chance` (the share of positives, what a blind score's average precision
        is) per class number (a string), None where the known labels are all alike; `mean_average_precision`,
        `mean_roc_auc` and `mean_chance` over the other classes, None if there is none.
    """
    measures = {"average_precision": average_precision_score, "roc_auc": roc_auc_score, "chance": _share}
    scores = {name: dict.fromkeys(map(str, range(N_CLASSES))) for name in measures}
    for label in range(N_CLASSES):
        known = labels[:, label] >= 0
        own = labels[known, label]
        if len(np.unique(own)) == 2:
            for name, measure in measures.items():
                scores[name][str(label)] = float(measure(own, probabilities[known, label]))
    means = {}
    for name, of_class in scores.items():
        found = [value for value in of_class.values() if value is not None]
        means[f"mean_{name}"] = float(np.mean(found)) if found else None
    return means | scores


def truth_labels(truth: pd.DataFrame, cells: pd.DataFrame, fields: pd.DataFrame) -> np.ndarray:
    """Labels of our cells by cell-level truth: those of the true cell that each overlaps most, if IoU ≥ 0.6.

    Parameters
    ----------
    truth : pandas.DataFrame
        As of `submission.read_truth`; a cell with several labels is several rows of the same mask.
    cells : pandas.DataFrame
        `image_id`, `rle`.
    fields : pandas.DataFrame
        `image_id`, `height`, `width`, of all fields of the cells.

    Returns
    -------
    numpy.ndarray
        int8 (n, 19) in the order of `cells`: 1 or 0; −1 for a cell without a partner, or in a field without truth.
    """
    sizes = fields.set_index("image_id")[["height", "width"]]
    truth_of = truth.groupby("image_id", sort=False).indices
    labels = np.full((len(cells), N_CLASSES), -1, np.int8)
    for image_id, places in cells.reset_index(drop=True).groupby("image_id", sort=False).indices.items():
        if image_id not in truth_of:
            continue
        height, width = sizes.loc[image_id]
        ours = pd.DataFrame({"height": height, "width": width, "counts": cells["rle"].to_numpy()[places]})
        rows = truth.iloc[truth_of[image_id]]
        number, _ = pd.factorize(rows["counts"])  # of the true cell, in the order in which they come
        labels_of = np.zeros((number.max() + 1, N_CLASSES), np.int8)
        labels_of[number, rows["label"]] = 1
        overlap = mask_iou(mask_keys(ours), mask_keys(rows.drop_duplicates("counts")))
        found = overlap.max(axis=1) >= IOU_THRESHOLD
        labels[places[found]] = labels_of[overlap.argmax(axis=1)[found]]
    return labels


def grade_labels(grades: pd.DataFrame, cells: pd.DataFrame) -> np.ndarray:
    """Labels of cells by human grades.

    Parameters
    ----------
    grades : pandas.DataFrame
        `image_id`, `cell_id`, `label`, `score` in 0…1, each (cell, label) once (`training.grades.match_grades`).
    cells : pandas.DataFrame
        `image_id`, `cell_id`.

    Returns
    -------
    numpy.ndarray
        int8 (n, 19) in the order of `cells`: 1 from a grade of 0.6 (`training.grades.POSITIVE`) on, 0 below, −1 where
        there is none.
    """
    from hpa_utils.training.grades import POSITIVE

    labels = np.full((len(cells), N_CLASSES), -1, np.int8)
    keys = pd.MultiIndex.from_frame(cells[["image_id", "cell_id"]])
    places = keys.get_indexer(pd.MultiIndex.from_frame(grades[["image_id", "cell_id"]]))
    known, classes = places >= 0, grades["label"].to_numpy(np.int64)
    labels[places[known], classes[known]] = (grades["score"] >= POSITIVE)[known]
    return labels


def reliability(labels: np.ndarray, probabilities: np.ndarray, bins: int = 10) -> pd.DataFrame:
    """How often what is predicted at a probability is so; all classes together.

    Parameters
    ----------
    labels, probabilities : numpy.ndarray
        (n, 19); labels 1, 0, or −1 where unknown.
    bins : int
        Into how many bins of equal width the probabilities are put.

    Returns
    -------
    pandas.DataFrame
        A row a bin that is not empty: `predicted` (mean probability), `share` (of positives), `count`.
    """
    known = labels >= 0
    pairs = pd.DataFrame({"predicted": probabilities[known].astype(float), "share": labels[known].astype(float)})
    number = np.minimum((pairs["predicted"] * bins).astype(int), bins - 1)  # 1 is in the last bin
    table = pairs.groupby(number).agg(predicted=("predicted", "mean"), share=("share", "mean"), count=("share", "size"))
    return table.reset_index(drop=True)


def confident_mistakes(fields: pd.DataFrame, scores: pd.DataFrame, count: int) -> pd.DataFrame:
    """The fields whose pooled probability of a class is most at odds with their label.

    Parameters
    ----------
    fields : pandas.DataFrame
        `image_id`, `labels` (19, −1 where unknown).
    scores : pandas.DataFrame
        Out-of-fold scores, as of `model.prediction.predict_bags`.
    count : int
        How many; half of them false alarms (one more if odd), half misses. Fewer where there are not so many pairs
        of field and class without, or with, the label.

    Returns
    -------
    pandas.DataFrame
        `image_id`, `class`, `probability` (of the field), `labelled` (0 or 1), `cell_id` (the field's highest cell for
        that class); the most wrong first.
    """
    from hpa_utils.model.prediction import CELL_COLUMNS, FIELD_COLUMNS

    by_field = scores.drop_duplicates("image_id").reset_index(drop=True)
    labels = tables.label_matrix(fields.set_index("image_id").loc[by_field["image_id"]])
    probabilities = by_field[FIELD_COLUMNS].to_numpy(np.float64)
    wrong, picked = np.abs(probabilities - labels), []
    for labelled, wanted in ((0, count - count // 2), (1, count // 2)):
        places = np.flatnonzero(labels == labelled)
        picked += places[np.argsort(-wrong.flat[places], kind="stable")][:wanted].tolist()
    picked.sort(key=lambda place: -wrong.flat[place])
    cells_of, rows = scores.groupby("image_id", sort=False).indices, []
    for row, label in zip(*np.unravel_index(np.array(picked, int), wrong.shape)):
        cells = scores.iloc[cells_of[by_field["image_id"][row]]]
        highest = cells["cell_id"].iloc[int(cells[CELL_COLUMNS[label]].to_numpy().argmax())]
        rows.append((by_field["image_id"][row], label, probabilities[row, label], labels[row, label], highest))
    return pd.DataFrame(rows, columns=["image_id", "class", "probability", "labelled", "cell_id"])


def _share(labels: np.ndarray, _) -> float:
    return labels.mean()
