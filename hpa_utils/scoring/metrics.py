"""The competition's score: mean average precision of single cells at mask IoU 0.6."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from pycocotools import mask as coco

from hpa_utils.labels import N_CLASSES

IOU_THRESHOLD = 0.6
ABSENT = ("false_positive", "ignored")
MEANS = ("mean_average_precision", "mean_over_classes_with_truth")


@dataclass(frozen=True)
class Matches:
    """Detections beside the truth; n that count, by class, then in descending confidence, equal ones in file order."""

    image_ids: np.ndarray  # (F,), the fields that have truth or detections
    n_truth: np.ndarray  # int (19, F), true cells of each class in each field
    label: np.ndarray  # int (n,), class 0…18, ascending
    field: np.ndarray  # int (n,), position in `image_ids`
    confidence: np.ndarray  # float (n,)
    row: np.ndarray  # int (n,), position in the table of detections
    cell: np.ndarray  # int (n,), position in the truth of the cell that it overlaps by IoU ≥ 0.6; −1: none
    hit: np.ndarray  # bool (n,), the first detection of that cell in its class

    def ordered(self, order: np.ndarray) -> "Matches":
        """The same detections in another order (positions)."""
        names = ("label", "field", "confidence", "row", "cell", "hit")
        return replace(self, **{name: getattr(self, name)[order] for name in names})

    def reranked(self, confidence: np.ndarray) -> "Matches":
        """The same detections with other confidences, (m,) by position in the table of detections."""
        own = confidence[self.row]
        ranked = replace(self, confidence=own).ordered(np.lexsort((self.row, -own, self.label)))
        found, first = np.unique(ranked.cell, return_index=True)
        hit = np.zeros(len(own), bool)
        hit[first[found >= 0]] = True
        return replace(ranked, hit=hit)


def match_detections(truth: pd.DataFrame, detections: pd.DataFrame, absent: str = "false_positive") -> Matches:
    """Find which detections are hits, as the TF Object Detection API's Open Images evaluator does.

    `truth` is as of `read_truth`, `detections` as of `read_submission`; `absent` says what a detection is whose class
    no cell of its field has: "false_positive" or "ignored". A detection belongs to the cell of its class that it
    overlaps most (the first of equals), if their IoU is at least 0.6, and to no other; it is a hit if it is the first
    in descending confidence that belongs to that cell. As there, IoU is rounded to float32, and what has no pixel is
    neither a detection nor a cell to be found.
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
    rows_of, true_rows_of = (pd.Series(own).groupby(own).indices for own in (field, truth_field))
    nothing = np.zeros(0, np.int64)
    for number in range(len(image_ids)):
        rows, true_rows = rows_of.get(number, nothing), true_rows_of.get(number, nothing)
        # a mask comes once for each class: overlaps are computed once for all of them
        unique, which = _unique_masks(masks, rows)
        true_unique, true_which = _unique_masks(true_masks, true_rows)
        empty[rows] = (np.asarray(coco.area(_rles(unique))) == 0)[which]
        solid = (np.asarray(coco.area(_rles(true_unique))) > 0)[true_which]
        np.add.at(n_truth[:, number], truth_label[true_rows[solid]], 1)
        overlap = mask_iou(unique, true_unique).astype(np.float32)
        for of_class in np.unique(truth_label[true_rows]):
            own, true_own = label[rows] == of_class, truth_label[true_rows] == of_class
            iou = overlap[np.ix_(which[own], true_which[true_own])]
            best = iou.argmax(axis=1)
            found = iou[np.arange(len(best)), best] >= IOU_THRESHOLD
            cell[rows[own][found]] = true_rows[true_own][best[found]]
    row = np.flatnonzero(~empty if absent == "false_positive" else ~empty & shown[label, field])
    confidence = detections["confidence"].to_numpy(np.float64)
    own = (label[row], field[row], confidence[row], row, cell[row])
    hit = np.zeros(len(row), bool)  # found when they are ranked
    return Matches(np.asarray(image_ids, dtype=object), n_truth, *own, hit).reranked(confidence)


def score_matches(matches: Matches) -> dict:
    """Score of matched detections.

    `mean_average_precision`: the mean over the 19 classes, a class without truth or prediction counting 0;
    `mean_over_classes_with_truth`; `average_precision`: per class number (a string), None without truth.
    """
    (precision,) = average_precisions(matches)
    means = zip(MEANS, map(float, class_means(precision)))
    return dict(means) | {"average_precision": by_class(precision)}


def average_precisions(matches: Matches, field_weights: np.ndarray | None = None) -> np.ndarray:
    """Area under each class's precision-recall curve, precision made monotone from the right.

    Float (rounds, 19), NaN where a class has no truth among the fields that count. `field_weights`, (rounds, F), says
    how many times each field counts; by default there is one round, and each counts once.
    """
    if field_weights is None:
        field_weights = np.ones((1, len(matches.image_ids)))
    precisions = np.full((len(field_weights), N_CLASSES), np.nan)
    for label in range(N_CLASSES):
        own = slice(*np.searchsorted(matches.label, [label, label + 1]))
        hits = np.flatnonzero(matches.hit[own])
        n_truth = field_weights @ matches.n_truth[label]
        for number in np.flatnonzero(n_truth > 0):
            weights = field_weights[number][matches.field[own]]
            ranked, found = np.cumsum(weights)[hits], weights[hits]
            precision = np.cumsum(found) / np.maximum(ranked, np.finfo(float).tiny)  # 0 where nothing counted so far
            monotone = np.maximum.accumulate(precision[::-1])[::-1]
            precisions[number, label] = found @ monotone / n_truth[number]
    return precisions


