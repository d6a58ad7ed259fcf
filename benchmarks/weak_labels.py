"""Does it learn single cells from field labels, and what by? Recipes compared on simulated cells, all else equal.

    python benchmarks/weak_labels.py                  # fills what is missing; stop it and start it again at will
    python benchmarks/weak_labels.py --hours 1        # begins nothing after an hour
    python benchmarks/weak_labels.py --quick          # the shape of the result in ten minutes
    python benchmarks/weak_labels.py --only soft      # runs whose name holds this
    python benchmarks/weak_labels.py --list           # what is there and what is missing

Each run is a process of its own and leaves a small JSON in `benchmarks/results/weak_labels/`; its predictions stay in
the working folder. `weak_labels_report.py` makes the page of them.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

HERE = Path(__file__).parent
SEED, SIDE, CROP = 7, 512, 96  # of the data set; px of its fields and of the crops
STEP = {"cells_per_bag": 1, "bags_per_batch": 32}  # the same for all but those that vary it; all see as many cells
FULL = {"train": 480, "test": 240, "head_epochs": 8, "epochs": 48}  # every class in a fortieth of the fields, at least
QUICK = {"train": 160, "test": 80, "head_epochs": 8, "epochs": 24}


def of_step(weights: dict, cells: int, bags: int) -> dict:
    """Overrides: the weights of the losses, cells of a field and fields in a step."""
    return {"training": weights | {"cells_per_bag": cells, "bags_per_batch": bags}}


# Overrides of the recipe, and what the cells learn: the labels of their field, soft labels, or the truth.
INHERITED = {"cell_loss": 1.0, "field_loss": 0.0}
BAGS = of_step({"cell_loss": 0.1, "field_loss": 1.0}, 2, 16)  # a bag of one cell is none
BOTH = {"cell_loss": 1.0, "field_loss": 0.5}
AUGMENTED = {"rotation": 180, "scale": 0.2, "green": 0.5, "blur": 1.0, "noise": 6.0}
RECIPES = {
    "seed_project": ({}, "fields"),
    "probe": ({"training": INHERITED}, "probe"),
    "inherited": ({"training": INHERITED}, "inherited"),
    "inherited_twice": ({"training": INHERITED}, "inherited_twice"),
    **{
        f"bags_{pooling}": (BAGS | {"model": {"pooling": pooling}}, "inherited")
        for pooling in ("mean", "log_sum_exp", "max", "noisy_or", "attention")
    },
    **{
        f"bags_negative_{negative}": (BAGS | {"model": {"negative": negative}}, "inherited")
        for negative in ("product", "none")
    },
    "both": ({"training": BOTH}, "inherited"),
    "soft": ({"training": BOTH}, "soft"),
    "soft_twice": ({"training": BOTH}, "soft_twice"),
    "oracle": ({"training": BOTH}, "truth"),
    "oracle_twice": ({"training": BOTH}, "truth_twice"),
    # other numbers of cells of a field in a step
    **{
        f"inherited_{cells}x{bags}": (of_step(INHERITED, cells, bags), "inherited") for cells, bags in ((2, 16), (8, 4))
    },
    **{f"both_{cells}x{bags}": (of_step(BOTH, cells, bags), "inherited") for cells, bags in ((2, 16), (4, 8), (8, 4))},
    **{f"soft_{cells}x{bags}": (of_step(BOTH, cells, bags), "soft") for cells, bags in ((2, 16), (8, 4))},
    **{f"oracle_{cells}x{bags}": (of_step(BOTH, cells, bags), "truth") for cells, bags in ((2, 16), (8, 4))},
    "soft_2x16_halves": (of_step(BOTH, 2, 16), "soft_halves"),
    **{
        f"both_8x4_bn_{mode}": (of_step(BOTH, 8, 4) | {"model": {"batch_norm": mode}}, "inherited")
        for mode in ("estimated", "trained")
    },
    "both_2x16_augmented": (of_step(BOTH, 2, 16) | {"augmentation": AUGMENTED}, "inherited"),
    "inherited_augmented_twice": ({"training": INHERITED, "augmentation": AUGMENTED}, "inherited_twice"),
}


@dataclass(frozen=True)
class Run:
    """One cell of the table: a recipe on a data set."""

    recipe: str
    seed: int = 0
    weakness: float = 1.0
    fields: int = FULL["train"]
    segmenter: str = "masks"

    @property
    def name(self) -> str:
        return f"{self.recipe}-s{self.seed}-w{self.weakness:g}-n{self.fields}-{self.segmenter}"


MAIN = ("inherited", "both", "soft", "oracle")
SHIFTED = ("inherited", "soft", "oracle")  # at other weaknesses, numbers of fields and cells
TABLE = [
    *(Run(recipe) for recipe in (*MAIN, "probe", "seed_project")),
    *(Run(recipe, seed) for seed in (1, 2) for recipe in SHIFTED),
    *(Run(f"{recipe}_twice") for recipe in SHIFTED),
    *(Run("inherited_twice", seed) for seed in (1, 2)),
    *(Run(recipe, weakness=weakness) for weakness in (2.0, 0.0) for recipe in SHIFTED),
    *(Run("bags_mean", seed) for seed in (0, 1, 2)),
    *(Run(f"bags_{pooling}") for pooling in ("log_sum_exp", "attention", "noisy_or", "max")),
    *(Run(recipe, fields=120) for recipe in SHIFTED),
    *(Run(recipe, segmenter="watershed") for recipe in SHIFTED),
    *(Run(f"bags_negative_{change}") for change in ("product", "none")),
    *(Run(f"{recipe}_2x16", seed) for seed in (0, 1) for recipe in MAIN),
    *(Run(f"{recipe}_8x4") for recipe in MAIN),
    *(Run(recipe) for recipe in ("both_4x8", "both_8x4_bn_estimated", "both_8x4_bn_trained")),
    *(Run(recipe) for recipe in ("soft_2x16_halves", "both_2x16_augmented", "inherited_augmented_twice")),
]


def main() -> None:
    """Make what is missing, two runs at a time, one thread each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/weak_labels"), help="folder for data and predictions")
    parser.add_argument("--results", type=Path, default=HERE / "results" / "weak_labels", help="folder for the JSONs")
    parser.add_argument("--hours", type=float, default=np.inf, help="begin no run after so many hours")
    parser.add_argument("--only", default="", help="runs whose name holds one of these, joined by commas")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time, one thread each")
    parser.add_argument("--quick", action="store_true", help="four recipes, fewer fields and epochs")
    parser.add_argument("--score", action="store_true", help="score the predictions that are there again, train none")
    parser.add_argument("--list", action="store_true", help="only say what is there")
    parser.add_argument("--run", default="", help=argparse.SUPPRESS)  # the one this process is for
    options = parser.parse_args()
    scale = QUICK if options.quick else FULL
    if options.quick:
        options.work, options.results = options.work / "quick", options.work / "quick" / "results"
    runs = [Run(recipe, fields=QUICK["train"]) for recipe in MAIN] if options.quick else TABLE
    runs = [run for run in runs if any(part in run.name for part in options.only.split(","))]
    if options.run:
        (run,) = (run for run in runs if run.name == options.run)
        return write_result(run, options.work, options.results, scale)
    if options.score:
        return [score_again(run, options.work, options.results) for run in runs]
    missing = [run for run in runs if not is_there(run, options.results, scale)]
    print(f"{len(runs) - len(missing)} of {len(runs)} runs are there", flush=True)
    if options.list:
        return print("missing:", *(run.name for run in missing), sep="\n  ")
    for weakness, segmenter in dict.fromkeys((run.weakness, run.segmenter) for run in missing):
        prepare(options.work, weakness, segmenter, scale)
    end = time.monotonic() + 3600 * options.hours
    with ThreadPoolExecutor(options.workers) as pool:
        list(pool.map(lambda run: run_alone(run, options.work, end), missing))


