"""How a model does on bags that it does not learn from, after each epoch."""

import keras
import numpy as np
from sklearn.metrics import average_precision_score

from hpa_utils.crops.batches import training_batches
from hpa_utils.crops.sampling import BagSampler
from hpa_utils.training.grades import POSITIVE
from hpa_utils.training.losses import LabelLoss


def watch(model: keras.Model, bags, validation: np.ndarray, size: int, config, graded: dict | None = None) -> dict:
    """Scores of some cells of each held-out field, the same ones every time.

    Parameters
    ----------
    model : keras.Model
        A bag model.
    bags : Bags
    validation : numpy.ndarray
        Numbers of the bags held out; none gives an empty result.
    size : int
        Side of the crops, px.
    config : TrainConfig
        How many cells are looked at, and the loss.
    graded : dict, optional
        Bag number → grades of its cells, float32 (n_cells, 19) in 0…1, −1 where there is none (`Targets.graded`).

    Returns
    -------
    dict
        `val_loss` on the labels that cells inherit, `val_field_ap` and, with grades, `val_cell_ap`: mean over the
        classes of the average precision, None where no class has both kinds.
    """
    if not len(validation):
        return {}
    graded = graded or {}
    always = {bag: np.flatnonzero((graded[bag] >= 0).any(axis=1)) for bag in validation.tolist() if bag in graded}
    counts = bags.counts[validation]
    sampler = BagSampler(validation, counts, config.cells_per_bag, config.bags_per_batch, config.seed, always=always)
    batches = training_batches(bags, sampler, size)
    losses, fields, labels, cells, grades = [], [], [], [], []
    loss, weighted = LabelLoss(config.loss), {"cells": config.cell_loss, "field": config.field_loss}
    for _ in range(sampler.steps_per_epoch):
        batch = next(batches)
        logits = model.predict_on_batch(batch.inputs)
        values = (w * loss(batch.targets[o], logits[o], batch.weights[o]) for o, w in weighted.items())
        losses.append(float(sum(values)))
        fields.append(logits["field"])
        labels.append(batch.targets["field"])
        for bag, positions, own in zip(batch.bags.tolist(), batch.positions, logits["cells"]):
            if bag in graded:
                cells.append(own[positions >= 0])
                grades.append(graded[bag][positions[positions >= 0]])
    batches.close()
    once = slice(len(validation))  # the last batch is filled up with fields seen before
    scores = {"val_loss": float(np.mean(losses))}
    scores["val_field_ap"] = mean_ap(np.concatenate(labels)[once], np.concatenate(fields)[once])
    if cells:
        grades = np.concatenate(grades)
        visible = np.where(grades < 0, -1, grades >= POSITIVE)
        scores["val_cell_ap"] = mean_ap(visible, np.concatenate(cells))
    return scores


def mean_ap(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """Mean average precision over the classes that have both kinds; labels (n, 19) of 0, 1 and −1 for unknown."""
    values = []
    for own, score in zip(labels.T, scores.T):
        known = own >= 0
        if len(np.unique(own[known])) == 2:
            values.append(average_precision_score(own[known], score[known]))
    return float(np.mean(values)) if values else None
