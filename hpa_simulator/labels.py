"""Labels: which labels a field carries, and which of them its cells really show."""

from functools import cache
from pathlib import Path

import numpy as np

from hpa_utils.labels import N_CLASSES, NEGATIVE

SPINDLE = 11
CONCENTRATION = 2.0  # of the Beta distribution: most fields are nearly uniform, some are mixed
SINGLE_POWER = 0.5  # where a label stands alone, more cells show it; see `visible_shares`
INHERIT = 0.45  # chance that a cell without any pattern shows one of its field's after all
MITOTIC = 0.01  # share of cells in metaphase where no label speaks of it
_HERE = Path(__file__).parent
# Share of the cells of a labelled field that show the label, and whether graded by people or assumed.
GRADED_SHARES = np.loadtxt(_HERE / "visible_share.csv", delimiter=",", skiprows=1, usecols=1)


@cache
def read_label_sets() -> tuple[list[list[int]], np.ndarray]:
    """All label sets of the competition's train fields and how many fields carry each."""
    rows = [row.split(",") for row in (_HERE / "label_sets.csv").read_text().split()[1:]]
    return [sorted(map(int, labels.split("|"))) for labels, _ in rows], np.array([int(count) for _, count in rows])


def draw_label_sets(rng: np.random.Generator, n: int, rare: str) -> list[list[int]]:
    """Draw the label sets of `n` fields at the competition's frequencies.

    With `rare` "floor", sets are exchanged until every class has n / 40 fields, at least 2, or n / 19 where n is
    too small for that; "natural" leaves the draw as it is, in which the rarest class has 1.6 fields in 1000.
    """
    sets, counts = read_label_sets()
    has = np.array([[label in labels for label in range(N_CLASSES)] for labels in sets])
    drawn = rng.choice(len(sets), n, p=counts / counts.sum())
    least = min(max(2, n // 40), n // N_CLASSES) if rare == "floor" else 0
    while (fields := has[drawn].sum(axis=0)).min() < least:
        weight = counts * has[:, fields.argmin()]
        # Give up the field whose rarest class is the most frequent.
        spare = np.where(has[drawn], fields, n).min(axis=1).argmax()
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
        wanted = max(wanted, round(middle.size * GRADED_SHARES[SPINDLE] ** weakness))
    chosen = rng.permutation(np.flatnonzero(middle))[:wanted]
    return np.isin(np.arange(middle.size), chosen)


def visible_shares(single: bool, weakness: float) -> np.ndarray:
    """Mean share of a field's cells that show each label, (19,).

    The mean over all fields of a class is its graded share, raised to the power `weakness`. Where a label stands
    alone it is higher, where it has company it is lower: the alone one is what made people label the field, and
    otherwise a field of one rarely seen label would be nothing but Negative cells.
    """
    mean = GRADED_SHARES**weakness
    alone_part = _shares_alone()
    alone = mean**SINGLE_POWER
    company = (mean - alone_part * alone) / np.maximum(1 - alone_part, 1e-6)
    company = np.clip(company, 0.1 * mean, 1)
    alone = np.clip((mean - (1 - alone_part) * company) / np.maximum(alone_part, 1e-6), 0, 1)
    return alone if single else company


def show_labels(
    rng: np.random.Generator, labels: list[int], metaphase: np.ndarray, weakness: float, must: set[int]
) -> np.ndarray:
    """Which cell of a field shows which class.

    Parameters
    ----------
    labels : list of int
        Of the field.
    metaphase : numpy.ndarray
        bool (n,), the field's cells.
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
    shares = visible_shares(len(labels) == 1, weakness)
    able = ~metaphase | (rng.random(metaphase.size) >= weakness)  # a dividing cell has given up its organelles
    if not able.any():
        able[:] = True
    for label in rng.permutation(patterns).astype(int):
        number = rng.binomial(able.sum(), _draw_share(rng, shares[label]))
        number = max(number, 1) if label in must else number
        # Cells that show nothing yet come first: the others show the field's other labels.
        order = rng.permutation(np.flatnonzero(able))
        order = order[np.argsort(shows[order].any(axis=1), kind="stable")]
        shows[order[:number], label] = True
    seen = np.flatnonzero(shows.any(axis=0))
    for cell in np.flatnonzero(able & ~shows.any(axis=1)):
        if seen.size and rng.random() < INHERIT:
            shows[cell, rng.choice(seen)] = True
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


def _draw_share(rng, mean):
    if mean >= 1:
        return 1.0
    mean = max(mean, 1e-3)
    return rng.beta(CONCENTRATION * mean, CONCENTRATION * (1 - mean))


@cache
def _shares_alone():
    """Of the fields that carry a class, the share in which it stands alone."""
    sets, counts = read_label_sets()
    alone, total = np.zeros(N_CLASSES), np.zeros(N_CLASSES)
    for labels, count in zip(sets, counts):
        total[labels] += count
        if len(labels) == 1:
            alone[labels] += count
    return alone / total
