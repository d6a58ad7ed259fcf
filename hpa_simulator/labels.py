"""Labels: which labels a field carries, and which of them its cells really show."""

from functools import cache
from pathlib import Path

import numpy as np

from hpa_utils.labels import N_CLASSES, NEGATIVE

SPINDLE = 11
INHERIT = 0.35  # chance that a cell without any pattern shows one of its field's after all
FOREIGN = 0.03  # share of cells that show a label which their field lacks
FOREIGN_LABELS = (0, 16)  # nucleoplasm and cytosol: those that people leave out most
MITOTIC = 0.01  # share of cells in metaphase where no label speaks of it
_HERE = Path(__file__).parent
# Of 5,090 graded cells of real fields: by class, the mean and deviation over fields of the share of a labelled field's
# cells that show the label; the mean where the label stands alone (not known for all), and where it has company.
SHARES, DEVIATIONS, ALONE, COMPANY = np.genfromtxt(_HERE / "shown_shares.csv", delimiter=",", skip_header=1)[:, 1:].T
# Of the same cells: how many of a field's labels a cell shows, by its area relative to the field's median, and by the
# share of its outline on the field's border, each as a part of what whole cells of common size show.
BY_AREA = ((0.12, 0.4, 0.62, 1.0), (0.5, 0.8, 0.92, 1.0))
BY_BORDER = ((0.0, 0.1, 0.4, 0.6), (1.0, 0.96, 0.92, 0.82))


@cache
def read_label_sets() -> tuple[list[list[int]], np.ndarray]:
    """All label sets of the competition's train fields and how many fields carry each."""
    rows = [row.split(",") for row in (_HERE / "label_sets.csv").read_text().split()[1:]]
    return [sorted(map(int, labels.split("|"))) for labels, _ in rows], np.array([int(count) for _, count in rows])


