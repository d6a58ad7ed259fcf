"""Where a score is lost: masks that miss their cell, and right masks that are ranked wrongly."""

import numpy as np
import pandas as pd

from hpa_utils.labels import N_CLASSES
from hpa_utils.scoring.evaluation import truth_labels
from hpa_utils.scoring.metrics import (
    Matches,
    average_precisions,
    by_class,
    class_means,
    match_detections,
    score_matches,
)
from hpa_utils.scoring.overlaps import mask_centres, mask_iou, mask_keys, rows_by_field, unique_masks

NO_CELL = N_CLASSES  # column of the confusion: the mask overlaps no true cell by IoU ≥ 0.6


def diagnose(truth: pd.DataFrame, detections: pd.DataFrame, absent: str = "false_positive") -> dict:
    """Split what a score loses, and say what it would be with perfect masks or perfect labels.

    Parameters
    ----------
    truth, detections, absent
        As of `metrics.match_detections`.

    Returns
    -------
    dict
        `perfect_labels`: score of the same masks, each with the labels of its true cell and no others
        (`found_shares`); `perfect_masks`: score of the same confidences on the true masks (`move_to_cells`); `loss`:
        {`segmentation`, `classification`}: 1 − perfect labels (cells that no mask hits, whatever its confidences),
        and perfect labels − score (the right masks, wrongly ranked); together they are 1 − score, class by class and
        in the mean over classes with truth. Scores are as of `score_matches`; losses have no mean over 19, since a
        class without truth has nothing to lose. `false_positives`: `confusion` as lists, a row a class.
    """
    matches = match_detections(truth, detections, absent)
    (precision,) = average_precisions(matches, np.ones((1, len(matches.image_ids))))
    found = found_shares(truth, detections)
    return {
        "perfect_labels": {"mean_average_precision": float(class_means(found)[0])} | _of_classes(found),
        "perfect_masks": score_matches(match_detections(truth, move_to_cells(truth, detections), absent)),
        "loss": {"segmentation": _of_classes(1 - found), "classification": _of_classes(found - precision)},
        "false_positives": confusion(truth, detections, matches).round(3).tolist(),
    }


def found_shares(truth: pd.DataFrame, detections: pd.DataFrame) -> np.ndarray:
    """Share of each class's true cells that some mask of the submission overlaps by IoU ≥ 0.6.

    It is the average precision of these masks if each were predicted in just the classes of its cell, once a cell.
    Of two true cells of a class that one mask overlaps, it finds the one that it overlaps more.

    Returns
    -------
    numpy.ndarray
        float (19,), NaN where a class has no truth.
    """
    masks = detections.drop_duplicates(["image_id", "height", "width", "counts"])
    every = masks.loc[masks.index.repeat(N_CLASSES)].reset_index(drop=True)
    every = every.assign(label=np.tile(np.arange(N_CLASSES), len(masks)), confidence=1.0)
    matches = match_detections(truth, every)
    n_truth = matches.n_truth.sum(axis=1)
    hits = np.bincount(matches.label[matches.hit], minlength=N_CLASSES)
    return np.where(n_truth > 0, hits / np.maximum(n_truth, 1), np.nan)


def move_to_cells(truth: pd.DataFrame, detections: pd.DataFrame) -> pd.DataFrame:
    """The detections of a segmenter that had found just the true cells, each with the confidences of a mask it made.

    A true cell takes those of the mask that overlaps it most; if none does, of the mask of its field that is nearest,
    by the centres of the boxes around them; in a field without masks it stays unfound. A mask that is no cell's choice
    is left out; one that is the choice of several (a merged one) gives its confidences to each, which makes ties.

    Returns
    -------
    pandas.DataFrame
        As `detections`, in their order.
    """
    ids, image_ids = pd.factorize(pd.concat([truth["image_id"], detections["image_id"]], ignore_index=True))
    true_keys, keys = mask_keys(truth), mask_keys(detections)
    true_rows_of = rows_by_field(ids[: len(truth)], len(image_ids))
    rows_of = rows_by_field(ids[len(truth) :], len(image_ids))
    rows, counts = [np.zeros(0, np.int64)], []
    for true_rows, own in zip(true_rows_of, rows_of):
        cells, masks = unique_masks(true_keys, true_rows)[0], unique_masks(keys, own)
        if not cells or not masks[0]:
            continue
        overlap = mask_iou(cells, masks[0])
        away = np.linalg.norm(mask_centres(cells)[:, None] - mask_centres(masks[0])[None], axis=2)
        chosen = np.where(overlap.max(axis=1) > 0, overlap.argmax(axis=1), away.argmin(axis=1))
        for cell, mask in zip(cells, chosen):
            rows.append(own[masks[1] == mask])
            counts += [cell] * len(rows[-1])
    rows = np.concatenate(rows)
    moved = detections.iloc[rows].copy()
    for place, name in enumerate(("height", "width", "counts")):
        moved[name] = [cell[place] for cell in counts]
    return moved.iloc[np.argsort(rows, kind="stable")]


def confusion(truth: pd.DataFrame, detections: pd.DataFrame, matches: Matches) -> np.ndarray:
    """Which classes the cells really showed whose detection is a false positive.

    Of each class as many detections are looked at as it has true cells, those ranked highest: a perfect submission has
    no false positive among them. (Every cell is predicted in every class, so that of all false positives most are far
    down and cost nothing.)

    Parameters
    ----------
    matches : Matches
        Of these two tables.

    Returns
    -------
    numpy.ndarray
        float (19, 20), a row a predicted class, a column a class that the true cell shows, the last: no true cell
        (IoU < 0.6 with all). A cell that shows k classes counts 1/k in each, so a row's sum is the number of its false
        positives. On the diagonal are cells that do show the class: second hits.
    """
    starts = np.searchsorted(matches.label, np.arange(N_CLASSES))
    rank = np.arange(len(matches.label)) - starts[matches.label]
    wrong = ~matches.hit & (rank < matches.n_truth.sum(axis=1)[matches.label])
    masks = detections.iloc[matches.row[wrong]].rename(columns={"counts": "rle"})
    sizes = detections.drop_duplicates("image_id")[["image_id", "height", "width"]]
    shown = np.maximum(truth_labels(truth, masks, sizes), 0).astype(float)
    shown = np.column_stack([shown, shown.max(axis=1, initial=0) == 0])
    table = np.zeros((N_CLASSES, N_CLASSES + 1))
    np.add.at(table, matches.label[wrong], shown / shown.sum(axis=1, keepdims=True))
    return table


def _of_classes(values: np.ndarray) -> dict:
    """Values (19,), NaN without truth, with their mean."""
    return {"mean_over_classes_with_truth": float(class_means(values)[1]), "average_precision": by_class(values)}
