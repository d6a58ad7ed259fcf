"""The competition's score: mean average precision of single cells at mask IoU 0.6."""

from pathlib import Path

import numpy as np
import pandas as pd
from pycocotools import mask as coco

from hpa_utils.labels import N_CLASSES
from hpa_utils.scoring.submission import read_submission, read_truth

IOU_THRESHOLD = 0.6
ABSENT = ("false_positive", "ignored")


def mean_average_precision(truth: pd.DataFrame, detections: pd.DataFrame, absent: str = "false_positive") -> dict:
    """Score detections as the competition does.

    Parameters
    ----------
    truth : pandas.DataFrame
        A row a (cell, label), as of `submission.read_truth`.
    detections : pandas.DataFrame
        A row a (mask, label), as of `submission.read_submission`; equal confidences keep the file's order.
    absent : {"false_positive", "ignored"}
        What a detection is whose class no cell of its field has.

    Returns
    -------
    dict
        `mean_average_precision`: the mean over the 19 classes, a class without truth or prediction counting 0;
        `mean_over_classes_with_truth`; `average_precision`: per class number (a string), None without truth.

    Notes
    -----
    The Open Images instance segmentation AP of the TF Object Detection API: per class, the detections of all
    fields in descending order of confidence; one that overlaps its best truth by IoU ≥ 0.6 is a hit, if that
    truth was not hit before, and a false positive otherwise; precision made monotone, area under the curve.
    """
    if absent not in ABSENT:
        raise ValueError(f"absent is {absent!r}; expected one of {', '.join(ABSENT)}")
    detections = detections.sort_values("confidence", ascending=False, kind="stable")
    truth_of = dict(list(truth.groupby(["label", "image_id"], sort=False)))
    precision = {}
    for label in range(N_CLASSES):
        n_truth = int((truth["label"] == label).sum())
        of_class = detections[detections["label"] == label]
        if absent == "ignored":
            verified = [(label, image_id) in truth_of for image_id in of_class["image_id"]]
            of_class = of_class[np.array(verified, bool)]
        hits = np.zeros(len(of_class), bool)
        for image_id, places in of_class.groupby("image_id", sort=False).indices.items():
            if (label, image_id) in truth_of:
                hits[places] = match_cells(truth_of[label, image_id], of_class.iloc[places])
        precision[str(label)] = average_precision(hits, n_truth) if n_truth else None
    known = [value for value in precision.values() if value is not None]
    return {
        "mean_average_precision": float(sum(known) / N_CLASSES),
        "mean_over_classes_with_truth": float(np.mean(known)) if known else 0.0,
        "average_precision": precision,
    }


def match_cells(truth: pd.DataFrame, detections: pd.DataFrame) -> np.ndarray:
    """Which detections of one class in one field, given in descending confidence, are hits: bool (n,)."""
    overlap = mask_iou(detections, truth)
    best = overlap.argmax(axis=1)
    hits, taken = np.zeros(len(detections), bool), set()
    for place, cell in enumerate(best):
        if overlap[place, cell] >= IOU_THRESHOLD and cell not in taken:
            hits[place] = True
            taken.add(cell)
    return hits


def mask_iou(first: pd.DataFrame, second: pd.DataFrame) -> np.ndarray:
    """IoU of the masks of two tables (`height`, `width`, `counts`), float (n, m), computed on the run lengths.

    Masks of different sizes do not overlap: they cannot be of the same field.
    """
    rles = [
        [{"size": [int(h), int(w)], "counts": c} for h, w, c in zip(rows["height"], rows["width"], rows["counts"])]
        for rows in (first, second)
    ]
    overlap = np.asarray(coco.iou(*rles, [0] * len(rles[1])), float).reshape(len(first), len(second))
    sizes = [rows[["height", "width"]].to_numpy() for rows in (first, second)]
    return np.where((sizes[0][:, None] == sizes[1][None]).all(axis=2), overlap, 0.0)


def average_precision(hits: np.ndarray, n_truth: int) -> float:
    """Area under the precision-recall curve of ranked detections, precision made monotone from the right.

    Parameters
    ----------
    hits : numpy.ndarray
        bool (n,), in descending confidence.
    n_truth : int
        Cells there are to find; above 0.
    """
    found = np.cumsum(hits)
    precision = np.maximum.accumulate((found / np.arange(1, len(hits) + 1))[::-1])[::-1]
    return float(precision[hits].sum() / n_truth)


def score_submission(truth: str | Path, submission: str | Path, absent: str = "false_positive") -> dict:
    """`mean_average_precision` of a submission file against a truth file."""
    return mean_average_precision(read_truth(truth), read_submission(submission), absent)