def class_means(precisions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Means of average precisions (…, 19) over the 19 classes, NaN counting 0, and over those that are not NaN."""
    known = ~np.isnan(precisions)
    total = np.where(known, precisions, 0).sum(axis=-1)
    return total / N_CLASSES, total / np.maximum(known.sum(axis=-1), 1)


def by_class(values: np.ndarray) -> dict:
    """Values (19,) by class number (a string), None for NaN."""
    return {str(label): None if np.isnan(value) else float(value) for label, value in enumerate(values)}


def tie_range(matches: Matches) -> dict:
    """The lowest and the highest score that other orders of equal confidences give: `score_matches` of such pairs.

    An evaluator may put equal confidences in any order, when it finds hits and when it ranks. That never changes how
    many detections of one confidence are hits, only where they stand: at worst after the others, at best before them.
    """
    orders = [np.lexsort((late, -matches.confidence, matches.label)) for late in (matches.hit, ~matches.hit)]
    low, high = (score_matches(matches.ordered(order)) for order in orders)
    classes = zip(low["average_precision"].items(), high["average_precision"].values())
    classes = {label: None if value is None else [value, best] for (label, value), best in classes}
    return {name: [low[name], high[name]] for name in MEANS} | {"average_precision": classes}


def mean_average_precision(truth: pd.DataFrame, detections: pd.DataFrame, absent: str = "false_positive") -> dict:
    """Score detections as the competition does: `score_matches`, and `tie_range` under that name.

    This is the Open Images instance segmentation AP of the TF Object Detection API; parameters of `match_detections`.
    """
    matches = match_detections(truth, detections, absent)
    return score_matches(matches) | {"tie_range": tie_range(matches)}


def diagnose(truth: pd.DataFrame, detections: pd.DataFrame, absent: str = "false_positive") -> dict:
    """Split what a score loses between the masks and the labels; parameters as of `match_detections`.

    `loss`: {`segmentation`, `classification`}, each with `mean_over_classes_with_truth` and `average_precision` (by
    class number). The first is the share of a class's true cells that no mask overlaps by IoU ≥ 0.6, whatever it is
    predicted as: what would be lost with perfect labels. The second is the rest: right masks, wrongly ranked.
    Together they are 1 − score, class by class and in the mean.
    """
    matches = match_detections(truth, detections, absent)
    (precision,) = average_precisions(matches)
    masks = detections[["image_id", "height", "width", "counts"]].drop_duplicates()
    classes = pd.DataFrame({"label": range(N_CLASSES), "confidence": 1.0})
    matches = match_detections(truth, masks.merge(classes, how="cross"))
    n_truth = matches.n_truth.sum(axis=1)
    hits = np.bincount(matches.label[matches.hit], minlength=N_CLASSES)
    found = np.where(n_truth > 0, hits / np.maximum(n_truth, 1), np.nan)
    return {"loss": {"segmentation": _lost(1 - found), "classification": _lost(found - precision)}}


def _lost(values: np.ndarray) -> dict:
    return {MEANS[1]: float(class_means(values)[1]), "average_precision": by_class(values)}


def mask_keys(rows: pd.DataFrame) -> list[tuple[int, int, bytes]]:
    """(height, width, counts) of each row: what a mask is within its field."""
    return list(zip(rows["height"].tolist(), rows["width"].tolist(), rows["counts"]))


def mask_iou(first: list[tuple[int, int, bytes]], second: list[tuple[int, int, bytes]]) -> np.ndarray:
    """IoU of masks, float (n, m), computed on the run lengths: no mask is decoded.

    Masks of different sizes do not overlap: they cannot be of the same field.
    """
    overlap = np.asarray(coco.iou(_rles(first), _rles(second), [0] * len(second)), float)
    sizes = [np.array([key[:2] for key in keys]).reshape(-1, 1, 2) for keys in (first, second)]
    same = (sizes[0] == sizes[1].swapaxes(0, 1)).all(axis=2)
    return np.where(same, overlap.reshape(len(first), len(second)), 0.0)


def _rles(keys: list[tuple[int, int, bytes]]) -> list[dict]:
    return [{"size": [height, width], "counts": counts} for height, width, counts in keys]


def _unique_masks(keys: list[tuple], rows: np.ndarray) -> tuple[list[tuple], np.ndarray]:
    """The different masks of these rows, and which of them each row has."""
    numbers = {}
    which = np.array([numbers.setdefault(keys[row], len(numbers)) for row in rows], np.int64)
    return list(numbers), which
