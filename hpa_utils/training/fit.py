"""Fitting a bag model in two phases: its head, then its last blocks at a lower rate."""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils.crops.batches import training_dataset
from hpa_utils.crops.reading import Bags
from hpa_utils.model import BACKBONES, build_backbone, build_bag_model, unfreeze


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained.

    Attributes
    ----------
    backbone : {"lite0", "b0"}
    weights : str
        ``"imagenet"``, ``"none"`` or the path of a weight file (`model.build_backbone`).
    cells_per_bag, bags_per_batch : int
        Cells drawn from a field in a step, fields in a step.
    head_epochs, epochs : int
        Passes over the fields with the backbone frozen, then with its last blocks trained.
    head_rate, rate : float
        Peak learning rates of the two phases.
    unfrozen : float
        Share (0…1) of the backbone's blocks trained in the second phase.
    cell_loss, field_loss : float
        Weights of the loss of the cells, on labels inherited from their field, and of the field's pooled logits.
    weight_decay, dropout : float
    folds, trained_folds : int
        Folds the fields are split into, and how many of them get a model of their own.
    seed : int
    """

    backbone: str = "lite0"
    weights: str = "imagenet"
    cells_per_bag: int = 8
    bags_per_batch: int = 4
    head_epochs: int = 2
    epochs: int = 8
    head_rate: float = 1e-3
    rate: float = 3e-4
    unfrozen: float = 1.0
    cell_loss: float = 1.0
    field_loss: float = 0.5
    weight_decay: float = 1e-4
    dropout: float = 0.2
    folds: int = 5
    trained_folds: int = 1
    seed: int = 0

    def __post_init__(self):
        if self.backbone not in BACKBONES:
            raise ValueError(f"training.backbone is {self.backbone!r}; expected one of {', '.join(BACKBONES)}")
        for name in ("cells_per_bag", "bags_per_batch", "folds", "trained_folds"):
            if getattr(self, name) < 1:
                raise ValueError(f"training.{name} is {getattr(self, name)}; expected 1 or more")
        for name in ("head_epochs", "epochs", "head_rate", "rate", "cell_loss", "field_loss", "weight_decay"):
            if getattr(self, name) < 0:
                raise ValueError(f"training.{name} is {getattr(self, name)}; expected 0 or more")
        if self.head_epochs + self.epochs < 1:
            raise ValueError("training.head_epochs and training.epochs are both 0: nothing to train")
        if self.trained_folds > self.folds:
            raise ValueError(f"training.trained_folds is {self.trained_folds}, more than the {self.folds} folds")
        if not 0 <= self.unfrozen <= 1 or not 0 <= self.dropout < 1:
            raise ValueError("training.unfrozen and training.dropout are shares; expected 0…1")


def fit_bags(bags: Bags, train: np.ndarray, validation: np.ndarray, size: int, config: TrainConfig):
    """Train one model.

    Parameters
    ----------
    bags : Bags
    train, validation : numpy.ndarray
        Numbers of the bags to learn from and to watch; `validation` may be empty.
    size : int
        Side of the crops, px.

    Returns
    -------
    model : keras.Model
        As of `model.build_bag_model`.
    history : pandas.DataFrame
        A row an epoch: `phase`, `epoch` and the losses.
    loaded : dict
        The pretrained weights, `name` and `sha256`.

    Raises
    ------
    ValueError
        If there is no bag to learn from.
    """
    import keras
    import tensorflow as tf

    if not len(train):
        raise ValueError("no bags to learn from: no field of the train split has cells")
    keras.utils.set_random_seed(config.seed)
    backbone, loaded = build_backbone(config.backbone, size, config.weights)
    model = build_bag_model(backbone, size, config.dropout, config.seed)
    per_batch = min(config.bags_per_batch, len(train))
    batches = training_dataset(bags, train, size, config.cells_per_bag, per_batch, config.seed)
    watched = None
    if len(validation):
        watched = training_dataset(bags, validation, size, config.cells_per_bag, 1, config.seed)
        watched = watched.take(len(validation)).apply(tf.data.experimental.assert_cardinality(len(validation)))
    steps = max(1, len(train) // per_batch)
    histories, done = [], 0
    for phase, epochs, rate, share in (
        ("head", config.head_epochs, config.head_rate, 0.0),
        ("deep", config.epochs, config.rate, config.unfrozen),
    ):
        if not epochs:
            continue
        blocks = unfreeze(backbone, share)
        _compile(model, rate, epochs * steps, config)  # also what makes the change of `trainable` count
        print(f"phase {phase}: {epochs} epochs of {steps} steps, {blocks} blocks of the backbone trained", flush=True)
        history = model.fit(
            batches,
            initial_epoch=done,
            epochs=done + epochs,
            steps_per_epoch=steps,
            validation_data=watched,
            shuffle=False,  # the sampler does it
            verbose=2,
        ).history
        done += epochs
        histories.append(pd.DataFrame(history).assign(phase=phase))
    history = pd.concat(histories, ignore_index=True)
    history.insert(0, "epoch", np.arange(1, len(history) + 1))
    return model, history, loaded


def save_models(folder: str | Path, models: list) -> None:
    """Write ``model.keras``, and ``fold_k.keras`` for each where there are several, each in one rename."""
    folder = Path(folder)
    for old in folder.glob("fold_*.keras"):
        old.unlink()
    named = {"model": models[0]} | ({f"fold_{k}": model for k, model in enumerate(models)} if models[1:] else {})
    for name, model in named.items():
        temporary = folder / f".{name}.tmp.keras"  # Keras goes by the extension
        model.save(temporary)
        os.replace(temporary, folder / f"{name}.keras")


def _compile(model, rate: float, steps: int, config: TrainConfig) -> None:
    import keras

    warm_up = max(1, steps // 10)
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / 10, max(1, steps - warm_up), alpha=0.01, warmup_target=rate, warmup_steps=warm_up
    )
    loss = {name: keras.losses.BinaryCrossentropy(from_logits=True) for name in ("cells", "field")}
    model.compile(
        optimizer=keras.optimizers.AdamW(schedule, weight_decay=config.weight_decay, global_clipnorm=1.0),
        loss=loss,
        loss_weights={"cells": config.cell_loss, "field": config.field_loss},
    )
