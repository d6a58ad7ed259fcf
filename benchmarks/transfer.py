"""Does a model carry over from simulated cells to real ones? `python benchmarks/transfer.py MODEL_FOLDER [...]`.

    --real ROOT        real fields with masks/ and cell_scores.csv

Segments the real fields by the watershed, predicts them by each model folder, and prints how well the fields' scores
rank their labels (label-ranking average precision, against chance), and how the cells' scores go with what people
graded (rank correlation). The fields' labels and grades are read by no step before the scores.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import label_ranking_average_precision_score as ranking_precision

from hpa_simulator.labels import read_label_sets
from hpa_utils import tables
from hpa_utils.dataset import open_dataset
from hpa_utils.labels import CLASS_NAMES
from hpa_utils.running.notebooks import run_notebooks
from hpa_utils.tables import CELL_COLUMNS
from hpa_utils.weak_labels import graded_cells

RANDOM = 2000  # rankings at random, for chance


def main() -> None:
    """Print both measures for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL_FOLDER")
    parser.add_argument("--real", type=Path, default=Path("../shared/data/hpa_fields"), metavar="ROOT")
    options = parser.parse_args()
    dataset = open_dataset(options.real)
    with tempfile.TemporaryDirectory() as folder:
        for model in options.models:
            out = Path(folder)
            run_notebooks(str(options.real), str(out), "02,03,05", segmenter="watershed", model=str(model), force=True)
            fields, cells = (tables.read_parts(out / "02_segmentation" / name) for name in ("fields", "cells"))
            predictions = pd.read_parquet(out / "05_inference" / "predictions.parquet")
            print(f"\n{model}")
            print_fields(dataset, predictions.groupby("image_id", as_index=False)[CELL_COLUMNS].mean())
            print_cells(predictions, graded_cells(dataset.root, cells, fields)[0])


def print_fields(dataset, table: pd.DataFrame) -> None:
    """Print how well the mean over a field's cells ranks its labels, against two kinds of chance."""
    truth, scores = dataset.label_vectors("train", list(table["image_id"])), table[CELL_COLUMNS].to_numpy()
    rng = np.random.default_rng(0)
    random = [ranking_precision(truth, rng.random(truth.shape)) for _ in range(RANDOM)]
    frequency = sum(np.isin(range(truth.shape[1]), labels) * count for labels, count in zip(*read_label_sets()))
    low, high = np.quantile(random, [0.05, 0.95])
    print(f"label-ranking average precision on {len(truth)} real fields: {ranking_precision(truth, scores):.3f}")
    print(f"random rankings: {np.mean(random):.3f} (5 % to 95 %: {low:.3f} to {high:.3f})")
    print(f"ranking by class frequency: {ranking_precision(truth, np.tile(frequency, (len(truth), 1))):.3f}")
    for image_id, row, labels in zip(table["image_id"], scores, truth):
        ranks = {int(label): int((row > row[label]).sum()) + 1 for label in np.flatnonzero(labels)}
        print(f"{image_id[:8]}  label: rank of 19  {ranks}")


def print_cells(predictions: pd.DataFrame, grades: pd.DataFrame) -> None:
    """Print the rank correlation of cells' scores with people's grades: within each field and class, and over all."""
    joined = grades.merge(predictions, on=["image_id", "cell_id"])
    scores = joined[CELL_COLUMNS].to_numpy()[np.arange(len(joined)), joined["label"].to_numpy()]
    joined = joined.assign(predicted=scores)
    print(f"rank correlation of p with {len(joined)} human grades: {correlation(joined):.2f}")
    for (image_id, label), own in joined.groupby(["image_id", "label"]):
        print(f"{image_id[:8]}  {CLASS_NAMES[label]}: {correlation(own):.2f} in {len(own)} cells")


def correlation(table: pd.DataFrame) -> float:
    """Spearman's; NaN where all grades are alike."""
    constant = table["score"].nunique() < 2 or table["predicted"].nunique() < 2
    return np.nan if constant else spearmanr(table["score"], table["predicted"]).statistic


if __name__ == "__main__":
    main()
