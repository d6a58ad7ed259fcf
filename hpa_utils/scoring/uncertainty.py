"""How sure a score is: the bootstrap over fields, for one set of predictions and for the difference of two.

Cells of one field are alike, so fields are drawn, with replacement, as many as there are. Matching is done once;
a field that was drawn twice weighs twice. Intervals are the central 95 % of the rounds (percentiles).

A class of which no drawn field has truth is treated as in the score itself: it counts 0 in the mean over the 19
classes, is left out of the mean over classes with truth, and that round says nothing about the class;
`rounds_without_truth` says how many rounds those were. For a class that few fields show, such rounds are many
(37 % for one field) and the interval of the mean over 19 reaches down accordingly: a test set drawn anew might not
have the class, and Kaggle would count 0.
"""

import numpy as np

from hpa_utils.labels import N_CLASSES
from hpa_utils.scoring.metrics import Matches, average_precisions, class_means

INTERVAL = (2.5, 97.5)
CHUNK = 50  # rounds at a time, so that their weights stay small


def bootstrap(matches: Matches, rounds: int = 1000, seed: int = 0) -> dict:
    """The score with its 95 % interval.

    Parameters
    ----------
    matches : Matches
        As of `metrics.match_detections`.
    rounds : int
        How many times fields are drawn.
    seed : int
        Seed of the draws: the same for the same fields, whatever the predictions.

    Returns
    -------
    dict
        `mean_average_precision`, `mean_over_classes_with_truth`: {`estimate`, `low`, `high`};
        `average_precision`: per class number (a string) the same with `rounds_without_truth`, or None without truth;
        `rounds`, `fields`.
    """
    estimate = average_precisions(matches, np.ones((1, len(matches.image_ids))))[0]
    drawn = _draw_rounds(len(matches.image_ids), rounds, seed)
    samples = np.concatenate([average_precisions(matches, weights) for weights in drawn])
    return _summary(estimate, samples) | {"rounds": rounds, "fields": len(matches.image_ids)}


def compare(first: Matches, second: Matches, rounds: int = 1000, seed: int = 0) -> dict:
    """The difference of two submissions' scores on the same truth, second − first, with its 95 % interval.

    Both are scored on the same draws, so that what they share cancels: the interval is far narrower than that of
    either score. One that leaves out 0 speaks for a real difference.

    Returns
    -------
    dict
        `mean_average_precision`, `mean_over_classes_with_truth`: {`first`, `second`, `difference`, `low`, `high`,
        `share_above`}, the last the share of rounds in which the second is better (a tie counts half);
        `average_precision`: per class number (a string) the same with `rounds_without_truth`, or None without truth;
        `rounds`, `fields`.

    Raises
    ------
    ValueError
        If the two were matched with different truths.
    """
    pair, fields = _same_fields(first, second)
    estimates = [average_precisions(matches, np.ones((1, fields)))[0] for matches in pair]
    samples = [
        [average_precisions(matches, weights) for matches in pair] for weights in _draw_rounds(fields, rounds, seed)
    ]
    first_samples, second_samples = (np.concatenate(part) for part in zip(*samples))
    return _comparison(*estimates, first_samples, second_samples) | {"rounds": rounds, "fields": fields}


def bootstrap_ranking(
    labels: np.ndarray, probabilities: np.ndarray, groups: np.ndarray, rounds: int = 1000, seed: int = 0
) -> dict:
    """Average precision of cells' (or fields') scores with its 95 % interval, groups drawn with replacement.

    Parameters
    ----------
    labels : numpy.ndarray
        (n, 19), 1 or 0, −1 where unknown: such a row is left out for that class.
    probabilities : numpy.ndarray
        (n, 19).
    groups : numpy.ndarray
        (n,), the field of each row, of any type.

    Returns
    -------
    dict
        As of `bootstrap`, without `mean_average_precision` over 19: `mean_over_classes_with_truth` is the mean over
        the classes of which both values are known (as in `evaluation.ranking_scores`), `average_precision` is that of
        scikit-learn's `average_precision_score`, and None where all known labels are alike.
    """
    rankings, fields = _rank(labels, [probabilities], groups)
    (samples,), (estimate,) = _ranking_samples(rankings, fields, rounds, seed), _ranking_estimates(rankings, fields)
    summary = _summary(estimate, samples)
    del summary["mean_average_precision"]
    return summary | {"rounds": rounds, "fields": fields}


def compare_rankings(
    labels: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    groups: np.ndarray,
    rounds: int = 1000,
    seed: int = 0,
) -> dict:
    """The difference of two rankings of the same rows, second − first, with its 95 % interval.

    Parameters
    ----------
    first, second : numpy.ndarray
        (n, 19) probabilities; the others as of `bootstrap_ranking`.

    Returns
    -------
    dict
        As of `compare`, without `mean_average_precision` over 19.
    """
    rankings, fields = _rank(labels, [first, second], groups)
    estimates, samples = _ranking_estimates(rankings, fields), _ranking_samples(rankings, fields, rounds, seed)
    summary = _comparison(*estimates, *samples)
    del summary["mean_average_precision"]
    return summary | {"rounds": rounds, "fields": fields}


def _draw_rounds(fields: int, rounds: int, seed: int):
    """Weights of fields, (≤ CHUNK, fields), so many that they are `rounds` together."""
    if rounds < 1:
        raise ValueError(f"rounds is {rounds}; expected at least 1")
    rng = np.random.default_rng(seed)
    for start in range(0, rounds, CHUNK):
        picked = rng.integers(max(fields, 1), size=(min(CHUNK, rounds - start), fields))
        yield np.stack([np.bincount(row, minlength=fields) for row in picked]).astype(float)


