"""A submission's score with all that is to be said about it: ties, interval, comparison, diagnosis."""

from pathlib import Path

import pandas as pd

from hpa_utils.labels import CLASS_NAMES, N_CLASSES
from hpa_utils.scoring.diagnosis import NO_CELL, diagnose
from hpa_utils.scoring.metrics import match_detections, score_matches, tie_range
from hpa_utils.scoring.reading import read_submission
from hpa_utils.scoring.submission import read_truth
from hpa_utils.scoring.uncertainty import bootstrap, compare

SHOWN = 3  # classes that are told of what a class's false positives showed


def score_report(
    truth: str | Path,
    submission: str | Path,
    absent: str = "false_positive",
    rounds: int = 1000,
    against: str | Path = "",
    diagnosis: bool = False,
) -> dict:
    """Score a submission file against a truth file.

    Parameters
    ----------
    absent : {"false_positive", "ignored"}
        As of `metrics.match_detections`.
    rounds : int
        Of the bootstrap over fields; 0: no interval.
    against : path
        Another submission, which this one is compared with.
    diagnosis : bool
        Whether to say where the score is lost; takes as long again as the score.

    Returns
    -------
    dict
        As of `metrics.mean_average_precision`, and `true_cells` by class number (a string); `interval` (`bootstrap`),
        `against` (`compare`: this submission − the other) and `diagnosis` (`diagnose`) where asked for.

    Raises
    ------
    FileNotFoundError, ValueError
        If a file is missing or cannot be read, or `against` is given without rounds.
    """
    if against and not rounds:
        raise ValueError("a comparison needs rounds of the bootstrap; expected at least 1")
    cells, detections = read_truth(truth), read_submission(submission)
    matches = match_detections(cells, detections, absent)
    scores = score_matches(matches) | {"tie_range": tie_range(matches)}
    scores["true_cells"] = {str(label): int(count) for label, count in enumerate(matches.n_truth.sum(axis=1))}
    if rounds:
        scores["interval"] = bootstrap(matches, rounds)
    if diagnosis:
        scores["diagnosis"] = diagnose(cells, detections, absent)
    if against:
        del detections  # two submissions of the test set's size are not in memory together
        scores["against"] = compare(match_detections(cells, read_submission(against), absent), matches, rounds)
    return scores


def class_table(scores: dict) -> pd.DataFrame:
    """A row a class, to print or to draw.

    Parameters
    ----------
    scores : dict
        As of `score_report`, also read back from JSON.

    Returns
    -------
    pandas.DataFrame
        `class`, `name`, `true_cells`, `average_precision`, `tie_low`, `tie_high`, and where `scores` have them `low`,
        `high` (95 % interval), `difference`, `difference_low`, `difference_high`, `perfect_masks`, `perfect_labels`,
        `lost_segmentation`, `lost_classification`. NaN without truth.
    """
    ties = {label: ends or (None, None) for label, ends in scores["tie_range"]["average_precision"].items()}
    columns = {
        "true_cells": scores["true_cells"],
        "average_precision": scores["average_precision"],
        "tie_low": {label: ends[0] for label, ends in ties.items()},
        "tie_high": {label: ends[1] for label, ends in ties.items()},
    }
    for part, prefix, names in (
        ("interval", "", ("low", "high")),
        ("against", "difference_", ("difference", "low", "high")),
    ):
        for name in names if part in scores else ():
            found = scores[part]["average_precision"]
            title = name if name == "difference" else prefix + name
            columns[title] = {label: own and own[name] for label, own in found.items()}
    if "diagnosis" in scores:
        parts = scores["diagnosis"] | {f"lost_{name}": part for name, part in scores["diagnosis"]["loss"].items()}
        for name in ("perfect_masks", "perfect_labels", "lost_segmentation", "lost_classification"):
            columns[name] = parts[name]["average_precision"]
    table = pd.DataFrame(columns, index=[str(label) for label in range(N_CLASSES)]).astype(float)
    table.insert(0, "class", range(N_CLASSES))
    table.insert(1, "name", CLASS_NAMES)
    return table.astype({"true_cells": int}).reset_index(drop=True)


def report_lines(scores: dict) -> list[str]:
    """What the command `score` prints: the classes, then what was asked for, the score last."""
    lines = [_class_line(scores, str(label)) for label in range(N_CLASSES)]
    if "diagnosis" in scores:
        lines += _diagnosis_lines(scores["diagnosis"])
    for name, title in (
        ("mean_over_classes_with_truth", "mean over classes with truth"),
        ("mean_average_precision", "mean average precision (mAP)"),
    ):
        lines.append(f"{title}  {scores[name]:.4f}{_interval(scores.get('interval', {}).get(name))}")
        low, high = scores["tie_range"][name]
        if high - low > 1e-4:
            lines.append(f"    {low:.4f} … {high:.4f} in other orders of equal confidences")
        if "against" in scores:
            own = scores["against"][name]
            lines.append(f"    {own['difference']:+.4f} against {own['first']:.4f}{_interval(own, '+')}")
    return lines


def _class_line(scores: dict, label: str) -> str:
    value, line = scores["average_precision"][label], f"{label:>2s} {CLASS_NAMES[int(label)]:42s}"
    if value is None:
        return f"{line} no truth"
    own = scores.get("interval", {}).get("average_precision", {}).get(label)
    difference = scores.get("against", {}).get("average_precision", {}).get(label)
    against = f"  {difference['difference']:+.4f}{_interval(difference, '+')}" if difference else ""
    return f"{line} {value:.4f}{_interval(own)}{against}"


def _interval(ends: dict | None, sign: str = "") -> str:
    return f"  ({ends['low']:{sign}.4f} … {ends['high']:{sign}.4f})" if ends else ""


def _diagnosis_lines(found: dict) -> list[str]:
    """Where the score is lost, and what the false positives among each class's best ranks showed."""
    name = "mean_over_classes_with_truth"
    lines = ["false positives among as many of the highest as there are true cells, by what the cell shows:"]
    for label, row in enumerate(found["false_positives"]):
        if sum(row):
            most = sorted(range(len(row)), key=lambda shown: -row[shown])[:SHOWN]
            told = [f"{_shown(label, shown)} {row[shown]:.0f}" for shown in most if row[shown] >= 0.5]
            lines.append(f"{label:2d} {CLASS_NAMES[label]:42s} {sum(row):.0f}: {', '.join(told)}")
    lines.append(f"with perfect masks, these confidences  {found['perfect_masks'][name]:.4f}")
    lines.append(f"with perfect labels, these masks       {found['perfect_labels'][name]:.4f}")
    lost = found["loss"]
    lines.append(f"lost to segmentation (no mask with IoU ≥ 0.6)      {lost['segmentation'][name]:.4f}")
    lines.append(f"lost to classification (right mask, wrong ranking) {lost['classification'][name]:.4f}")
    return lines


def _shown(label: int, shown: int) -> str:
    if shown == NO_CELL:
        return "no cell"
    return "hit before" if shown == label else CLASS_NAMES[shown]
