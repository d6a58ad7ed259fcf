"""What the blend's steps are worth on real truth: `python benchmarks/real_truth.py [--splits N]`.

5,090 cells of 328 public HPA fields, each graded by experts in all 19 classes (../shared/facts/real_cell_truth.csv).
There are no images, so the only scores are the true labels of the fields, as if a network knew fields perfectly and
cells not at all; what ranks the cells of a class is then `hpa_utils.blending` alone. Score: macro average precision
over the 19 classes of these cells, masks being perfect; cells in equal rank are shuffled. Cross-validated in ten folds
over wells: every figure of a prior is found without the cells it is scored on. The mitotic spindle is left alone.

Prints what docs/blending.md states, and the figures of `blending.GRADED`.
"""

import argparse
import os
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import expit

from hpa_utils.blending import GRADED, N_PATTERNS, Prior, change_odds, company_odds, nothing_shown, shown_part
from hpa_utils.csv_files import read_csv
from hpa_utils.labels import CLASS_NAMES, N_CLASSES, NEGATIVE, parse_labels

TRUTH = Path(__file__).resolve().parents[2] / "shared" / "facts" / "real_cell_truth.csv"
SPINDLE, SMALL, FOLDS = 11, (7, 12, 15), 10  # small: Golgi, centrosome, aggresome
LABEL = 0.65  # score of a label of the field, whatever the class: within a class only what differs counts
SPREAD = 0.1  # of the companies' log odds, a priori


def read_cells():
    """The cells: `labels` and `truth` (n, 19), `area`, `field`, `edge`, `well`, `set` (of labels), `line`."""
    table = read_csv(TRUTH, ("ID", "image_label", "cell_label", "cell_line", "area_px", "edge_fraction"))
    wells = table["ID"].str.split("_").str[:2].str.join("_")
    cells = {"labels": np.stack([parse_labels(text) for text in table["image_label"]]).astype(float)}
    cells |= {"truth": np.stack([parse_labels(text) for text in table["cell_label"]]).astype(bool)}
    cells |= {"area": table["area_px"].to_numpy(float), "edge": table["edge_fraction"].to_numpy(float)}
    names = {"field": table["ID"], "well": wells, "set": table["image_label"], "line": table["cell_line"]}
    return cells | {name: pd.factorize(values)[0] for name, values in names.items()}, pd.unique(table["cell_line"])


def precisions(truth, scores, seed=0):
    """Average precision (k,) of each column, equal scores in random order; NaN without truth."""
    order = np.random.default_rng(seed).permutation(len(truth))
    truth, scores, found = truth[order], scores[order], np.full(truth.shape[1], np.nan)
    for label in np.flatnonzero(truth.any(axis=0)):
        hits = np.flatnonzero(truth[np.argsort(-scores[:, label], kind="stable"), label])
        found[label] = (np.arange(1, len(hits) + 1) / (hits + 1)).mean()
    return found


def scores_of(cells, prior, geometry=True, negative=True, others=True):
    """Scores (n, 19) of all cells by a prior, with some of its steps."""
    part = shown_part(cells["area"], cells["field"], cells["edge"], prior) if geometry else 1.0
    factor = part * (company_odds(cells["labels"], prior) if others else 1.0)
    scores = cells["labels"].copy()
    scores[:, :N_PATTERNS] = change_odds(LABEL * scores[:, :N_PATTERNS], factor)
    scores[:, SPINDLE] = cells["labels"][:, SPINDLE]
    if negative:
        scores[:, NEGATIVE] = nothing_shown(cells["labels"], part, prior)
    return scores


def shares(cells, train):
    """Share of the cells of a field with a label that show it, (18,); the mean of the classes where there is none."""
    count = cells["labels"][train].sum(axis=0)
    found = (cells["labels"][train] * cells["truth"][train]).sum(axis=0) / np.maximum(count, 1)
    return np.where(count > 0, found, LABEL)[:N_PATTERNS].clip(0.01, 0.99)


def with_companies(cells, train, prior):
    """The prior with the log odds that each label adds to the others: logistic regression, ridge, Newton's steps."""
    cell, label = np.nonzero(cells["labels"][:, :N_PATTERNS] * train[:, None])
    own, beside = np.eye(N_PATTERNS)[label], cells["labels"][cell, :N_PATTERNS]
    pairs = np.concatenate([own, beside * (1 - own)], axis=1)
    prior = replace(prior, company=np.zeros(N_PATTERNS))
    known = shown_part(cells["area"], cells["field"], cells["edge"], prior) * company_odds(cells["labels"], prior)
    known, shows = np.log(known[cell, label]), cells["truth"][cell, label]
    penalty = np.repeat([0.1, 1 / SPREAD**2], N_PATTERNS)
    weights = np.zeros(len(penalty))
    for _ in range(10):
        chance = expit(pairs @ weights + known)
        curvature = (pairs * (chance * (1 - chance))[:, None]).T @ pairs + np.diag(penalty)
        weights -= np.linalg.solve(curvature, pairs.T @ (chance - shows) + penalty * weights)
    return replace(prior, company=weights[N_PATTERNS:])


def fit(cells, train):
    """A prior from the cells marked in `train`.

    Half sizes and border are those of a small grid that rank Negative best: it hangs on them most. Then the share of
    cells that show nothing, the companies' log odds with it, by the macro average precision.
    """
    of_train = {name: values[train] for name, values in cells.items()}
    truth = of_train["truth"]

    def negative(prior):
        part = shown_part(of_train["area"], of_train["field"], of_train["edge"], prior)
        return precisions(truth[:, [NEGATIVE]], nothing_shown(of_train["labels"], part, prior)[:, None])[0]

    start = Prior(shares(cells, train), np.zeros(N_PATTERNS), np.zeros(N_PATTERNS))
    sizes = [
        replace(start, half_size=np.where(np.isin(np.arange(N_PATTERNS), SMALL), small, half), border=border)
        for half, small, border in product((0.25, 0.35, 0.5), (0.8, 1.2), (0.5, 1.0))
    ]
    best = max(sizes, key=negative)
    found = [with_companies(cells, train, replace(best, nothing=nothing)) for nothing in (0.3, 0.5, 0.7)]
    return max(found, key=lambda prior: np.nanmean(precisions(truth, scores_of(of_train, prior))))


