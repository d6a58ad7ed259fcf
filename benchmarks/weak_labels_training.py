"""What `weak_labels.py` trains: each recipe on the same crops, in equal numbers of steps."""

import time
from pathlib import Path

import cv2
import keras
import numpy as np
import pandas as pd

from hpa_utils import manifest, tables
from hpa_utils.crops import Bags
from hpa_utils.dataset import open_dataset
from hpa_utils.images import read_field
from hpa_utils.labels import NEGATIVE
from hpa_utils.model import AugmentationConfig, ModelConfig, build_backbone, predict_bags
from hpa_utils.model.prediction import CELL_COLUMNS, FIELD_COLUMNS
from hpa_utils.paths import write_json
from hpa_utils.scoring import read_truth, truth_labels
from hpa_utils.training import (
    Recipe,
    Targets,
    TrainConfig,
    assign_folds,
    fit_bags,
    make_soft_labels,
    make_targets,
    save_models,
)
from hpa_utils.training.rounds import predict_out_of_fold

WHOLE_FIELD = 128  # px, the side to which the seed project shrank a field


def train_and_predict(settings: dict, data: Path, out: Path, folder: Path) -> tuple[pd.DataFrame, dict]:
    """Predictions of all test cells (`predict_bags`), and what training took.

    Parameters
    ----------
    settings : dict
        Of the run (`weak_labels.settings_of`).
    data, out : path
        Data set root; output root with the stages 02 and 03.
    folder : path
        For the states of training, which goes on from there when it was cut.
    """
    learns, size = settings["learns"].removesuffix("_twice"), settings["crop"]
    train, test = (Bags(out / "03_cell_crops" / "bags", split) for split in ("train", "test"))
    if learns == "fields":
        begun = time.monotonic()
        predictions = whole_field_nets(data, train, test, settings["seed"])
        history = [{"seconds": time.monotonic() - begun}]
    else:
        recipe = recipe_of(settings)
        chosen = choose_fields(train.labels, settings["fields"])
        targets, earlier = make_cell_targets(learns, train, chosen, size, recipe, data, out, folder)
        if learns == "soft_halves":  # as 04 does it with two rounds and two folds
            models, histories = fit_halves(train, chosen, size, recipe, folder, "second", targets)
        else:
            models, histories = fit_all(train, chosen, size, recipe, folder, targets)
        save_folder(folder, models, recipe, out)
        predictions = predict_bags(models, test, np.arange(len(test)), size)
        history = pd.concat([*earlier, *histories]).to_dict("records")
    return predictions, {"train_seconds": sum(row["seconds"] for row in history), "history": history}


def save_folder(folder: Path, models: list[keras.Model], recipe: Recipe, out: Path) -> None:
    """Make the run's folder one that `transfer.py` and `run --model` take."""
    cropped, segmented = (manifest.read_manifest(out / name) for name in ("03_cell_crops", "02_segmentation"))
    described = {"crops": cropped["configuration"]["crops"], **recipe.sections()}
    save_models(folder, models)
    write_json(folder / "config.json", described | {"segmenter": segmented["configuration"]["segmenter"]})


def recipe_of(settings: dict) -> Recipe:
    """The recipe of a run: each field gives all of them as many cells, whatever the number at a time."""
    overrides = {"model": {}, "augmentation": {}, "training": {}} | settings["overrides"]
    training = {name: settings[name] for name in ("cells_per_bag", "bags_per_batch", "head_epochs", "epochs", "seed")}
    training |= overrides["training"]
    cells = training["cells_per_bag"]
    head, deep = (
        passes * settings["cells_per_bag"] // cells for passes in (settings["head_epochs"], settings["epochs"])
    )
    if settings["learns"] == "probe":
        head, deep = head + deep, 0
    if settings["learns"].endswith("_twice"):  # as many cells as soft labels see in both of their rounds
        deep += head + deep
    training = TrainConfig(**training | {"head_epochs": head, "epochs": deep})
    return Recipe(ModelConfig(**overrides["model"]), AugmentationConfig(**overrides["augmentation"]), training)


def choose_fields(labels: np.ndarray, count: int) -> np.ndarray:
    """Numbers of `count` of the bags, each class in its share of them, as far as that goes."""
    parts = max(1, round(len(labels) / count))
    return np.arange(len(labels)) if parts == 1 else np.flatnonzero(assign_folds(labels, parts, seed=0) == 0)


