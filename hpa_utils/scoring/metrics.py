"""The competition's score: mean average precision of single cells at mask IoU 0.6."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils.labels import N_CLASSES
from hpa_utils.scoring.overlaps import mask_areas, mask_iou, mask_keys, rows_by_field, unique_masks
from hpa_utils.scoring.reading import read_submission
from hpa_utils.scoring.submission import read_truth

IOU_THRESHOLD = 0.6
ABSENT = ("false_positive", "ignored")


@dataclass(frozen=True)
class Matches:
    """Detections beside the truth: all that the score, its uncertainty and other weights of fields need.

    One entry a detection that counts, by class and within it in descending confidence, equal ones in the file's order.

    Attributes
    ----------
    image_ids : numpy.ndarray
        (F,), the fields that have truth or detections.
    n_truth : numpy.ndarray
        int (19, F), true cells of each class in each field.
    label : numpy.ndarray
        int (n,), class 0…18, ascending.
    field : numpy.ndarray
        int (n,), position in `image_ids`.
    confidence : numpy.ndarray
        float (n,).
    row : numpy.ndarray
        int (n,), position in the table of detections.
    cell : numpy.ndarray
        int (n,), position in the table of the truth of the cell that it overlaps by IoU ≥ 0.6; −1 if there is none.
    hit : numpy.ndarray
        bool (n,), the first detection of that cell in its class.
    """

    image_ids: np.ndarray
    n_truth: np.ndarray
    label: np.ndarray
    field: np.ndarray
    confidence: np.ndarray
    row: np.ndarray
    cell: np.ndarray
    hit: np.ndarray

    def of_class(self, label: int) -> slice:
        """Where the detections of a class lie."""
        return slice(*np.searchsorted(self.label, [label, label + 1]))

    def reranked(self, confidence: np.ndarray) -> "Matches":
        """The same detections with other confidences, (m,) by position in the table of detections."""
        order = np.lexsort((self.row, -confidence[self.row], self.label))
        kept = {name: getattr(self, name)[order] for name in ("label", "field", "row", "cell")}
        ranked = {"confidence": confidence[kept["row"]], "hit": first_hits(kept["cell"])}
        return Matches(self.image_ids, self.n_truth, **kept, **ranked)


def match_detections(truth: pd.DataFrame, detections: pd.DataFrame, absent: str = "false_positive") -> Matches:
    """Find which detections are hits, as the TF Object Detection API's Open Images evaluator does.

    Parameters
    ----------
    truth : pandas.DataFrame
        A row a (cell, label), as of `submission.read_truth`.
    detections : pandas.DataFrame
        A row a (mask, label), as of `reading.read_submission`.
    absent : {"false_positive", "ignored"}
        What a detection is whose class no cell of its field has.

    Notes
    -----
    A detection belongs to the cell of its class that it overlaps most (the first of equals), if their IoU is at
    least 0.6, and to no other; it is a hit if it is the first in descending confidence that belongs to that cell.
    As there, IoU is rounded to float32, a detection without a pixel is none, and a true cell without a pixel is none
    to be found.
    """
    if absent not in ABSENT:
        raise ValueError(f"absent is {absent!r}; expected one of {', '.join(ABSENT)}")
    ids, image_ids = pd.factorize(pd.concat([truth["image_id"], detections["image_id"]], ignore_index=True))
    truth_field, field = ids[: len(truth)], ids[len(truth) :]
    truth_label, label = truth["label"].to_numpy(np.int64), detections["label"].to_numpy(np.int64)
    cell, empty = np.full(len(detections), -1), np.zeros(len(detections), bool)
    n_truth = np.zeros((N_CLASSES, len(image_ids)), np.int64)
    shown = np.zeros(n_truth.shape, bool)
    shown[truth_label, truth_field] = True
    masks, true_masks = mask_keys(detections), mask_keys(truth)
    rows_of, true_rows_of = rows_by_field(field, len(image_ids)), rows_by_field(truth_field, len(image_ids))
    for number, (rows, true_rows) in enumerate(zip(rows_of, true_rows_of)):
        # a mask comes once for each class: overlaps are computed once for all of them
        unique, which = unique_masks(masks, rows)
        true_unique, true_which = unique_masks(true_masks, true_rows)
        empty[rows] = (mask_areas(unique) == 0)[which]
        solid = (mask_areas(true_unique) > 0)[true_which]
        np.add.at(n_truth[:, number], truth_label[true_rows[solid]], 1)
        overlap = mask_iou(unique, true_unique).astype(np.float32)
        for of_class in np.unique(truth_label[true_rows]):
            own, true_own = label[rows] == of_class, truth_label[true_rows] == of_class
            iou = overlap[np.ix_(which[own], true_which[true_own])]
            best = iou.argmax(axis=1)
            found = iou[np.arange(len(best)), best] >= IOU_THRESHOLD
            cell[rows[own][found]] = true_rows[true_own][best[found]]
    counted = ~empty if absent == "false_positive" else ~empty & shown[label, field]
    confidence = detections["confidence"].to_numpy(np.float64)
    order = np.lexsort((-confidence, label))  # stable: equal confidences keep the file's order
    order = order[counted[order]]
    kept = {"label": label[order], "field": field[order], "confidence": confidence[order], "row": order}
    hit = first_hits(cell[order])
    return Matches(np.asarray(image_ids, dtype=object), n_truth, cell=cell[order], hit=hit, **kept)


def first_hits(cell: np.ndarray) -> np.ndarray:
    """Which ranked detections are the first of the cell that they belong to (−1: of none): bool (n,)."""
    hit = np.zeros(len(cell), bool)
    found, first = np.unique(cell, return_index=True)
    hit[first[found >= 0]] = True
    return hit


def score_matches(matches: Matches, field_weights: np.ndarray | None = None) -> dict:
    """Score of matched detections.

    Parameters
    ----------
    field_weights : numpy.ndarray, optional
        (F,), how many times each of `matches.image_ids` counts; once each by default.

    Returns
    -------
    dict
        `mean_average_precision`: the mean over the 19 classes, a class without truth or prediction counting 0;
        `mean_over_classes_with_truth`; `average_precision`: per class number (a string), None without truth.
    """
    weights = np.ones(len(matches.image_ids)) if field_weights is None else np.asarray(field_weights, float)
    (precision,) = average_precisions(matches, weights[None])
    mean, mean_with_truth = class_means(precision)
    return {
        "mean_average_precision": float(mean),
        "mean_over_classes_with_truth": float(mean_with_truth),
        "average_precision": by_class(precision),
    }


def average_precisions(matches: Matches, field_weights: np.ndarray) -> np.ndarray:
    """Average precision of each class for each row of weights.

    Parameters
    ----------
    field_weights : numpy.ndarray
        (rounds, F); a field of weight 2 counts as if it were there twice.

    Returns
    -------
    numpy.ndarray
        float (rounds, 19), NaN where a class has no truth among the fields that count.
    """
    precisions = np.full((len(field_weights), N_CLASSES), np.nan)
    for label in range(N_CLASSES):
        own = matches.of_class(label)
        places = np.flatnonzero(matches.hit[own])
        n_truth = field_weights @ matches.n_truth[label]
        for number in np.flatnonzero(n_truth > 0):
            weights = field_weights[number][matches.field[own]]
            precisions[number, label] = average_precision(places, weights, n_truth[number])
    return precisions


def average_precision(hits: np.ndarray, weights: np.ndarray, n_truth: float) -> float:
    """Area under the precision-recall curve of ranked detections, precision made monotone from the right.

    Parameters
    ----------
    hits : numpy.ndarray
        int, ascending: the places of the hits in the ranking.
    weights : numpy.ndarray
        (n,), how many times each detection counts, in descending confidence.
    n_truth : float
        Cells there are to find; above 0.
    """
    ranked, found = np.cumsum(weights)[hits], weights[hits]
    precision = np.cumsum(found) / np.maximum(ranked, np.finfo(float).tiny)  # 0 where nothing counted so far
    return float(found @ np.maximum.accumulate(precision[::-1])[::-1] / n_truth)


def class_means(precisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of average precisions (…, 19) over the 19 classes, NaN counting 0, and over those that are not NaN."""
    known = ~np.isnan(precisions)
    total = np.where(known, precisions, 0).sum(axis=-1)
    return total / N_CLASSES, total / np.maximum(known.sum(axis=-1), 1)


