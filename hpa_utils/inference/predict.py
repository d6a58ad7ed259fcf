"""Probabilities of all cells of all bags, and of their fields."""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from hpa_utils.crops.batches import cell_dataset
from hpa_utils.crops.reading import Bags
from hpa_utils.labels import N_CLASSES
from hpa_utils.model import FieldPooling

CELL_COLUMNS = [f"p{number:02d}" for number in range(N_CLASSES)]
FIELD_COLUMNS = [f"f{number:02d}" for number in range(N_CLASSES)]


def load_models(folder: str | Path) -> list:
    """The models of a model folder: its ``fold_*.keras`` where there are several, else ``model.keras``.

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    """
    import keras

    folder = Path(folder)
    paths = sorted(folder.glob("fold_*.keras")) or [folder / "model.keras"]
    if not paths[0].is_file():
        raise FileNotFoundError(f"no model.keras in {folder}: run 04_train first, or name a model folder")
    return [keras.models.load_model(path, compile=False) for path in paths]


def predict_bags(models: list, bags: Bags, numbers: np.ndarray, size: int, batch: int = 64) -> pd.DataFrame:
    """Predict every cell of the given bags.

    Parameters
    ----------
    models : list of keras.Model
        Bag models (`model.build_bag_model`); their probabilities are averaged.
    bags : Bags
    numbers : numpy.ndarray
        Which bags.
    size : int
        Side of the crops, px.
    batch : int
        Cells a step.

    Returns
    -------
    pandas.DataFrame
        A row a cell: `image_id`, `cell_id`, `p00`…`p18` of the cell, `f00`…`f18` of its field; float32 in [0, 1],
        neither blended nor rounded.
    """
    counts = [len(bags.table["cell_ids"][number]) for number in numbers]
    cell_logits = [[] for _ in models]
    batches = cell_dataset(bags, numbers, size, batch)
    steps = -(-sum(counts) // batch)
    for inputs in tqdm(batches, total=steps, unit="batch", mininterval=5, file=sys.stdout):
        one_cell_bags = {
            "cells": inputs["cells"][:, None],
            "percentiles": inputs["percentiles"],
            "valid": np.ones((len(inputs["cells"]), 1), np.float32),
        }
        for model, logits in zip(models, cell_logits, strict=True):
            logits.append(np.asarray(model.predict_on_batch(one_cell_bags)["cells"])[:, 0])
    cells = np.zeros((sum(counts), N_CLASSES), np.float32)
    fields = np.zeros_like(cells)
    for logits in cell_logits:
        logits = np.concatenate(logits) if logits else cells
        cells += _sigmoid(logits) / len(models)
        fields += _sigmoid(_pool_fields(logits, counts)) / len(models)
    identity = pd.DataFrame(
        {
            "image_id": np.repeat([bags.table["image_id"][number] for number in numbers], counts),
            "cell_id": [int(cell) for number in numbers for cell in bags.table["cell_ids"][number]],
        }
    )
    scores = pd.DataFrame(np.concatenate([cells, fields], axis=1), columns=CELL_COLUMNS + FIELD_COLUMNS)
    return pd.concat([identity, scores], axis=1)


def _pool_fields(logits: np.ndarray, counts: list[int]) -> np.ndarray:
    """Each cell's field logits (n, 19): pooled over all cells of the field as in training."""
    pooling, pooled, start = FieldPooling(), [], 0
    for count in counts:
        bag = logits[None, start : start + count]
        pooled.append(np.repeat(np.asarray(pooling(bag, np.ones(bag.shape[:2], np.float32))), count, axis=0))
        start += count
    return np.concatenate(pooled) if pooled else logits


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)
