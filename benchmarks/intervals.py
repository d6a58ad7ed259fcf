"""How often the bootstrap's 95 % intervals hold the true score: `python benchmarks/intervals.py [--sets N]`.

Test sets of simulated scores: 20 cells a field on average; class k is in a share of the fields that grows from 0.8 % to
50 %; half of the cells of such a field show it, of which a mask finds 90 %; scores of a field shift together. The true
score is that of one set of 30,000 fields.
"""

import argparse

import numpy as np

from hpa_utils.labels import N_CLASSES
from hpa_utils.scoring.metrics import Matches, average_precisions, class_means
from hpa_utils.scoring.report import bootstrap

SHARES = np.linspace(0.008, 0.5, N_CLASSES)  # of the fields that show a class
GROUPS = ((0, 10), (10, 30), (30, 100), (100, np.inf))  # fields that show a class, expected


def draw(rng: np.random.Generator, fields: int) -> Matches:
    """A test set of so many fields, matched."""
    field = np.repeat(np.arange(fields), rng.poisson(20, fields))
    n_truth, columns = np.zeros((N_CLASSES, fields), np.int64), {"label": [], "field": [], "confidence": [], "hit": []}
    for label, share in enumerate(SHARES):
        shown = rng.random(fields) < share
        positive = shown[field] & (rng.random(len(field)) < 0.5)
        n_truth[label] = np.bincount(field[positive], minlength=fields)
        shift = rng.normal(0, 0.8, fields) + 1.5 * shown
        score = rng.normal(0, 1, len(field)) + 1.8 * positive + shift[field]
        hit, order = positive & (rng.random(len(field)) < 0.9), np.argsort(-score)
        for name, values in zip(columns, (np.full(len(field), label), field, score, hit)):
            columns[name].append(values[order])
    columns = {name: np.concatenate(parts) for name, parts in columns.items()}
    row = np.arange(len(columns["hit"]))
    return Matches(np.arange(fields), n_truth, row=row, cell=np.where(columns["hit"], row, -1), **columns)


def main(sets: int) -> None:
    rng = np.random.default_rng(0)
    large = draw(rng, 30_000)
    true = average_precisions(large, np.ones((1, 30_000)))[0]
    mean = class_means(true)[0]
    for fields in (60, 200, 600):
        held, classes = [], [[] for _ in SHARES]
        for seed in range(sets):
            found = bootstrap(draw(rng, fields), 200, seed)
            held.append(found["mean_average_precision"]["low"] <= mean <= found["mean_average_precision"]["high"])
            for label, own in enumerate(found["average_precision"].values()):
                if own:
                    classes[label].append(own["low"] <= true[label] <= own["high"])
        print(f"{fields} fields: the mean in {np.mean(held):.0%} of {sets} sets; classes", end="")
        for low, high in GROUPS:
            own = [inside for part, share in zip(classes, SHARES) if low <= share * fields < high for inside in part]
            if own:
                print(f", of {low} to {high} fields {np.mean(own):.0%}", end="")
        print(flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sets", type=int, default=300)
    main(parser.parse_args().sets)
