"""Batches of single cells for Keras: which cells a step shows, their crops, and what they are to learn."""

import functools

import numpy as np

from hpa_utils.crop_sets import CropSet
from hpa_utils.model import keras


class CellBatches(keras.utils.PyDataset):
    """The batches of a training: cells of many fields, drawn anew in each epoch.

    A batch is a function of the seed, the epoch and the step. There is nothing to save: a resumed training sees the
    batches that it would have seen. Draws are numbered through. Without weights, each n draws of n fields are a
    permutation in which every field comes once; with weights w, field i comes ⌊n wᵢ / Σw⌋ or ⌈n wᵢ / Σw⌉ times
    (systematic resampling, the least variance that drawing can have).

    Parameters
    ----------
    crops : CropSet
    percentiles : numpy.ndarray
        float32 (F, 4 channels, 4 of p1, p50, p99, p99.9), brightness of the fields of `crops.image_ids`.
    targets : numpy.ndarray
        float32 (n, 19) in 0…1, a row a cell of the crop set; −1 where a class is to be ignored.
    fields : numpy.ndarray
        Numbers of the fields to draw from.
    batch_size : int
        Cells a step.
    steps : int
        Steps an epoch.
    seed : int
    cells_per_field : int
        Cells drawn of a field at a time; a field with fewer repeats them. One is best: cells of a field are alike.
    weights : numpy.ndarray, optional
        How often each of `fields` comes, relative to the others.
    preferred : numpy.ndarray, optional
        bool (n,): cells that are drawn before the others of their field.

    Attributes
    ----------
    epoch : int
        Set by `training.Checkpoint` when an epoch begins.

    Notes
    -----
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
        cells_per_field: int = 1,
        weights: np.ndarray | None = None,
        preferred: np.ndarray | None = None,
    ):
        super().__init__()
        if not len(fields):
            raise ValueError("no fields to learn from: no field of the train split has cells")
        if batch_size % cells_per_field:
            raise ValueError(f"batch_size is {batch_size}; expected a multiple of cells_per_field, {cells_per_field}")
        self.crops, self.percentiles, self.targets, self.epoch = crops, percentiles, targets, 0
        self.fields, self.weights = np.asarray(fields), weights
        self.batch_size, self.steps, self.seed, self.cells_per_field = batch_size, steps, seed, cells_per_field
        preferred = np.zeros(len(crops), bool) if preferred is None else preferred
        order = np.lexsort((~preferred, crops.field))  # the cells of each field together, preferred ones first
        self._order, self._n_preferred = order, np.bincount(crops.field[preferred], minlength=len(crops.image_ids))
        self._start = np.searchsorted(crops.field[order], np.arange(len(crops.image_ids) + 1))
        self._permutation = functools.lru_cache(maxsize=4)(self._draw_permutation)

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int):
        cells = self.draw(self.epoch * self.steps + step)
        return (self.crops.read(cells), self.percentiles[self.crops.field[cells]]), self.targets[cells]

    def draw(self, step: int) -> np.ndarray:
        """Numbers of the cells, int (B,), of a step counted from the first epoch's first."""
        n, count = len(self.fields), self.batch_size // self.cells_per_field
        draws = [divmod(step * count + place, n) for place in range(count)]
        return np.concatenate([self._draw_cells(*draw) for draw in draws])

    def _draw_permutation(self, turn: int) -> np.ndarray:
        rng, n = np.random.default_rng([self.seed, turn]), len(self.fields)
        if self.weights is None:
            return self.fields[rng.permutation(n)]
        cumulated = np.cumsum(self.weights)
        drawn = np.searchsorted(cumulated * (n / cumulated[-1]), rng.random() + np.arange(n), side="right")
        last = np.flatnonzero(self.weights)[-1]  # the sum may be rounded down
        return self.fields[rng.permutation(np.minimum(drawn, last))]

    def _draw_cells(self, turn: int, place: int) -> np.ndarray:
        field = self._permutation(turn)[place]
        rng, first = np.random.default_rng([self.seed, turn, place]), self._n_preferred[field]
        cells = self._order[self._start[field] : self._start[field + 1]]
        return np.resize(np.r_[rng.permutation(cells[:first]), rng.permutation(cells[first:])], self.cells_per_field)


def rare_weights(labels: np.ndarray, most: float) -> np.ndarray:
    """How often each field is drawn, by the inverse frequency of its set of labels (F, 19): from 1 to `most`."""
    _, number, count = np.unique(labels > 0, axis=0, return_inverse=True, return_counts=True)
    return np.minimum(count.max() / count, most)[number.ravel()]