def by_class(values: np.ndarray) -> dict:
    """Values (19,) by class number (a string), None for NaN."""
    return {str(label): None if np.isnan(value) else float(value) for label, value in enumerate(values)}


def tie_range(matches: Matches) -> dict:
    """The lowest and the highest score that other orders of equal confidences give.

    An evaluator that sorts by confidence alone may put equal ones in any order, and the TF Object Detection API's
    sorts twice, within the field to find hits and over all fields to rank them. Neither changes how many of the
    detections of equal confidence and class are hits (a cell not yet found is hit once, whichever of them comes
    first), but where among them the hits stand: all after the others at worst, all before at best. Each bound
    is therefore reached by some pair of sorts, and by some single order too, except that the lower one is then out
    of reach where a second hit has the confidence of the first.

    Returns
    -------
    dict
        As of `score_matches`, with pairs [lowest, highest] for the values.
    """
    bounds = []
    for hits_first in (False, True):
        late = ~matches.hit if hits_first else matches.hit
        order = np.lexsort((late, -matches.confidence, matches.label))
        ordered = {name: getattr(matches, name)[order] for name in ("field", "confidence", "row", "cell", "hit")}
        bounds.append(score_matches(Matches(matches.image_ids, matches.n_truth, matches.label, **ordered)))
    low, high = bounds
    classes = {
        label: None if value is None else [value, high["average_precision"][label]]
        for label, value in low["average_precision"].items()
    }
    means = ("mean_average_precision", "mean_over_classes_with_truth")
    return {name: [low[name], high[name]] for name in means} | {"average_precision": classes}


def mean_average_precision(truth: pd.DataFrame, detections: pd.DataFrame, absent: str = "false_positive") -> dict:
    """Score detections as the competition does; parameters as of `match_detections`.

    Returns
    -------
    dict
        As of `score_matches`, and `tie_range` (`tie_range`).

    Notes
    -----
    The Open Images instance segmentation AP of the TF Object Detection API: per class, the detections of all
    fields in descending order of confidence, hits and false positives (`match_detections`); precision made monotone,
    area under the curve. Equal confidences keep the file's order.
    """
    matches = match_detections(truth, detections, absent)
    return score_matches(matches) | {"tie_range": tie_range(matches)}


def score_submission(truth: str | Path, submission: str | Path, absent: str = "false_positive") -> dict:
    """`mean_average_precision` of a submission file against a truth file."""
    return mean_average_precision(read_truth(truth), read_submission(submission), absent)
