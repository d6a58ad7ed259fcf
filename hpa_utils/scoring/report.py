"""A submission's score with all that is to be said about it: ties, interval, comparison, where it is lost.

How sure a score is, the bootstrap over fields tells, for one submission and for the difference of two. Cells of one
field are alike, so fields are drawn, with replacement, as many as there are; a field drawn twice weighs twice.
Intervals are the central 95 % of the rounds. A class of which no drawn field has truth counts 0 in that round's mean
over 19, as in the score, and is left out of all else; `rounds_without_truth` counts such rounds.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils.labels import CLASS_NAMES, N_CLASSES
from hpa_utils.scoring.metrics import (
    MEANS,
    Matches,
    average_precisions,
    class_means,
    diagnose,
    match_detections,
    mean_average_precision,
    score_matches,
    tie_range,
)
from hpa_utils.scoring.submission import read_both

TITLES = {
    "mean_over_classes_with_truth": "mean over classes with truth",
    "mean_average_precision": "mean average precision (mAP)",
}
INTERVAL = (2.5, 97.5)


def score_submission(truth: str | Path, submission: str | Path, absent: str = "false_positive") -> dict:
    """`mean_average_precision` of a submission file against a truth file."""
    return mean_average_precision(*read_both(truth, submission), absent)


def score_report(
    truth: str | Path,
    submission: str | Path,
    absent: str = "false_positive",
    rounds: int = 1000,
    against: str | Path = "",
    diagnosis: bool = False,
) -> dict:
    """Score a submission file against a truth file; `absent` is as of `match_detections`.

    The dict is as of `mean_average_precision`, with `true_cells` by class number (a string) and, where asked for:
    `interval` of as many `rounds` of the `bootstrap` (0: none), `against` another submission (`compare`: this one −
    the other), and the `diagnosis` (`diagnose`) of where the score is lost, which takes as long again as the score.
    """
    if against and not rounds:
        raise ValueError("a comparison needs rounds of the bootstrap; expected at least 1")
    cells, detections = read_both(truth, submission)
    matches = match_detections(cells, detections, absent)
    scores = score_matches(matches) | {"tie_range": tie_range(matches)}
    scores["true_cells"] = {str(label): int(count) for label, count in enumerate(matches.n_truth.sum(axis=1))}
    if rounds:
        scores["interval"] = bootstrap(matches, rounds)
    if diagnosis:
        scores["diagnosis"] = diagnose(cells, detections, absent)
    if against:
        del detections  # two submissions of the test set's size are not in memory together
        scores["against"] = compare(match_detections(*read_both(truth, against), absent), matches, rounds)
    return scores


def report_lines(scores: dict) -> list[str]:
    """What the command `score` prints: the classes, then what was asked for, the score last."""
    lines = [_class_line(scores, str(label)) for label in range(N_CLASSES)]
    if "diagnosis" in scores:
        lost = {name: part["mean_over_classes_with_truth"] for name, part in scores["diagnosis"]["loss"].items()}
        lines.append(f"lost to segmentation (no mask with IoU ≥ 0.6)      {lost['segmentation']:.4f}")
        lines.append(f"lost to classification (right mask, wrong ranking) {lost['classification']:.4f}")
    for name, title in TITLES.items():
        lines.append(f"{title}  {scores[name]:.4f}{_interval_text(scores.get('interval', {}).get(name))}")
        low, high = scores["tie_range"][name]
        if high - low > 1e-4:
            lines.append(f"    {low:.4f} … {high:.4f} in other orders of equal confidences")
        if "against" in scores:
            own = scores["against"][name]
            lines.append(f"    {own['difference']:+.4f} against {own['first']:.4f}{_interval_text(own, '+')}")
    return lines


def _class_line(scores: dict, label: str) -> str:
    value, line = scores["average_precision"][label], f"{label:>2s} {CLASS_NAMES[int(label)]:42s}"
    if value is None:
        return f"{line} no truth"
    own = scores.get("interval", {}).get("average_precision", {}).get(label)
    difference = scores.get("against", {}).get("average_precision", {}).get(label)
    against = f"  {difference['difference']:+.4f}{_interval_text(difference, '+')}" if difference else ""
    return f"{line} {value:.4f}{_interval_text(own)}{against}"


def _interval_text(ends: dict | None, sign: str = "") -> str:
    return f"  ({ends['low']:{sign}.4f} … {ends['high']:{sign}.4f})" if ends else ""


def bootstrap(matches: Matches, rounds: int = 1000, seed: int = 0) -> dict:
    """The score with its 95 % interval; with the same `seed` the same fields are drawn, whatever the predictions.

    `mean_average_precision`, `mean_over_classes_with_truth`: {`estimate`, `low`, `high`}; `average_precision`: per
    class number (a string) the same with `rounds_without_truth`, or None without truth; `rounds`, `fields`.
    """

    def summary(estimates: list, samples: list) -> dict:
        return {"estimate": float(estimates[0])} | _interval(samples[0])

    return _summarised([matches], summary, rounds, seed)


def compare(first: Matches, second: Matches, rounds: int = 1000, seed: int = 0) -> dict:
    """The difference of two submissions' scores, second − first, with its 95 % interval.

    Both are scored on the same draws, so that what they share cancels. An interval that leaves out 0 speaks for a
    real difference. The dict is as of `bootstrap`, with `first`, `second`, `difference`, `low`, `high` and
    `share_above`, the share of rounds in which the second is better (a tie counts half). Raises ValueError if the two
    were matched with different truths.
    """
    image_ids = np.array(sorted({*first.image_ids, *second.image_ids}), object)
    pair = [_with_fields(matches, image_ids) for matches in (first, second)]
    if not np.array_equal(pair[0].n_truth, pair[1].n_truth):
        raise ValueError("the two submissions were matched with different truths; match both with the same truth file")

    def summary(estimates: list, samples: list) -> dict:
        difference = samples[1] - samples[0]
        above = np.mean((difference > 0) + (difference == 0) / 2) if len(difference) else np.nan
        values = {"first": estimates[0], "second": estimates[1], "difference": estimates[1] - estimates[0]}
        values |= _interval(difference) | {"share_above": above}
        return {name: float(value) for name, value in values.items()}

    return _summarised(pair, summary, rounds, seed)


def _summarised(submissions: list[Matches], summary: Callable, rounds: int, seed: int) -> dict:
    """`summary` of the estimates and samples of each mean and class; one of each a submission."""
    fields = len(submissions[0].image_ids)
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; expected at least 1")
    drawn = np.random.default_rng(seed).integers(max(fields, 1), size=(rounds, fields))
    weights = np.stack([np.bincount(row, minlength=fields) for row in drawn]).astype(float)
    estimates = [average_precisions(matches)[0] for matches in submissions]
    samples = [average_precisions(matches, weights) for matches in submissions]
    means = [[class_means(part) for part in parts] for parts in (estimates, samples)]
    table = {name: summary(*([own[n] for own in part] for part in means)) for n, name in enumerate(MEANS)}
    table["average_precision"] = dict.fromkeys(map(str, range(N_CLASSES)))
    for label in np.flatnonzero(~np.isnan(estimates[0])):
        known = ~np.isnan(samples[0][:, label])
        own = summary([part[label] for part in estimates], [part[known, label] for part in samples])
        table["average_precision"][str(label)] = own | {"rounds_without_truth": int((~known).sum())}
    return table | {"rounds": rounds, "fields": fields}


def _interval(samples: np.ndarray) -> dict:
    low, high = np.percentile(samples, INTERVAL) if len(samples) else (np.nan, np.nan)
    return {"low": float(low), "high": float(high)}


def _with_fields(matches: Matches, image_ids: np.ndarray) -> Matches:
    """The same matches among these fields, which may be more."""
    places = pd.Index(image_ids).get_indexer(matches.image_ids)
    n_truth = np.zeros((N_CLASSES, len(image_ids)), np.int64)
    n_truth[:, places] = matches.n_truth
    return replace(matches, image_ids=image_ids, n_truth=n_truth, field=places[matches.field])
