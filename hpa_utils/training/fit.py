"""Fitting a bag model in two phases: its head, then its last blocks at a lower rate; resumable at any step."""

import dataclasses
import itertools
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import tensorflow as tf

from hpa_utils.crops.batches import training_batches, training_dataset
from hpa_utils.crops.reading import Bags
from hpa_utils.crops.sampling import BagSampler
from hpa_utils.manifest import digest
from hpa_utils.model import build_backbone, build_bag_model, estimate_batch_norm, unfreeze
from hpa_utils.training.devices import Devices, choose_devices
from hpa_utils.training.losses import LabelLoss
from hpa_utils.training.progress import Progress, Saves
from hpa_utils.training.recipe import Recipe, TrainConfig
from hpa_utils.training.targets import INHERITED, Targets, rare_weights
from hpa_utils.training.watching import watch

REPORTS = 12  # epochs of a phase that are told of, about
STATISTICS_BATCHES = 50  # from which BatchNorm's statistics are estimated


@dataclasses.dataclass(frozen=True)
class Run:
    """What stays the same while one model is trained."""

    bags: Bags
    validation: np.ndarray
    size: int
    recipe: Recipe
    targets: Targets
    sampler: BagSampler
    devices: Devices
    viewer: keras.Model  # the same network on one device: what several predict together comes back torn
    saves: Saves
    board: object  # TensorBoard's writer


def fit_bags(
    bags: Bags,
    train: np.ndarray,
    validation: np.ndarray,
    size: int,
    recipe: Recipe,
    folder: str | Path,
    name: str = "run",
    targets: Targets = INHERITED,
) -> tuple[keras.Model, pd.DataFrame, dict]:
    """Train one model; go on with it where an earlier session left it, or take it as that one finished it.

    Parameters
    ----------
    bags : Bags
    train, validation : numpy.ndarray
        Numbers of the bags to learn from and to watch; `validation` may be empty.
    size : int
        Side of the crops, px.
    recipe : Recipe
    folder, name : path, str
        The state is saved in ``state/{name}`` of the folder, TensorBoard's files in ``tensorboard/{name}``.
    targets : Targets
        What cells are to learn, where it is not their field's labels.

    Returns
    -------
    model : keras.Model
        As of `model.build_bag_model`, not compiled.
    history : pandas.DataFrame
        A row an epoch: `epoch`, `phase`, `rate`, the losses, the scores of `watch`, `seconds`.
    loaded : dict
        The pretrained weights, `name` and `sha256`.

    Raises
    ------
    ValueError
        If there is no bag to learn from.
    """
    if not len(train):
        raise ValueError("no bags to learn from: no field of the train split has cells")
    config = recipe.training
    keras.utils.set_random_seed(config.seed)
    devices = choose_devices(config.precision)
    with devices.strategy.scope():
        model, loaded = build_model(recipe, size)
    made_of = [recipe.sections(), size, loaded, bags.table["image_id"].tolist(), train.tolist(), targets.digest()]
    run = Run(
        bags=bags,
        validation=validation,
        size=size,
        recipe=recipe,
        targets=targets,
        sampler=make_sampler(bags, train, config, targets),
        devices=devices,
        viewer=keras.Model(model.input, model.output),
        saves=Saves(Path(folder) / "state" / name, digest(made_of)),
        board=tf.summary.create_file_writer(str(Path(folder) / "tensorboard" / name)),
    )
    progress = run.saves.read() or Progress()
    if recipe.model.batch_norm == "estimated" and not progress.history and not progress.step:
        batches = itertools.islice(training_batches(bags, run.sampler, size), STATISTICS_BATCHES)
        estimate_batch_norm(model, (batch.inputs for batch in batches))
    head = ("head", config.head_epochs, config.head_rate, 0.0)
    deep = ("deep", config.epochs, config.rate, config.unfrozen)
    for number, phase in enumerate((head, deep)):
        if number >= progress.phase:
            _fit_phase(run, model, *phase, progress)
            progress.phase, progress.epoch, progress.best, progress.since_best = number + 1, 0, -1.0, 0
            run.saves.write(model, progress)
    run.saves.load(model)
    history = pd.DataFrame(progress.history)
    history.insert(0, "epoch", np.arange(1, len(history) + 1))
    # the same layers without the optimizer, which would treble the file
    return keras.Model(model.input, model.output, name="bag"), history, loaded


