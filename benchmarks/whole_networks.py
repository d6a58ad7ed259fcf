"""Inherited, soft and true labels, learned by whole networks: `python benchmarks/whole_networks.py [--seeds 0,1,2]`.

Notebook 04 is run as in the demo, on its 160 simulated fields, with the same number of steps for each recipe: with the
labels of fields alone; with labels softened half way (`soft_share=0.5`); with spindle candidates, as 04 has them; with
both; with the true labels of the cells, given as people would give them (`cell_labels.csv`). A seed is another fold
held out, another start of the head, other batches. Scores: macro average precision on the true cells of 160 other
simulated fields, of a cell's own score and blended as 05 does; ROC-AUC and AP on the real cells, and label-ranking
precision on the real fields, of `benchmarks/transfer.py`.

    --weakness W       of the labels in both simulated sets (default 1)
    --work FOLDER      data sets and models, kept there and used again (default runs/whole_networks)
    --report           print the table from benchmarks/results/whole_networks_W.json, where each training is added
"""

import argparse
import contextlib
import json
import shutil
import time
import unittest.mock
from pathlib import Path

import numpy as np
import pandas as pd
from transfer import SHARED, class_scores, known_classes, predict, ranking_precision
from weak_labels import RESULTS, blend, precisions

from hpa_simulator import write_dataset
from hpa_utils import masks, scoring, tables
from hpa_utils.blending import shown_part
from hpa_utils.crop_sets import open_crops
from hpa_utils.dataset import open_dataset
from hpa_utils.inference import load_network, predict_logits
from hpa_utils.labels import N_CLASSES
from hpa_utils.paths import REPOSITORY
from hpa_utils.running import notebooks
from hpa_utils.running.notebooks import run_notebooks
from hpa_utils.tables import CELL_COLUMNS

FIELDS, SIZE = 160, 512
RECIPES = {  # their soft_share, and whether spindle candidates alone carry label 11
    "inherited": (0.0, False),
    "soft": (0.5, False),
    "spindles": (0.0, True),
    "both": (0.5, True),
    "true": (0.0, False),
}
SWITCHES = "use_cell_grades, use_spindles = True, {}"  # on 04's page


def main() -> None:
    """Train and score what is not there yet, or report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--weakness", type=float, default=1.0)
    parser.add_argument("--work", type=Path, default=REPOSITORY / "runs" / "whole_networks")
    parser.add_argument("--report", action="store_true")
    options = parser.parse_args()
    path = RESULTS / f"whole_networks_{options.weakness:g}.json"
    found = json.loads(path.read_text()) if path.is_file() else {}
    if options.report:
        report(found)
        return
    work = options.work / f"{options.weakness:g}"
    learned, tested = (make_set(work / name, seed, options.weakness) for name, seed in (("learned", 0), ("tested", 7)))
    for seed in options.seeds.split(","):
        for recipe, (share, use_spindles) in RECIPES.items():
            if f"{recipe} {seed}" in found:
                continue
            begun, name = time.monotonic(), f"{recipe}{seed}"
            data = with_true_labels(learned, work / "true") if recipe == "true" else learned / "data"
            given = (f"04.name={name}", f"04.seed={seed}", f"04.soft_share={share}")
            with changed_page(work / "notebooks", use_spindles):
                run_notebooks(str(data), str(learned / "out"), "04", preset="demo", assignments=given)
            model = learned / "out" / "04_train" / f"{name}-r1-f0"
            took = {"minutes": (time.monotonic() - begun) / 60}
            found[f"{recipe} {seed}"] = took | score_simulated(model, tested) | score_real(model, work)
            path.write_text(json.dumps(found, indent=1) + "\n")


@contextlib.contextmanager
def changed_page(folder: Path, use_spindles: bool):
    """Have the runner take a copy of the notebooks, with or without spindle candidates on 04's page."""
    shutil.copytree(notebooks.SOURCES, folder, dirs_exist_ok=True)
    page = (notebooks.SOURCES / "04_train.py").read_text()
    assert page.count(SWITCHES.format(True)) == 1
    (folder / "04_train.py").write_text(page.replace(SWITCHES.format(True), SWITCHES.format(use_spindles)))
    with unittest.mock.patch.object(notebooks, "SOURCES", folder):
        yield


