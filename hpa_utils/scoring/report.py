"""A submission's score with all that is to be said about it: ties, interval, comparison, where it is lost."""

from pathlib import Path

from hpa_utils.labels import CLASS_NAMES, N_CLASSES
from hpa_utils.scoring.metrics import diagnose, match_detections, mean_average_precision, score_matches, tie_range
from hpa_utils.scoring.reading import read_both
from hpa_utils.scoring.uncertainty import bootstrap, compare

TITLES = {
    "mean_over_classes_with_truth": "mean over classes with truth",
    "mean_average_precision": "mean average precision (mAP)",
}


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
