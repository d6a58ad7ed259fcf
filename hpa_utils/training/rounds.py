"""A round of training: one model a fold, and the scores of the fields that each has not seen."""

from pathlib import Path

import keras
import numpy as np
import pandas as pd

from hpa_utils.crops.reading import Bags
from hpa_utils.model.prediction import predict_bags
from hpa_utils.training.fit import fit_bags
from hpa_utils.training.recipe import Recipe
from hpa_utils.training.targets import INHERITED, Targets


def fit_round(
    bags: Bags,
    fold: np.ndarray,
    size: int,
    recipe: Recipe,
    folder: str | Path,
    number: int = 1,
    targets: Targets = INHERITED,
) -> tuple[list[keras.Model], pd.DataFrame, dict]:
    """Train the models of a round; those that an earlier session finished are taken as they are.

    Parameters
    ----------
    bags : Bags
    fold : numpy.ndarray
        Fold of each bag (`assign_folds`); −1 everywhere: one model, without validation.
    size : int
        Side of the crops, px.
    recipe : Recipe
    folder : path
        The stage's folder (`fit_bags`).
    number : int
        Of the round, from 1.
    targets : Targets

    Returns
    -------
    models : list of keras.Model
    history : pandas.DataFrame
        Of all models, with the columns `round` and `fold`.
    loaded : dict
        The pretrained weights, `name` and `sha256`.
    """
    models, histories = [], []
    for k in range(recipe.training.trained_folds if fold.max(initial=-1) >= 0 else 1):
        learned, held_out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
        print(f"round {number}, fold {k}: learns from {len(learned)} fields, watches {len(held_out)}", flush=True)
        name = f"round-{number}-fold-{k}"
        model, history, loaded = fit_bags(bags, learned, held_out, size, recipe, folder, name, targets)
        models.append(model)
        histories.append(history.assign(round=number, fold=k))
    return models, pd.concat(histories, ignore_index=True), loaded


def predict_out_of_fold(models: list[keras.Model], bags: Bags, fold: np.ndarray, size: int) -> pd.DataFrame:
    """Scores (`predict_bags`) of the bags of the trained folds, each by the model that has not seen it."""
    parts = [predict_bags([model], bags, np.flatnonzero(fold == k), size) for k, model in enumerate(models)]
    return pd.concat(parts, ignore_index=True)