def make_set(root: Path, seed: int, weakness: float) -> Path:
    """A simulated data set with its cells and crops, made once."""
    if not (root / "data" / "dataset.json").is_file():
        write_dataset(root / "data", FIELDS, 5, SIZE, seed, weakness)
    run_notebooks(str(root / "data"), str(root / "out"), "02,03", preset="demo")
    return root


def true_labels(root: Path) -> tuple:
    """Crops, field table and cell table of a set's train split, and what each cell shows, (n, 19), −1 where unknown."""
    crops, fields, cells = open_crops(root / "out", "96", "train")
    joined = crops.keys().merge(cells, "left")
    truth = scoring.read_truth(root / "data" / "truth_train.csv")
    return crops, fields, joined, scoring.truth_labels(truth, joined, fields)


def with_true_labels(learned: Path, root: Path) -> Path:
    """The data set with a point in each cell that has a partner in the truth, and what it shows."""
    if not root.is_dir():
        _, fields, cells, shows = true_labels(learned)
        sizes, rows = fields.set_index("image_id")[["height", "width"]], []
        for cell, own in zip(cells.itertuples(), shows):
            if own[0] >= 0:
                y, x = np.argwhere(masks.decode_counts(cell.rle, *sizes.loc[cell.image_id].tolist()))[0]
                rows += [(cell.image_id, y, x, label, own[label]) for label in range(N_CLASSES)]
        shutil.copytree(learned / "data", root)
        columns = ["ID", "y", "x", "label", "shown"]
        pd.DataFrame(rows, columns=columns).to_csv(root / "cell_labels.csv", index=False)
    return root


def score_simulated(model: Path, tested: Path) -> dict:
    """Average precision by class of the cells whose truth is known: of their own scores, and blended."""
    crops, fields, cells, shows = true_labels(tested)
    logits = predict_logits(load_network(model), crops, tables.percentile_array(fields))
    part = shown_part(cells["area"].to_numpy(float), crops.field, cells["edge_fraction"].to_numpy(float))
    known = shows[:, 0] >= 0
    given = {"own": logits, "blended": blend({"field": crops.field, "part": part}, logits)}
    return {name: precisions(shows[known], scores[known]).tolist() for name, scores in given.items()}


def score_real(model: Path, work: Path) -> dict:
    """Macro ROC-AUC and AP on real cells of known class, and how well real fields' labels are ranked."""
    cells, fields = (open_dataset(SHARED / name) for name in ("hpa_cells", "hpa_fields"))
    _, truth, scores = known_classes(cells, predict(cells, model, work / "real_cells"))
    auc, precision = class_scores(truth, scores).mean(axis=1)
    means = predict(fields, model, work / "real_fields").groupby("image_id")[CELL_COLUMNS].mean()
    ranking = ranking_precision(fields.label_vectors("train", list(means.index)), means.to_numpy())
    return {"auc": float(auc), "precision": float(precision), "ranking": float(ranking)}


def report(found: dict) -> None:
    """Print a row a recipe, means and each seed in brackets; the share of the gap over seeds that have all of them."""
    measures = {"own": "cell alone", "blended": "blended", "auc": "real ROC-AUC", "precision": "real AP"}
    measures |= {"ranking": "real fields"}
    trained = {tuple(key.split()): scores for key, scores in found.items()}
    values = {
        (recipe, name): {seed: np.nanmean(scores[name]) for (own, seed), scores in trained.items() if own == recipe}
        for recipe in RECIPES
        for name in measures
    }
    whole = set.intersection(*(set(own) for own in values.values()))
    print(f"| | {' | '.join(measures.values())} | of the gap, blended |\n| --- |{' --- |' * (len(measures) + 1)}")
    means = {recipe: np.mean([values[recipe, "blended"][seed] for seed in whole]) for recipe in RECIPES}
    for recipe in RECIPES:
        rows = [list(values[recipe, name].values()) for name in measures]
        texts = [f"{np.mean(row):.3f} ({', '.join(f'{one:.3f}' for one in row)})" for row in rows]
        closed = (means[recipe] - means["inherited"]) / (means["true"] - means["inherited"])
        print(f"| {recipe} | {' | '.join(texts)} | {closed:.0%} |")
    print("\nby class, blended:", ", ".join(RECIPES))
    for label in range(N_CLASSES):
        own = [np.nanmean([found[f"{recipe} {seed}"]["blended"][label] for seed in whole]) for recipe in RECIPES]
        print(f"{label:3d} " + " ".join(f"{value:.2f}" for value in own))


if __name__ == "__main__":
    main()