def draw_label_sets(rng: np.random.Generator, samples: np.ndarray, rare: str) -> list[list[int]]:
    """Draw the label sets of samples at the competition's frequencies; `samples` (n,) says how many fields each has.

    With `rare` "floor", sets are exchanged until every class but Negative, which is hardly ever a field's label, has
    a fortieth of the fields, and is in two samples where there are 38 or more; "natural" leaves the draw as it is, in
    which the rarest class has 1.6 fields in 1000.
    """
    sets, counts = read_label_sets()
    has = np.array([[label in labels for label in range(N_CLASSES)] for labels in sets])
    n = len(samples)
    drawn = rng.choice(len(sets), n, p=counts / counts.sum())
    least = min(max(2, samples.sum() // 40), n // N_CLASSES) if rare == "floor" else 0
    wanted = np.arange(N_CLASSES) != NEGATIVE
    while np.where(wanted, found := has[drawn].sum(axis=0), n).min() < least:
        weight = counts * has[:, np.where(wanted, found, n).argmin()]
        # Give up the sample whose rarest class is the most frequent.
        spare = np.where(has[drawn] & wanted, found, n).min(axis=1).argmax()
        drawn[spare] = rng.choice(len(sets), p=weight / weight.sum())
    return [sets[choice] for choice in drawn]


def choose_metaphase(rng: np.random.Generator, labels: list[int], middle: np.ndarray, weakness: float) -> np.ndarray:
    """Which cells are in metaphase: one or two of a field labelled so, else one in a hundred.

    Parameters
    ----------
    middle : numpy.ndarray
        bool (n,), cells well inside the field; those in metaphase are taken from them. One at least is.
    """
    if SPINDLE not in labels:
        return rng.random(middle.size) < MITOTIC * min(weakness, 1)
    if weakness == 0:
        return np.ones(middle.size, bool)
    wanted = rng.integers(1, 3)
    if weakness < 1:
        wanted = max(wanted, round(middle.size * SHARES[SPINDLE] ** weakness))
    chosen = rng.permutation(np.flatnonzero(middle))[:wanted]
    return np.isin(np.arange(middle.size), chosen)


def mean_shares(single: bool, weakness: float) -> np.ndarray:
    """Mean share of a field's cells that show each label, (19,), raised to the power `weakness`.

    Where a label stands alone (`single`) it is higher: the alone one is what made people label the field.
    """
    alone = np.where(np.isnan(ALONE), SHARES**0.5, ALONE)
    return (alone if single else COMPANY) ** weakness


def visibility(masks: np.ndarray) -> np.ndarray:
    """How much of what a whole cell of common size shows each cell shows, (n,), 0…1: less if small or cut off.

    `masks` is uint16 (h, w) with cells 1…n.
    """
    area = np.bincount(masks.ravel())[1:]
    if not area.size:
        return np.ones(0)
    sides = (masks[0], masks[-1], masks[:, 0], masks[:, -1])
    cut = sum(np.bincount(side, minlength=area.size + 1)[1:] for side in sides)
    inner = masks[1:-1, 1:-1]
    neighbours = (masks[:-2, 1:-1], masks[2:, 1:-1], masks[1:-1, :-2], masks[1:-1, 2:])
    rim = inner * np.any([side != inner for side in neighbours], axis=0)
    outline = np.bincount(rim.ravel(), minlength=area.size + 1)[1:] + cut
    return np.interp(area / np.median(area), *BY_AREA) * np.interp(cut / np.maximum(outline, 1), *BY_BORDER)


def show_labels(
    rng: np.random.Generator,
    labels: list[int],
    metaphase: np.ndarray,
    visible: np.ndarray,
    weakness: float,
    must: set[int],
) -> np.ndarray:
    """Which cell of a field shows which class.

    Parameters
    ----------
    labels : list of int
        Of the field.
    metaphase, visible : numpy.ndarray
        bool (n,), the field's cells, and how much each can show (`visibility`).
    weakness : float
        0: every cell shows every label; 1: as people graded; 2: shares squared.
    must : set of int
        Labels that at least one cell has to show.

    Returns
    -------
    numpy.ndarray
        bool (n, 19). A cell that shows nothing is Negative, whatever its field is called.
    """
    shows = np.zeros((metaphase.size, N_CLASSES), bool)
    patterns = [label for label in labels if label not in (SPINDLE, NEGATIVE)]
    shares = mean_shares(len(labels) == 1, weakness)
    visible = np.minimum(visible / max(visible.mean(), 0.1), 1) ** weakness if visible.size else visible
    able = ~metaphase | (rng.random(metaphase.size) >= weakness)  # a dividing cell has given up its organelles
    if not able.any():
        able[:] = True
    for label in rng.permutation(patterns).astype(int):
        share = _draw_share(rng, shares[label], DEVIATIONS[label])
        number = rng.binomial(able.sum(), share)
        # Cells that show nothing yet come first: the others show the field's other labels.
        order = rng.permutation(np.flatnonzero(able))
        order = order[np.argsort(shows[order].any(axis=1), kind="stable")]
        shown = order[:number][rng.random(min(number, order.size)) < visible[order[:number]]]
        shows[shown, label] = True
        if label in must and not shown.size:
            shows[order[visible[order].argmax()], label] = True
    seen = np.flatnonzero(shows.any(axis=0))
    for cell in np.flatnonzero(able & ~shows.any(axis=1)):
        if seen.size and rng.random() < INHERIT * visible[cell] ** 2:
            shows[cell, rng.choice(seen)] = True
    foreign = able & (rng.random(able.size) < FOREIGN * min(weakness, 1)) & (NEGATIVE not in labels)
    shows[foreign, rng.choice(FOREIGN_LABELS, foreign.sum())] = True
    shows[:, SPINDLE] = metaphase & (SPINDLE in labels)
    shows[:, NEGATIVE] = ~shows.any(axis=1)
    return shows


def measure_prior(shows: np.ndarray) -> dict:
    """How often each class is shown: number of cells and share of cells per class, from bool (cells, 19)."""
    share = shows.mean(axis=0).round(4)
    return {
        "cells": len(shows),
        "share_of_cells": {str(label): float(share[label]) for label in range(N_CLASSES)},
        "share_negative": float(share[NEGATIVE]),
    }


def _draw_share(rng, mean, deviation):
    """From the Beta distribution of this mean and deviation: most fields are nearly uniform, some are mixed."""
    if mean >= 1:
        return 1.0
    mean = max(mean, 1e-3)
    concentration = max(mean * (1 - mean) / deviation**2 - 1, 0.3) if deviation else 2.0
    return rng.beta(concentration * mean, concentration * (1 - mean))