def make_cell_targets(
    learns: str, bags: Bags, chosen: np.ndarray, size: int, recipe: Recipe, data: Path, out: Path, folder: Path
) -> tuple[Targets, list]:
    """What the cells are to learn (their field's labels, soft labels or the truth), and the histories of getting it."""
    fields, cells = (tables.read_parts(out / "02_segmentation" / name) for name in ("fields", "cells"))
    fields = fields.set_index("image_id", drop=False).loc[bags.table["image_id"]].reset_index(drop=True)
    cells = cells[cells["image_id"].isin(fields["image_id"])].reset_index(drop=True)
    if learns == "truth":
        labels = truth_labels(read_truth(data / "truth_train.csv"), cells, fields).astype(np.float32)
        rows = cells.groupby("image_id", sort=False).indices
        return Targets(cells={number: labels[rows[name]] for number, name in enumerate(bags.table["image_id"])}), []
    if learns in ("soft", "soft_halves"):
        models, histories = fit_halves(bags, chosen, size, recipe, folder, "half", Targets())
        scores = predict_out_of_fold(models, bags, halve(bags, chosen, recipe), size)
        return make_targets(bags, make_soft_labels(scores, cells, fields, recipe.soft_labels)), histories
    return Targets(), []


def halve(bags: Bags, chosen: np.ndarray, recipe: Recipe) -> np.ndarray:
    """The half, 0 or 1, of each chosen bag; −1 for the others."""
    fold = np.full(len(bags), -1)
    fold[chosen] = assign_folds(bags.labels[chosen], 2, recipe.training.seed)
    return fold


def fit_halves(
    bags: Bags, chosen: np.ndarray, size: int, recipe: Recipe, folder: Path, name: str, targets: Targets
) -> tuple[list[keras.Model], list[pd.DataFrame]]:
    """Two models, each having learned the half of the chosen bags that is the other's, and their histories."""
    fold, nobody, models, histories = halve(bags, chosen, recipe), np.zeros(0, np.int64), [], []
    for k in range(2):
        own = chosen[fold[chosen] != k]
        model, history, _ = fit_bags(bags, own, nobody, size, recipe, folder, f"{name}-{k}", targets)
        models.append(model)
        histories.append(history.assign(model=f"{name}-{k}"))
    return models, histories


def fit_all(
    bags: Bags, chosen: np.ndarray, size: int, recipe: Recipe, folder: Path, targets: Targets
) -> tuple[list[keras.Model], list[pd.DataFrame]]:
    """One model of all chosen bags, and its history, each in a list."""
    model, history, _ = fit_bags(bags, chosen, np.zeros(0, np.int64), size, recipe, folder, "final", targets)
    return [model], [history.assign(model="final")]


def whole_field_nets(data: Path, train: Bags, test: Bags, seed: int) -> pd.DataFrame:
    """The seed project's recipe: a binary net a class on whole fields; every cell gets its field's scores.

    Its 18 nets (none for Negative) differ in their last layer alone, since the backbone is frozen: here they are 18
    units on the same features, each with a loss of its own, which is the same. Trained on fields with one label.
    """
    dataset = open_dataset(data)
    backbone, _ = build_backbone("lite0", WHOLE_FIELD)
    single = np.flatnonzero(train.labels.sum(axis=1) == 1)
    features, labels = [], []
    for number in single:
        looks = field_features(backbone, dataset.folders["train"], train.table["image_id"][number])
        features.append(looks)
        labels.append(np.repeat(train.labels[number][None, :NEGATIVE], len(looks), axis=0))
    keras.utils.set_random_seed(seed)
    head = keras.Sequential([keras.layers.Dropout(0.2), keras.layers.Dense(NEGATIVE)])
    head.compile("adam", keras.losses.BinaryCrossentropy(from_logits=True))
    head.fit(np.concatenate(features), np.concatenate(labels), batch_size=32, epochs=20, verbose=0)
    tables_of = []
    for image_id, cell_ids in zip(test.table["image_id"], test.table["cell_ids"]):
        looks = field_features(backbone, dataset.folders["test"], image_id)
        scores = np.append(np.asarray(keras.ops.sigmoid(head(looks))).mean(axis=0), 0)
        rows = np.tile(scores.astype(np.float32), (len(cell_ids), 2))
        own = pd.DataFrame({"image_id": image_id, "cell_id": np.asarray(cell_ids, np.int64)})
        tables_of.append(own.join(pd.DataFrame(rows, columns=CELL_COLUMNS + FIELD_COLUMNS)))
    return pd.concat(tables_of, ignore_index=True)


def field_features(backbone: keras.Model, folder: Path, image_id: str) -> np.ndarray:
    """Pooled features of a whole field's eight turns and flips, float32 (8, features)."""
    field = cv2.resize(read_field(folder, image_id), (WHOLE_FIELD, WHOLE_FIELD), interpolation=cv2.INTER_AREA)
    turned = [np.rot90(look, turns) for look in (field, field[::-1]) for turns in range(4)]
    return np.asarray(backbone(np.stack(turned).astype(np.float32))).mean(axis=(1, 2))
