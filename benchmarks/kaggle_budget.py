"""What the presets take on Kaggle: `python benchmarks/kaggle_budget.py`, the tables of docs/kaggle.md.

Measured here are crops a second that one core decodes, and the size of crops (see crops.py). Computed are the networks'
multiply-adds and how often each class is drawn. All else about Kaggle is assumed: the constants below. Nothing was
timed on a T4.
"""

import argparse
import csv
import os
import platform
import tempfile
from pathlib import Path

import crops as measured
import cv2
import numpy as np

from hpa_utils.batches import rare_weights
from hpa_utils.crop_sets import READERS
from hpa_utils.crops import CropConfig, cut_cell
from hpa_utils.images import read_field
from hpa_utils.model import BACKBONES, keras
from hpa_utils.paths import REPOSITORY
from hpa_utils.running.kaggle import read_plan
from hpa_utils.running.kaggle.schema import kernel_runs
from hpa_utils.running.notebooks import preset_runs

# Assumed.
B0_AT_224 = 300.0  # crops a second that one T4 trains in float16; others by their multiply-adds
FORWARD = 3.0  # a prediction costs a third of a training step
VCPU = 2.6  # what Kaggle's four do together, in cores as here
READ_SECONDS = 0.001  # what a crop is waited for on the network disk
SEGMENTED_SECONDS = 0.3  # hpacellseg, a field on one T4
CPU_HOURS = {"02, watershed": 0.5, "03": 0.4}  # the train split, docs/preprocessing.md

FIELDS, EQUIVALENT, CELLS = 21_806, 26_636, 472_558  # of the train split; in fields of 2048²; its cells
TEST_FIELDS, VISIBLE = 1_776, 559
TEST_CELLS = CELLS / FIELDS
GPUS = 2


def multiply_adds(backbone: str, size: int) -> float:
    """Multiply-adds of one crop in the backbone, from its layers."""
    builder = getattr(keras.applications, BACKBONES[backbone].builder)
    network, total = builder(include_top=False, weights=None, input_shape=(size, size, 3)), 0
    for layer in network.layers:
        if "Conv2D" in type(layer).__name__:
            # each output value is a sum over the kernel's area and, unless depthwise, over all its input channels
            kernel = layer.kernel.shape[:2] if "Depthwise" in type(layer).__name__ else layer.kernel.shape[:3]
            total += int(np.prod(layer.output.shape[1:])) * int(np.prod(kernel))
    return float(total)


def loader(folder: Path) -> dict[str, tuple[float, float]]:
    """Crop set → (crops a second of one core, kB a crop)."""
    measured.STEPS, measured.TURNS = 4, 3
    found = measured.cut_fields(folder)
    sets = {"128": found[128], "256": found[256], "field": whole_fields(folder)}
    sets = {name: measured.write_set(folder / name, crops) for name, crops in sets.items()}
    return {name: (measured.read_batches(made)[0], float(made.length.mean()) / 1000) for name, made in sets.items()}


def whole_fields(folder: Path) -> list[np.ndarray]:
    """The fields that `crops.cut_fields` cut, shrunk to 512 px."""
    images = measured.REAL / "images" if measured.REAL.is_dir() else folder / "data" / "train"
    crops = []
    for path in sorted(images.glob("*_green.png")):
        field = read_field(images, path.name.removesuffix("_green.png"))
        all_of_it, box = np.ones(field.shape[:2], np.uint16), (0, 0, *field.shape[:2])
        crops.append(cut_cell(field, all_of_it, 1, box, 0.08, CropConfig(size=512, whole=True))[0])
    return crops


def speed_of(run, speeds: dict) -> float:
    """Crops a second that a T4 trains."""
    return speeds[run.parameters["backbone"], run.parameters["crops"]]


def train_hours(run, speed: float) -> float:
    """Hours on one T4, the scores of held-out cells included."""
    own = run.parameters
    drawn, is_field = own["steps_per_epoch"] * own["batch_size"], own["crops"] == "field"
    watched = FIELDS / own["n_folds"] * (1 if is_field else 4) * (own["epochs"] + 1)
    out_of_fold = (FIELDS if is_field else CELLS) / own["n_folds"]
    softened = CELLS if own["soft_share"] and own["training_round"] == 1 and not is_field else 0
    forward = drawn + watched + softened + out_of_fold  # the head's epoch trains nothing else
    return (own["epochs"] * drawn / speed + forward / (FORWARD * speed)) / 3600


def side_by_side(hours: list[float]) -> float:
    """When the last run ends, each begun in order on the GPU that is free first."""
    free = [0.0] * GPUS
    for one in hours:
        free[free.index(min(free))] += one
    return max(free)


def print_members(preset: str, speeds: dict, loaders: dict) -> None:
    print(f"\n| member of `{preset}` | models | crops a model learns, million | T4 hours a model | crops/s of two T4s "
          "| the loader gives |\n| --- | --- | --- | --- | --- | --- |")  # fmt: skip
    runs = [run for run in preset_runs(["04_train"], preset, {}) if run.notebook == "04_train"]
    for name in dict.fromkeys(run.parameters["name"] for run in runs):
        own = [run for run in runs if run.parameters["name"] == name]
        given = own[0].parameters
        speed = speed_of(own[0], speeds)
        learned = given["epochs"] * given["steps_per_epoch"] * given["batch_size"] / 1e6
        print(f"| {name} | {len(own)} | {learned:.2f} | {train_hours(own[0], speed):.1f} | {GPUS * speed:,.0f} "
              f"| {VCPU * loaders[given['crops']][0]:,.0f} |")  # fmt: skip


