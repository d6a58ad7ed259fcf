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
VIEWS = (1, 2, 4, 8)  # how many variants of a crop may be looked at


def predict_bags(
    models: list[keras.Model], bags: Bags, numbers: np.ndarray, size: int, batch: int = 64, views: int = 1
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
    views : {1, 2, 4, 8}
        How many variants (`turn`, the first so many) of each crop are looked at; their probabilities are averaged,
        those of fields too. With 8 it does not matter how a cell lies in its crop.

    Returns
    -------
    pandas.DataFrame
        A row a cell: `image_id`, `cell_id`, `p00`…`p18` of the cell, `f00`…`f18` of its field; float32 in [0, 1],
        neither blended nor rounded.
    """
    numbers = np.asarray(numbers, np.int64)
    nets, steps = [cell_model(model) for model in models], -(-bags.counts[numbers].sum() // batch)
    batches = cell_batches(bags, numbers, size, batch)
    outputs = [
        predict_batch(nets, prepare_batch(inputs, views, batch if steps > 1 else 0), len(inputs["cells"]))
        for inputs in tqdm(batches, total=steps, unit="batch", mininterval=5, file=sys.stdout)
    ]
    return average(models, outputs, bags, numbers)


def turn(crops: np.ndarray, view: int) -> np.ndarray:
    """One of the eight variants of crops uint8 (N, S, S, 4): how a square can be flipped and turned by right angles.

    0 as they are; 1 left and right swapped; 2 upside down; 3 both, half a turn; 4 to 7 the same of the crops
    transposed, rows for columns: 4 transposed, 5 a quarter turn clockwise, 6 a quarter turn counterclockwise, 7 both
    flips of 4. So the first 1, 2, 4 or 8 are each closed under their flips and turns.
    """
    if not view:
        return crops
    pixels = np.ascontiguousarray(crops).view(np.uint32)[..., 0]  # four planes move as one number, faster
    pixels = pixels.swapaxes(1, 2) if view & 4 else pixels
    pixels = pixels[:, :: -1 if view & 2 else 1, :: -1 if view & 1 else 1]
    return np.ascontiguousarray(pixels)[..., None].view(np.uint8)


def prepare_batch(inputs: dict, views: int = 1, filled: int = 0) -> list[dict]:
    """What the nets of `cell_model` are given for each view of a batch.

    Parameters
    ----------
    inputs : dict
        `cells` uint8 (N, S, S, 4), `percentiles` float32 (N, 4, 4): a batch of `cell_batches`.
    views : {1, 2, 4, 8}
    filled : int
        A smaller batch is filled with blanks to so many cells, since a net may be compiled anew for each shape.
    """
    blanks = max(0, filled - len(inputs["cells"]))
    cells, percentiles = (
        np.pad(inputs[name], [(0, blanks)] + [(0, 0)] * (inputs[name].ndim - 1)) if blanks else inputs[name]
        for name in ("cells", "percentiles")
    )
    # cells one by one, for a bag may have any number of them; they are pooled afterwards
    alone = {"percentiles": percentiles, "valid": np.ones((len(cells), 1), np.float32)}
    return [{"cells": turn(cells, view)[:, None], **alone} for view in range(views)]


def predict_batch(nets: list[keras.Model], prepared: list[dict], number: int) -> list[list[dict]]:
    """Outputs of each net (`cell_model`) for each view of a prepared batch of `number` cells, (number, …)."""
    return [
        [{name: np.asarray(rows)[:number, 0] for name, rows in net.predict_on_batch(view).items()} for view in prepared]
        for net in nets
    ]


def average(models: list[keras.Model], outputs: list, bags: Bags, numbers: np.ndarray) -> pd.DataFrame:
    """The table of `predict_bags` from what `predict_batch` gave for each batch of these bags, maybe later ones too."""
    counts = bags.counts[numbers]
    total, views = counts.sum(), len(outputs[0][0]) if outputs else 0
    scores = np.zeros((total, 2 * N_CLASSES))
    for number, model in enumerate(models):
        for view in range(views):
            of_batches = [of_batch[number][view] for of_batch in outputs]
            joined = {name: np.concatenate([rows[name] for rows in of_batches])[:total] for name in of_batches[0]}
            fields = np.repeat(pool_fields(model, joined, counts.tolist()), counts, axis=0)
            scores += _sigmoid(np.concatenate([joined["cells"], fields], axis=1)) / (len(models) * views)
    columns = dict(zip(CELL_COLUMNS + FIELD_COLUMNS, scores.astype(np.float32).T))
    return cell_keys(bags, numbers).assign(**columns)


def cell_keys(bags: Bags, numbers: np.ndarray) -> pd.DataFrame:
    """`image_id` and `cell_id` int64 of all cells of the given bags, in the order of `cell_batches`."""
    table = bags.table.iloc[numbers]
    image_ids = np.repeat(table["image_id"].to_numpy(object), bags.counts[numbers])
    cell_ids = np.concatenate([np.zeros(0, np.int64), *table["cell_ids"]]).astype(np.int64)
    return pd.DataFrame({"image_id": image_ids, "cell_id": cell_ids})


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))
