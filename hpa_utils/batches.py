"""Batches of single cells for Keras: which cells a step shows, their crops, and what they are to learn."""

import functools

import numpy as np

from hpa_utils.crop_sets import CropSet
from hpa_utils.model import keras


class CellBatches:
    """The batches of a training: cells of many fields, drawn anew in each epoch. `stream` gives them to `fit`.

    A batch is a function of the seed, the epoch and the step. There is nothing to save: a resumed training sees the
    batches that it would have seen. Draws are numbered through. Without weights, each n draws of n fields are a
    permutation in which every field comes once; with weights w, field i comes ⌊n wᵢ / Σw⌋ or ⌈n wᵢ / Σw⌉ times
    (systematic resampling, the least variance that drawing can have).

    `percentiles`, float32 (F, 4 channels, 4 of p1, p50, p99, p99.9), are of the fields of `crops.image_ids`; `targets`,
    float32 (n, 19) in 0…1, have a row a cell of the crop set, −1 where a class is to be ignored; `fields` are the
    numbers of the fields to draw from, `batch_size` the cells a step, `steps` those of an epoch. `weights` say how
    often each of `fields` comes, relative to the others; `preferred` are numbers of cells that get a quarter of their
    field's draws for themselves. The attribute `epoch` is set by `training.Checkpoint` when an epoch begins.

    An item is ``((crops uint8 (B, S, S, 4), percentiles float32 (B, 4, 4)), targets float32 (B, 19))``.
    """

    def __init__(
        self,
        crops: CropSet,
        percentiles: np.ndarray,
        targets: np.ndarray,
        fields: np.ndarray,
        batch_size: int,
        steps: int,
        seed: int,
        weights: np.ndarray | None = None,
        preferred: np.ndarray = (),
    ):
        if not len(fields):
            raise ValueError("no fields to learn from: no field of the train split has cells")
        self.crops, self.percentiles, self.targets, self.epoch = crops, percentiles, targets, 0
        self.fields, self.weights = np.asarray(fields), weights
        self.batch_size, self.steps, self.seed = batch_size, steps, seed
        first = np.isin(np.arange(len(crops)), preferred)
        order = np.lexsort((~first, crops.field))  # the cells of each field together, preferred ones first
        self._order, self._n_preferred = order, np.bincount(crops.field[first], minlength=len(crops.image_ids))
        self._start = np.searchsorted(crops.field[order], np.arange(len(crops.image_ids) + 1))
        self._permutation = functools.lru_cache(maxsize=4)(self._draw_permutation)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int):
        cells = self.draw(self.epoch * self.steps + step)
        return (self.crops.read(cells), self.percentiles[self.crops.field[cells]]), self.targets[cells]

    def draw(self, step: int) -> np.ndarray:
        """Numbers of the cells, int (B,), of a step counted from the first epoch's first."""
        places = range(step * self.batch_size, (step + 1) * self.batch_size)
        return np.array([self._draw_cell(*divmod(place, len(self.fields))) for place in places])

    def _draw_permutation(self, turn: int) -> np.ndarray:
        rng, n = np.random.default_rng([self.seed, turn]), len(self.fields)
        if self.weights is None:
            return self.fields[rng.permutation(n)]
        cumulated = np.cumsum(self.weights)
        drawn = np.searchsorted(cumulated * (n / cumulated[-1]), rng.random() + np.arange(n), side="right")
        last = np.flatnonzero(self.weights)[-1]  # the sum may be rounded down
        return self.fields[rng.permutation(np.minimum(drawn, last))]

    def _draw_cell(self, turn: int, place: int) -> int:
        field = self._permutation(turn)[place]
        cells = self._order[self._start[field] : self._start[field + 1]]
        rng = np.random.default_rng([self.seed, turn, place])
        if rng.random() < 0.25:  # all draws for preferred cells cost what a network knows of the others
            cells = cells[: self._n_preferred[field] or None]
        return rng.choice(cells)


def stream(batches):
    """Batches, which have a length and items of one shape, as a `tf.data.Dataset`: for each epoch anew, two ahead.

    A `PyDataset` would be tuned, by a thread that sleeps up to a minute: the end of an epoch often waits for it.
    """
    import tensorflow as tf

    count, kinds = len(batches), keras.tree.map_structure(lambda one: tf.TensorSpec(one.shape, one.dtype), batches[0])
    items = tf.data.Dataset.from_generator(lambda: map(batches.__getitem__, range(count)), output_signature=kinds)
    options = tf.data.Options()
    options.autotune.enabled = False
    return items.apply(tf.data.experimental.assert_cardinality(count)).prefetch(2).with_options(options)


def rare_weights(labels: np.ndarray, most: float) -> np.ndarray:
    """How often each field is drawn, 1 to `most`: more if one of its labels (F, 19) is in under a twentieth of all."""
    count = (labels > 0).sum(axis=0)
    rarest = np.where(labels > 0, count, len(labels)).min(axis=1)
    return np.clip(len(labels) / 20 / rarest, 1.0, most)