def run_alone(run: Run, work: Path, end: float) -> None:
    """Do a run in a process of its own, unless it is too late."""
    if time.monotonic() > end:
        return
    print(f"{time.strftime('%H:%M')} {run.name}", flush=True)
    (work / "logs").mkdir(parents=True, exist_ok=True)
    one_thread = {name: "1" for name in ("TF_NUM_INTRAOP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with open(work / "logs" / f"{run.name}.txt", "w") as log:
        command = [sys.executable, *sys.argv, "--run", run.name]
        done = subprocess.run(command, env=os.environ | one_thread, stdout=log, stderr=subprocess.STDOUT)
    if done.returncode:
        print(f"{run.name} failed, see {log.name}", flush=True)


def prepare(work: Path, weakness: float, segmenter: str, scale: dict) -> None:
    """Simulate the data set and cut its cells, unless that is done."""
    from hpa_simulator import write_dataset
    from hpa_utils.running.notebooks import run_notebooks

    data, out = folders(work, weakness, segmenter)
    write_dataset(data, scale["train"], scale["test"], SIDE, SEED, weakness)
    parameters = (f"03.size={CROP}",)
    run_notebooks(str(data), str(out), notebooks="02,03", segmenter=segmenter, assignments=parameters)


def folders(work: Path, weakness: float, segmenter: str) -> tuple[Path, Path]:
    """Data set root and output root."""
    return work / f"data-{weakness:g}", work / f"{segmenter}-{weakness:g}"


def is_there(run: Run, results: Path, scale: dict) -> bool:
    """Whether the run's JSON exists and was made with these settings."""
    path = results / f"{run.name}.json"
    return path.is_file() and json.loads(path.read_text())["settings"] == settings_of(run, scale)


def settings_of(run: Run, scale: dict) -> dict:
    """Everything that decides a run's result, as JSON holds it."""
    from hpa_utils import simulate

    overrides, learns = RECIPES[run.recipe]
    own = dataclasses.asdict(run) | {"simulator": simulate.VERSION, "learns": learns, "overrides": overrides}
    lengths = {name: scale[name] for name in ("head_epochs", "epochs", "test")}
    return own | STEP | lengths | {"data_seed": SEED, "crop": CROP}


def write_result(run: Run, work: Path, results: Path, scale: dict) -> None:
    """Train, predict the test cells, score them; the JSON last."""
    import tensorflow as tf
    from weak_labels_training import train_and_predict

    from hpa_utils.paths import atomic_write, write_json

    data, out = folders(work, run.weakness, run.segmenter)
    predictions, told = train_and_predict(settings_of(run, scale), data, out, work / "models" / run.name)
    path = work / "predictions" / f"{run.name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as temporary:
        predictions.to_parquet(temporary)
    machine = f"{os.cpu_count()} cores, no GPU, Python {platform.python_version()}, tensorflow {tf.__version__}"
    scores = score(predictions, data, out)
    write_json(
        results / f"{run.name}.json", {"settings": settings_of(run, scale), "machine": machine, **told, **scores}
    )


def score_again(run: Run, work: Path, results: Path) -> None:
    """Replace the scores in a run's JSON, for instance after the blend has changed."""
    from hpa_utils.paths import write_json

    result, predictions = results / f"{run.name}.json", work / "predictions" / f"{run.name}.parquet"
    if result.is_file() and predictions.is_file():
        scores = score(pd.read_parquet(predictions), *folders(work, run.weakness, run.segmenter))
        write_json(result, json.loads(result.read_text()) | scores)


def score(predictions: pd.DataFrame, data: Path, out: Path) -> dict:
    """Macro average precision of the test cells, by their own scores and blended with their field's, with intervals."""
    from hpa_utils import tables
    from hpa_utils.inference import blend
    from hpa_utils.model.prediction import CELL_COLUMNS
    from hpa_utils.scoring import read_truth, truth_labels
    from hpa_utils.scoring.uncertainty import bootstrap_ranking

    fields, cells = (tables.read_parts(out / "02_segmentation" / name) for name in ("fields", "cells"))
    keys = ["image_id", "cell_id"]
    cells = predictions[keys].merge(cells, on=keys, how="left", validate="one_to_one")
    labels = truth_labels(read_truth(data / "truth.csv"), cells, fields)
    given = {"cells": predictions[CELL_COLUMNS].to_numpy(), "blended": blend(predictions, cells)}
    groups = pd.factorize(predictions["image_id"])[0]
    chance = float(np.mean([labels[labels[:, label] >= 0, label].mean() for label in range(labels.shape[1])]))
    return {"chance": chance} | {name: bootstrap_ranking(labels, scores, groups) for name, scores in given.items()}


if __name__ == "__main__":
    main()