def build_model(recipe: Recipe, size: int) -> tuple[keras.Model, dict]:
    """The model of a recipe for crops of `size` px, and the pretrained weights it begins with (`name`, `sha256`)."""
    backbone, loaded = build_backbone(recipe.model.backbone, size, recipe.model.weights)
    return build_bag_model(backbone, size, recipe.model, recipe.augmentation, recipe.training.seed), loaded


def make_sampler(bags: Bags, train: np.ndarray, config: TrainConfig, targets: Targets = INHERITED) -> BagSampler:
    """The sampler of a training run."""
    weights = rare_weights(bags.labels[train], config.rare_cap) if config.rare_cap > 1 else None
    counts, shape = bags.counts[train], (config.cells_per_bag, config.bags_per_batch)
    return BagSampler(train, counts, *shape, config.seed, weights=weights, always=targets.always)


def compile_model(model: keras.Model, rate, config: TrainConfig) -> None:
    """Give a bag model its optimizer and losses; `rate` is a number or a schedule."""
    optimizer = keras.optimizers.AdamW(
        rate,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip or None,
        use_ema=config.ema > 0,
        ema_momentum=config.ema or 0.99,
    )
    model.compile(
        optimizer=optimizer,
        loss={name: LabelLoss(config.loss) for name in ("cells", "field")},
        loss_weights={"cells": config.cell_loss, "field": config.field_loss},
        steps_per_execution=config.steps_per_execution,
    )