def _same_fields(first: Matches, second: Matches) -> tuple[list[Matches], int]:
    """Both with the fields of either, in one order, and how many these are."""
    image_ids = sorted(set(first.image_ids) | set(second.image_ids))
    place_of = {image_id: place for place, image_id in enumerate(image_ids)}
    pair = []
    for matches in (first, second):
        places = np.array([place_of[image_id] for image_id in matches.image_ids], np.int64)
        n_truth = np.zeros((N_CLASSES, len(image_ids)), np.int64)
        n_truth[:, places] = matches.n_truth
        others = {name: getattr(matches, name) for name in ("label", "confidence", "row", "cell", "hit")}
        pair.append(Matches(np.array(image_ids, object), n_truth, field=places[matches.field], **others))
    if not np.array_equal(pair[0].n_truth, pair[1].n_truth):
        raise ValueError("the two submissions were matched with different truths; match both with the same truth file")
    return pair, len(image_ids)


def _summary(estimate: np.ndarray, samples: np.ndarray) -> dict:
    """Estimates (19,) and samples (rounds, 19) of the classes and of their means, as intervals."""

    def interval(value, sample):
        low, high = np.percentile(sample, INTERVAL) if len(sample) else (np.nan, np.nan)
        return {"estimate": float(value), "low": float(low), "high": float(high)}

    means = zip(("mean_average_precision", "mean_over_classes_with_truth"), class_means(estimate), class_means(samples))
    return {name: interval(value, sample) for name, value, sample in means} | {
        "average_precision": _by_class(interval, [estimate], [samples])
    }


def _comparison(first: np.ndarray, second: np.ndarray, first_samples: np.ndarray, second_samples: np.ndarray) -> dict:
    """As `_summary`, of the differences."""

    def interval(value, other, sample, other_sample):
        difference = other_sample - sample
        low, high = np.percentile(difference, INTERVAL) if len(sample) else (np.nan, np.nan)
        above = np.mean((difference > 0) + (difference == 0) / 2) if len(sample) else np.nan
        ends = {"difference": float(other - value), "low": float(low), "high": float(high)}
        return {"first": float(value), "second": float(other)} | ends | {"share_above": float(above)}

    names = ("mean_average_precision", "mean_over_classes_with_truth")
    values = zip(*(class_means(part) for part in (first, second, first_samples, second_samples)))
    return {name: interval(*of_mean) for name, of_mean in zip(names, values)} | {
        "average_precision": _by_class(interval, [first, second], [first_samples, second_samples])
    }


def _by_class(interval, estimates: list[np.ndarray], samples: list[np.ndarray]) -> dict:
    """`interval` of each class that has an estimate, from the rounds that say something about it."""
    table = {}
    for label in range(N_CLASSES):
        known = ~np.isnan(samples[0][:, label])
        values = [estimate[label] for estimate in estimates]
        if np.isnan(values[0]):
            table[str(label)] = None
        else:
            own = interval(*values, *(sample[known, label] for sample in samples))
            table[str(label)] = own | {"rounds_without_truth": int((~known).sum())}
    return table


def _rank(labels: np.ndarray, scores: list[np.ndarray], groups: np.ndarray) -> tuple[list[list[tuple]], int]:
    """What `_ranking_precision` needs of each score and class, and how many groups there are."""
    numbers, groups = np.unique(np.asarray(groups), return_inverse=True)
    rankings = []
    for probabilities in scores:
        of_class = []
        for label in range(N_CLASSES):
            known = labels[:, label] >= 0
            own = np.asarray(probabilities)[known, label]
            order = np.argsort(-own, kind="stable")
            positives = np.flatnonzero(labels[known, label][order] == 1)
            last = np.searchsorted(-own[order], -own[order][positives], side="right") - 1  # of equal scores
            reached = np.searchsorted(positives, last, side="right") - 1
            of_class.append((groups[known][order], positives, last, reached))
        rankings.append(of_class)
    return rankings, len(numbers)


def _ranking_samples(rankings: list[list[tuple]], fields: int, rounds: int, seed: int) -> list[np.ndarray]:
    """Average precision (rounds, 19) of each score, NaN where the drawn labels of a class are all alike."""
    samples = [[] for _ in rankings]
    for weights in _draw_rounds(fields, rounds, seed):
        for own, of_class in zip(samples, rankings):
            own += [[_ranking_precision(row, *ranking) for ranking in of_class] for row in weights]
    return [np.array(own).reshape(rounds, N_CLASSES) for own in samples]


def _ranking_estimates(rankings: list[list[tuple]], fields: int) -> list[np.ndarray]:
    weights = np.ones(fields)
    return [np.array([_ranking_precision(weights, *ranking) for ranking in of_class]) for of_class in rankings]


def _ranking_precision(
    weights: np.ndarray, groups: np.ndarray, positives: np.ndarray, last: np.ndarray, reached: np.ndarray
) -> float:
    """Average precision: the mean over the positives of the share of positives among all that score as high.

    Parameters
    ----------
    weights : numpy.ndarray
        Of each group.
    groups : numpy.ndarray
        (n,), group of each row, in descending score.
    positives, last, reached : numpy.ndarray
        Places of the positives among the rows; of each the last row, and the number of the last positive, of
        its score.
    """
    ranked, found = np.cumsum(weights[groups]), weights[groups[positives]]
    total = found.sum()
    if total == 0 or total == ranked[-1]:
        return np.nan
    precision = np.cumsum(found)[reached] / np.maximum(ranked[last], np.finfo(float).tiny)
    return float(found @ precision / total)