STEPS = {
    "labels of the field, random order": (False, False, False, False),
    "× size and border": (True, False, False, False),
    "+ Negative from what the field's labels leave": (True, True, False, False),
    "+ cells rarely show nothing": (True, True, True, False),
    "+ which labels stand beside": (True, True, True, True),
}


def cross_validated(cells, group, seed):
    """Scores of each step in STEPS, each cell's by a prior fitted without its fold of groups (wells)."""
    fold = (np.random.default_rng(seed).permutation(group.max() + 1) % FOLDS)[group]
    found = {step: np.zeros((len(group), N_CLASSES)) for step in STEPS}
    for number in range(FOLDS):
        prior = fit(cells, fold != number)
        for step, (geometry, negative, others, weights) in STEPS.items():
            own = prior if weights else replace(prior, company=np.zeros(N_PATTERNS))
            found[step][fold == number] = scores_of(cells, own, geometry, negative, others)[fold == number]
    return found


def gain_table(cells, found, rows):
    """Macro average precision of first and last step on some cells, over classes with 10 cells or more that show it."""
    truth = cells["truth"][rows]
    classes = (truth.sum(axis=0) >= 10) & ((~truth & (cells["labels"][rows] > 0)).sum(axis=0) >= 1)
    classes[NEGATIVE] = truth[:, NEGATIVE].sum() >= 10
    classes[SPINDLE] = False
    of_steps = [
        np.mean([precisions(truth[:, classes], found[seed][step][rows][:, classes], seed).mean() for seed in found])
        for step in (list(STEPS)[0], list(STEPS)[2], list(STEPS)[-1])
    ]
    return {"cells": int(rows.sum()), "classes": int(classes.sum())} | dict(
        zip(("random", "size, Negative", "all steps"), np.round(of_steps, 3))
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split(":")[0])
    parser.add_argument("--splits", type=int, default=5, help="random splits of the wells and orders of equal cells")
    options = parser.parse_args()
    if not TRUTH.is_file():
        print(f"{TRUTH.name} is not there (../shared/facts beside the checkout): nothing to measure")
        return
    cells, lines = read_cells()
    seeds = range(options.splits)
    print(f"{len(cells['area']):,} cells, {cells['field'].max() + 1} fields, {cells['well'].max() + 1} wells")
    print(f"{FOLDS} folds, {options.splits} splits; {os.cpu_count()} cores\n")
    by_well = {seed: cross_validated(cells, cells["well"], seed) for seed in seeds}
    by_set = {seed: cross_validated(cells, cells["set"], seed) for seed in seeds}
    rows = []
    for step in STEPS:
        well, sets = (
            np.stack([precisions(cells["truth"], found[seed][step], seed) for seed in seeds])
            for found in (by_well, by_set)
        )
        mean = well.mean(axis=1)
        row = {"step": step, "wells": mean.mean(), "lowest": mean.min(), "highest": mean.max()}
        rows.append(row | {"class 18": well[:, NEGATIVE].mean(), "label sets": sets.mean(axis=1).mean()})
    print(pd.DataFrame(rows).round(3).to_string(index=False))

    of_class = {
        step: np.mean([precisions(cells["truth"], by_well[seed][step], seed) for seed in seeds], axis=0)
        for step in (list(STEPS)[0], list(STEPS)[-1])
    }
    table = pd.DataFrame({"random": of_class[list(STEPS)[0]], "all steps": of_class[list(STEPS)[-1]]}).round(2)
    print("\nClass by class\n" + table.assign(name=CLASS_NAMES).to_string())
    kinds = {"all cells": np.ones(len(cells["area"]), bool)}
    middle = pd.Series(cells["area"]).groupby(cells["field"]).transform("median").to_numpy()
    kinds |= {"without cells below a quarter of the median": cells["area"] >= 0.25 * middle}
    kinds |= {"without cells below half of the median": cells["area"] >= 0.5 * middle}
    kinds |= {"without cells on the border": cells["edge"] == 0}
    kinds |= {"without either": (cells["edge"] == 0) & (cells["area"] >= 0.5 * middle)}
    for number in np.argsort(-np.bincount(cells["line"]))[:8]:
        kinds |= {lines[number]: cells["line"] == number}
    table = pd.DataFrame([gain_table(cells, by_well, rows) for rows in kinds.values()], index=list(kinds))
    print("\nParts of the cells; the spindle and classes with fewer than 10 cells left out\n" + table.to_string())

    prior = fit(cells, np.ones(len(cells["area"]), bool))
    print(f"\nblending.GRADED: power {prior.power}, border {prior.border}, nothing {prior.nothing}")
    for label in range(N_PATTERNS):
        figures = prior.share[label], prior.half_size[label], prior.company[label]
        print("[{:.2f}, {:.2f}, {:.2f}],".format(*figures), "#", label, CLASS_NAMES[label])
    names = ("share", "half_size", "company", "border", "nothing")
    same = all(np.allclose(getattr(prior, name), getattr(GRADED, name), atol=0.006) for name in names)
    print("The library has these figures." if same else "THE LIBRARY HAS OTHER FIGURES.")


if __name__ == "__main__":
    main()