def print_sessions(speeds: dict) -> None:
    """Each kernel on a GPU, in hours of its session."""
    plan, total = read_plan(), 0.0
    print("\n| kernel, preset | GPU hours of its session |\n| --- | --- |")
    for kernel in plan.kernels:
        runs = kernel_runs(plan, kernel)[0]
        preset = kernel.parameters.get("preset", plan.preset)
        models = [run for run in runs if run.notebook == "04_train"]
        hours = 0.0
        for number in sorted({run.training_round for run in models}):
            wave = [run for run in models if run.training_round == number]
            hours += side_by_side([train_hours(run, speed_of(run, speeds)) for run in wave])
        if kernel.slug == "run-all":
            hours += sum(CPU_HOURS.values()) * (1 + VISIBLE / FIELDS) + predict_hours(preset, speeds, VISIBLE)
        elif kernel.slug == "submit":
            sets = len([run for run in runs if run.notebook == "03_cell_crops"])
            share = TEST_FIELDS / EQUIVALENT
            hours += TEST_FIELDS * SEGMENTED_SECONDS / 3600
            hours += share * (CPU_HOURS["02, watershed"] + sets * CPU_HOURS["03"])
            hours += predict_hours(preset, speeds, TEST_FIELDS)
        elif kernel.notebook == "02_segmentation":
            hours += FIELDS * SEGMENTED_SECONDS / 3600
        elif kernel.notebook == "05_inference":
            hours += predict_hours(preset, speeds, VISIBLE)
        elif models:
            total += hours
        if kernel.gpu and kernel.notebook != "01_eda":
            print(f"| `{kernel.slug}`, `{preset}` | {hours:.1f} |")
    print(f"\ntraining of `{plan.preset}`: {total:.1f} h in all")


def predict_hours(preset: str, speeds: dict, n_fields: int) -> float:
    """All models of the last rounds, all views, on one T4."""
    runs = preset_runs(["04_train", "05_inference"], preset, {})
    last = {run.parameters["name"]: run.training_round for run in runs[:-1]}  # runs stand in the order of rounds
    hours = 0.0
    for run in runs[:-1]:
        own = run.parameters
        if run.training_round == last[own["name"]]:
            crops = n_fields if own["crops"] == "field" else n_fields * TEST_CELLS
            hours += runs[-1].parameters["tta"] * crops / (FORWARD * speed_of(run, speeds)) / 3600
    return hours


def print_classes() -> None:
    """How often each class is drawn in the training of one model."""
    with open(REPOSITORY / "hpa_simulator" / "label_sets.csv") as file:
        sets = [(row["labels"].split("|"), int(row["images"])) for row in csv.DictReader(file)]
    labels = np.zeros((sum(count for _, count in sets), 19), np.int8)
    row = 0
    for names, count in sets:
        labels[row : row + count, [int(name) for name in names]] = 1
        row += count
    wanted = ("kaggle-fast", "b0-128"), ("kaggle", "b0-128"), ("kaggle", "b3-256"), ("kaggle", "b0-field")
    shares, drawn = [], []
    for preset, name in wanted:
        own = next(r.parameters for r in preset_runs(["04_train"], preset, {}) if r.parameters["name"] == name)
        weights = rare_weights(labels, own["rare_draws"])
        shares.append(weights @ labels / weights.sum())
        drawn.append(own["epochs"] * own["steps_per_epoch"] * own["batch_size"])
    print("\nthousands of crops of fields with each class that a model learns:")
    print("\n| class | fields | " + " | ".join(f"{name}, `{preset}`" for preset, name in wanted) + " |")
    print("| --- " * (len(wanted) + 2) + "|")
    for label in range(19):
        counts = " | ".join(f"{share[label] * number / 1000:,.0f}" for share, number in zip(shares, drawn))
        print(f"| {label} | {labels[:, label].sum():,} | {counts} |")


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    cv2.setNumThreads(1)
    cores = sorted(os.sched_getaffinity(0))
    print(f"{len(cores)} cores, {platform.machine()}, Python {platform.python_version()}, keras {keras.__version__}")
    b0 = multiply_adds("b0", 224)
    sizes, speeds = {"128": 128, "256": 256, "field": 512}, {}
    for backbone, name in (("b0", "128"), ("b0", "field"), ("b3", "256")):
        own = multiply_adds(backbone, sizes[name])
        speeds[backbone, name] = B0_AT_224 * b0 / own
        print(f"{backbone} at {sizes[name]} px: {own / 1e9:.2f} billion multiply-adds, "
              f"so {speeds[backbone, name]:,.0f} crops/s on a T4, at {B0_AT_224:.0f} of b0 at 224 px")  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        loaders = loader(Path(temporary))
    for name, (speed, size) in loaders.items():
        crops = FIELDS if name == "field" else CELLS
        print(f"crop set {name}: {speed:,.0f} crops/s of one core, {size:.1f} kB a crop, {crops * size / 1e6:.1f} GB")
    waits = f"where each read waits {READ_SECONDS * 1000:.0f} ms, {READERS} threads"
    print(f"{waits} give at most {READERS / READ_SECONDS:,.0f} crops/s to a model")
    for preset in ("kaggle", "kaggle-fast"):
        print_members(preset, speeds, loaders)
    print_sessions(speeds)
    print_classes()


if __name__ == "__main__":
    main()