def _fit_phase(
    run: Run, model: keras.Model, name: str, epochs: int, rate: float, share: float, progress: Progress
) -> None:
    """Train the epochs of a phase that are not done; the model is left with the weights to keep."""
    config, steps = run.recipe.training, run.sampler.steps_per_epoch
    resumed = progress.epoch > 0 or progress.step > 0
    if progress.phase > 0 and not resumed:
        run.saves.load(model)  # the weights alone: this phase's optimizer starts anew
    with run.devices.strategy.scope():
        blocks = unfreeze(model.get_layer("backbone"), share, run.recipe.model.batch_norm)
        compile_model(model, _schedule(rate, epochs * steps, config), config)  # makes the new `trainable` count
    if resumed:
        model.optimizer.build(model.trainable_variables)
        run.saves.load(model)
        print(f"phase {name}: resumed after {progress.epoch} epochs and {progress.step} steps", flush=True)
    elif epochs:
        print(f"phase {name}: {epochs} epochs of {steps} steps, {blocks} blocks of the backbone trained", flush=True)
    earlier = sum(row["phase"] != name for row in progress.history) * steps
    for epoch in range(progress.epoch, epochs):
        row, raw = _fit_epoch(run, model, epoch, earlier + epoch * steps, progress)
        row = {"phase": name, "rate": float(model.optimizer.learning_rate), **row, **_watched(run)}
        score = row["val_cell_ap"] if row.get("val_cell_ap") is not None else row.get("val_field_ap")
        progress.history.append(row)
        progress.epoch, progress.step, progress.partial = epoch + 1, 0, {}
        progress.since_best += 1
        if score is not None and score > progress.best:
            progress.best, progress.since_best = score, 0
            if config.patience:
                run.saves.keep_best(model)
        _log(run, row, len(progress.history))
        if epoch % max(1, epochs // REPORTS) == 0 or epoch + 1 == epochs:
            _report(row, len(progress.history))
        stopped = config.patience and progress.best >= 0 and progress.since_best >= config.patience
        if stopped:
            print(f"phase {name}: no better score in {config.patience} epochs", flush=True)
        if stopped or epoch + 1 == epochs:
            break
        for variable, value in zip(model.trainable_variables, raw):
            variable.assign(value)
        if run.saves.is_due(config.save_minutes):
            run.saves.write(model, progress)
    if config.patience and progress.best >= 0:
        run.saves.load_best(model)


def _fit_epoch(run: Run, model: keras.Model, epoch: int, first_step: int, progress: Progress) -> tuple[dict, list]:
    """What is left of an epoch: its losses, and the weights before `fit` put their moving average in place."""
    begun, left = time.monotonic(), run.sampler.steps_per_epoch - progress.step
    keeper = _Keeper(run.saves, progress, run.recipe.training)
    batches = training_dataset(run.bags, run.sampler, run.size, first_step + progress.step, run.targets.cells)
    losses = model.fit(
        batches,
        initial_epoch=epoch,
        epochs=epoch + 1,
        steps_per_epoch=left,
        callbacks=[keeper],
        shuffle=False,  # the sampler does it
        verbose=0,
    ).history
    means = _mean_losses(progress, {name: value for name, (value,) in losses.items()}, left)
    return {**means, "seconds": time.monotonic() - begun}, keeper.raw


def _mean_losses(progress: Progress, losses: dict, steps: int) -> dict:
    """Mean losses of an epoch over the steps done when it was gone on with and the `steps` since."""
    earlier, done = progress.partial, progress.step
    return {
        name: (earlier.get(name, 0) * done + float(value) * steps) / (done + steps) for name, value in losses.items()
    }


class _Keeper(keras.callbacks.Callback):
    """Saves the state every so many minutes, and keeps the weights as they are when an epoch ends."""

    def __init__(self, saves: Saves, progress: Progress, config: TrainConfig):
        super().__init__()
        self.saves, self.progress, self.config, self.raw = saves, progress, config, []
        self.begun = self.told = time.monotonic()

    def on_train_batch_end(self, batch, logs=None):
        if time.monotonic() - self.told > 60:
            self.told = time.monotonic()
            left = (self.told - self.begun) / (batch + 1) * (self.params["steps"] - batch - 1)
            steps = self.params["steps"]
            print(f"  step {batch + 1} of {steps}, loss {logs['loss']:.4g}, {left:.0f} s left", flush=True)
        if not self.saves.is_due(self.config.save_minutes):
            return
        partial = _mean_losses(self.progress, logs, batch + 1)
        reached = dataclasses.replace(self.progress, step=self.progress.step + batch + 1, partial=partial)
        self.saves.write(self.model, reached)

    def on_epoch_end(self, epoch, logs=None):
        if self.config.ema:  # `fit` ends by replacing the weights with their moving average
            self.raw = [keras.ops.convert_to_numpy(variable) for variable in self.model.trainable_variables]


def _watched(run: Run) -> dict:
    return watch(run.viewer, run.bags, run.validation, run.size, run.recipe.training, run.targets.graded)


def _schedule(rate: float, steps: int, config: TrainConfig):
    warm_up = max(1, round(config.warm_up * steps))
    return keras.optimizers.schedules.CosineDecay(
        rate / 10, max(1, steps - warm_up), alpha=0.01, warmup_target=rate, warmup_steps=warm_up
    )


def _report(row: dict, epoch: int) -> None:
    told = {name: f"{value:.4g}" for name, value in row.items() if isinstance(value, float) and name != "seconds"}
    told = ", ".join(f"{name} {value}" for name, value in told.items())
    print(f"epoch {epoch} ({row['phase']}): {told}, {row['seconds']:.0f} s", flush=True)


def _log(run: Run, row: dict, epoch: int) -> None:
    with run.board.as_default():
        for name, value in row.items():
            if isinstance(value, float):
                tf.summary.scalar(name, value, epoch)
