"""Which size of crop does each class need? `python benchmarks/resolution.py SIMULATED [--sizes 96 128 192 256]`.

SIMULATED is a simulated data set at the competition's own scale (0.08 µm a pixel), with truth, such as
`python -m hpa_utils simulate runs/fine --train 400 --test 1 --size 1024` makes. Its true cells are cut at each size,
larger ones shrunk to fit, as 03 does; heads on frozen features (`benchmarks/frozen_features.py`) learn their true
labels, and average precision on the cells of held-out samples (30 %) is printed by class, the mean over the seeds.
"""

import argparse
from pathlib import Path

import numpy as np
from frozen_features import simulated_fields, whiten, with_features
from weak_labels import cross_entropy, precisions, split_cells, train

from hpa_utils.labels import N_CLASSES
from hpa_utils.plots.pictures import SHORT_NAMES

PASSES = 16  # where heads that learn true labels are best (docs/weak_labels.md)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("simulated", type=Path, metavar="SIMULATED")
    parser.add_argument("--sizes", type=int, nargs="+", default=[96, 128, 192, 256])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args()
    found = {}
    for size in options.sizes:
        cells = with_features(simulated_fields(options.simulated, size, 0, None), size)
        cells["features"] = whiten(cells["features"])
        found[size] = np.array([by_class(cells, seed) for seed in options.seeds])  # (seeds, classes)
        print(f"{size} px: {len(cells['field'])} cells of {len(np.unique(cells['field']))} fields", flush=True)
    print_table(found, cells["truth"].sum(axis=0))


def by_class(cells: dict, seed: int) -> np.ndarray:
    """Average precision of each class, (19,), on cells of samples that a head did not see."""
    learned, test = split_cells(cells, seed)
    head = train(learned["features"], cross_entropy(learned["truth"].astype(np.float32)), PASSES, seed)
    return precisions(test["truth"], head.logits(test["features"]))


def print_table(found: dict[int, np.ndarray], n_cells: np.ndarray) -> None:
    """A row a class, a column a size; of all classes also the least and the most over the seeds."""
    print("\n| class | cells | " + " | ".join(f"{size} px" for size in found) + " |")
    print("| --- | --- |" + " --- |" * len(found))
    for label in range(N_CLASSES):
        means = " | ".join(f"{np.nanmean(scores[:, label]):.2f}" for scores in found.values())
        print(f"| {label} {SHORT_NAMES[label]} | {n_cells[label]} | {means} |")
    macro = [np.nanmean(scores, axis=1) for scores in found.values()]
    print("| all | | " + " | ".join(f"{one.mean():.3f} ({one.min():.2f} to {one.max():.2f})" for one in macro) + " |")


if __name__ == "__main__":
    main()
