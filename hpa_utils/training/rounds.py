"""Rounds of training: models of folds, the scores of what each has not seen, soft labels, and a model of all fields."""

from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from hpa_utils.crops.reading import Bags
from hpa_utils.model.prediction import predict_bags
from hpa_utils.training.fit import fit_bags
from hpa_utils.training.grades import mix_grades
from hpa_utils.training.recipe import Recipe
from hpa_utils.training.soft_labels import make_soft_labels
from hpa_utils.training.targets import INHERITED, Targets, make_targets


@dataclass(frozen=True)
class Trained:
    """What `fit_rounds` gives.

    Attributes
    ----------
    models : list of keras.Model
        Of the last round.
    history : pandas.DataFrame
        Losses and scores of each epoch of all models, with the columns `round` and `fold`.
    weights : dict
        The pretrained weights, `name` and `sha256`.
    oof : pandas.DataFrame
        Scores out of fold (`predict_out_of_fold`), of the last round that had folds.
    soft : pandas.DataFrame
        Soft labels made of these scores: what the last of several rounds learned.
    """

    models: list
    history: pd.DataFrame
    weights: dict
    oof: pd.DataFrame
    soft: pd.DataFrame


def fit_rounds(
    bags: Bags,
    fold: np.ndarray,
    size: int,
    recipe: Recipe,
    folder: str | Path,
    cells: pd.DataFrame,
    fields: pd.DataFrame,
    first: pd.DataFrame,
    grades: pd.DataFrame,
    spindles: tuple[pd.DataFrame, pd.DataFrame],
) -> Trained:
    """Train all rounds of a recipe.

    Each round but the last trains a model a fold, whose scores of the fields it has not seen become the soft labels
    of the next. The last of several learns from all fields at once, in one model: half the fields teach less, more
    than the mean of two models makes up for (docs/weak_labels.md).

    Parameters
    ----------
    bags, fold, size, recipe, folder
        As in `fit_round`. Without folds there is one round.
    cells, fields : pandas.DataFrame
        The tables of these bags.
    first : pandas.DataFrame
        What the first round learns (`first_labels`).
    grades : pandas.DataFrame
        Human grades, maybe none; they take the place of soft labels where the recipe says so (`mix_grades`).
    spindles : (pandas.DataFrame, pandas.DataFrame)
        Of `spindle_cells`, if the recipe is to use them.
    """
    config, soft, histories = recipe.training, first, []
    rounds = config.rounds if fold.max(initial=-1) >= 0 else 1
    for number in range(1, rounds + 1):
        learned = mix_grades(soft, grades) if config.graded else soft
        targets = make_targets(bags, learned, spindles if config.spindles else None, grades)
        split = np.full_like(fold, -1) if number == rounds > 1 else fold
        models, history, weights = fit_round(bags, split, size, recipe, folder, number, targets)
        histories.append(history)
        if split is fold:
            oof = predict_out_of_fold(models, bags, fold, size)
            soft = make_soft_labels(oof, cells, fields, recipe.soft_labels)
    return Trained(models, pd.concat(histories, ignore_index=True), weights, oof, soft)


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
