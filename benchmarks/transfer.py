"""Does a model carry over from simulated cells to real ones? `python benchmarks/transfer.py MODEL_FOLDER [...]`.

    --cells ROOT       real cells, all of a field in one class: ../shared/data/hpa_cells
    --fields ROOT      real fields with masks/ and cell_scores.csv: ../shared/data/hpa_fields
    --keep FOLDER      keep the segmentation there, for other calls

Runs 02 (watershed), 03 and 05 on both. Of the cells it prints how well the scores of each class tell its cells from all
others (ROC-AUC and average precision, with the 95 % interval over fields drawn again); of the fields how well their
scores rank their labels (label-ranking average precision, against chance), and how the cells' scores go with what
people graded (rank correlation). Labels and grades are read by no step before the scores.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.metrics import label_ranking_average_precision_score as ranking_precision

from hpa_simulator.labels import read_label_sets
from hpa_utils import tables
from hpa_utils.dataset import Dataset, open_dataset
from hpa_utils.labels import CLASS_NAMES
from hpa_utils.plots.pictures import SHORT_NAMES
from hpa_utils.running.notebooks import run_notebooks
from hpa_utils.tables import CELL_COLUMNS
from hpa_utils.weak_labels import graded_cells

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
RANDOM = 2000  # rankings at random, for chance
DRAWS = 200  # of fields, for the interval


def main() -> None:
    """Print all measures for each model."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="+", type=Path, metavar="MODEL_FOLDER")
    parser.add_argument("--cells", type=Path, default=SHARED / "hpa_cells", metavar="ROOT")
    parser.add_argument("--fields", type=Path, default=SHARED / "hpa_fields", metavar="ROOT")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kept = options.keep or Path(folder)
        for model in options.models:
            print(f"\n{model}")
            if options.cells.is_dir():
                dataset = open_dataset(options.cells)
                print_classes(dataset, predict(dataset, model, kept / "cells"))
            if options.fields.is_dir():
                dataset = open_dataset(options.fields)
                predictions = predict(dataset, model, kept / "fields")
                print_fields(dataset, predictions.groupby("image_id", as_index=False)[CELL_COLUMNS].mean())
                found = (tables.read_parts(kept / "fields" / "02_segmentation" / name) for name in ("cells", "fields"))
                print_grades(predictions, graded_cells(dataset.root, *found)[0])


def predict(dataset: Dataset, model: Path, out: Path) -> pd.DataFrame:
    """Probabilities of all cells by a model; what 02 left in the output root is used again."""
    run_notebooks(str(dataset.root), str(out), "02", segmenter="watershed")
    run_notebooks(str(dataset.root), str(out), "03,05", model=str(model), force=True)
    return pd.read_parquet(out / "05_inference" / "predictions.parquet")


def print_classes(dataset: Dataset, predictions: pd.DataFrame) -> None:
    """Print how well each class's scores tell its cells, all those of the fields labelled so, from the others."""
    classes, truth, scores = known_classes(dataset, predictions)
    field = pd.factorize(predictions["image_id"])[0]
    found = class_scores(truth, scores)
    drawn = draw_again(truth, scores, field)
    print(
        f"{len(truth)} real cells of {len(classes)} classes on {field.max() + 1} fields; ROC-AUC and AP, chance .5 and"
    )
    print(f"{truth.mean():.2f}; 95 % over fields drawn again")
    for name, (auc, precision), own in zip(("macro", *classes), [found.mean(axis=1), *found.T], drawn):
        title = name if name == "macro" else f"{name} {SHORT_NAMES[name]}"
        (low, bottom), (high, top) = np.quantile(own, [0.025, 0.975], axis=0)
        print(f"{title:22s} AUC {auc:.3f} ({low:.2f} to {high:.2f})   AP {precision:.3f} ({bottom:.2f} to {top:.2f})")


def known_classes(dataset: Dataset, predictions: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The k classes that label any field of the predicted cells; of each cell its field's labels and scores, (n, k)."""
    truth = dataset.label_vectors("train", predictions["image_id"].tolist())
    classes = np.flatnonzero(truth.any(axis=0))
    return classes, truth[:, classes], predictions[CELL_COLUMNS].to_numpy()[:, classes]


def class_scores(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """ROC-AUC and average precision of each class, (2, k)."""
    own = range(truth.shape[1])
    return np.array(
        [[rank(truth[:, k], scores[:, k]) for k in own] for rank in (roc_auc_score, average_precision_score)]
    )


def draw_again(truth: np.ndarray, scores: np.ndarray, field: np.ndarray) -> np.ndarray:
    """`class_scores` of fields drawn again, as many of each class: macro, then classes, (1 + k, draws, 2)."""
    rng, drawn = np.random.default_rng(0), []
    cells_of = [np.flatnonzero(field == number) for number in range(field.max() + 1)]
    class_of = np.array([truth[cells[0]].argmax() for cells in cells_of])
    for _ in range(DRAWS):
        fields = [rng.choice(np.flatnonzero(class_of == k), (class_of == k).sum()) for k in range(truth.shape[1])]
        rows = np.concatenate([cells_of[number] for number in np.concatenate(fields)])
        drawn.append(class_scores(truth[rows], scores[rows]))
    drawn = np.array(drawn)
    return np.concatenate([drawn.mean(axis=2)[None], np.moveaxis(drawn, 2, 0)])


def print_fields(dataset: Dataset, table: pd.DataFrame) -> None:
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
        ranks = [f"{label} is {int((row > row[label]).sum()) + 1}" for label in np.flatnonzero(labels)]
        print(f"{image_id[:8]}  place of its labels among 19: {', '.join(ranks)}")


def print_grades(predictions: pd.DataFrame, grades: pd.DataFrame) -> None:
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
