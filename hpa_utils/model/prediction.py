"""Probabilities of all cells of all bags, and of their fields."""

import sys

import keras
import numpy as np
import pandas as pd
from tqdm import tqdm

from hpa_utils.crops.batches import cell_batches
from hpa_utils.crops.reading import Bags
from hpa_utils.labels import N_CLASSES
from hpa_utils.model.bag import cell_model
from hpa_utils.model.pooling import pool_fields

CELL_COLUMNS = [f"p{number:02d}" for number in range(N_CLASSES)]
FIELD_COLUMNS = [f"f{number:02d}" for number in range(N_CLASSES)]


def predict_bags(
    models: list[keras.Model], bags: Bags, numbers: np.ndarray, size: int, batch: int = 64
) -> pd.DataFrame:
    """Predict every cell of the given bags.

    Parameters
    ----------
    models : list of keras.Model
        Bag models (`build_bag_model`); their probabilities are averaged.
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
    numbers = np.asarray(numbers, np.int64)
    counts = bags.counts[numbers]
    # cells one by one, for a bag may have any number of them; they are pooled afterwards
    nets, collected = [cell_model(model) for model in models], [[] for _ in models]
    batches = cell_batches(bags, numbers, size, batch)
    for inputs in tqdm(batches, total=-(-counts.sum() // batch), unit="batch", mininterval=5, file=sys.stdout):
        single = {"cells": inputs["cells"][:, None], "percentiles": inputs["percentiles"]}
        single["valid"] = np.ones((len(inputs["cells"]), 1), np.float32)
        for net, outputs in zip(nets, collected):
            outputs.append({name: np.asarray(rows)[:, 0] for name, rows in net.predict_on_batch(single).items()})
    scores = np.zeros((counts.sum(), 2 * N_CLASSES))
    for model, outputs in zip(models, collected):
        if outputs:
            joined = {name: np.concatenate([rows[name] for rows in outputs]) for name in outputs[0]}
            fields = np.repeat(pool_fields(model, joined, counts.tolist()), counts, axis=0)
            scores += _sigmoid(np.concatenate([joined["cells"], fields], axis=1)) / len(models)
    table = bags.table.iloc[numbers]
    identity = {
        "image_id": np.repeat(table["image_id"].to_numpy(), counts),
        "cell_id": np.concatenate([np.zeros(0, np.int64), *table["cell_ids"]]).astype(np.int64),
    }
    columns = dict(zip(CELL_COLUMNS + FIELD_COLUMNS, scores.astype(np.float32).T))
    return pd.DataFrame({**identity, **columns})


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))
