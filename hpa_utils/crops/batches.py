"""Batches of crops for a network: bags and cells drawn, only the drawn crops decoded.

A batch is a pure function of its number. `training_batches` and `cell_batches` make them in threads (OpenCV lets go
of Python's lock), in plain NumPy, for any framework; `training_dataset` makes the same in tf.data.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from hpa_utils.crops.reading import Bags
from hpa_utils.crops.sampling import BagSampler
from hpa_utils.labels import N_CLASSES
from hpa_utils.segmentation.stream import ahead


@dataclass(frozen=True)
class Batch:
    """A batch of B bags of K cells, NumPy arrays; bags with fewer cells end in blanks.

    Attributes
    ----------
    inputs : dict
        `cells` uint8 (B, K, S, S, 4), order red, green, blue, yellow; `percentiles` float32 (B, 4, 4); `valid`
        float32 (B, K), 0 for a blank.
    targets : dict
        `cells` float32 (B, K, 19), `field` float32 (B, 19).
    weights : dict
        `cells` float32 (B, K), the validity; `field` float32 (B,), ones.
    bags : numpy.ndarray
        int64 (B,), numbers of the bags.
    positions : numpy.ndarray
        int64 (B, K), which cells of `bags.table["cell_ids"]` they are; −1 for a blank.
    """

    inputs: dict
    targets: dict
    weights: dict
    bags: np.ndarray
    positions: np.ndarray


def training_batches(
    bags: Bags, sampler: BagSampler, size: int, start: int = 0, cell_targets=None, workers: int = 0
) -> Iterator[Batch]:
    """Batches without end, of the sampler's steps from `start` on; the same whatever the number of workers.

    Parameters
    ----------
    bags : Bags
    sampler : BagSampler
    size : int
        Side of the crops, px (S).
    start : int
        First step, to go on with a run.
    cell_targets : table, optional
        Soft labels: ``cell_targets[number]`` is a float array (n_cells, 19) of a bag's cells in the order of its
        `cell_ids`, −1 where a class is to be ignored. Without it, cells inherit the labels of their field.
    workers : int
        Threads; 0 for one a core. Each makes a batch of its own.

    Raises
    ------
    ValueError
        Naming the field, if a crop cannot be decoded or is of another size, or a table does not fit its cells.
    """
    read = _training_reader(bags, sampler, size, cell_targets)
    return _read_ahead(read, itertools.count(start), workers)


def cell_batches(bags: Bags, numbers: np.ndarray, size: int, batch: int, workers: int = 0) -> Iterator[dict]:
    """All cells of the given bags in order, `batch` at a time (the last may be fewer).

    Yields
    ------
    dict
        `cells` uint8 (N, S, S, 4), `percentiles` float32 (N, 4, 4) of their fields.
    """
    read, steps = _cell_reader(bags, numbers, size, batch)
    return _read_ahead(read, range(steps), workers)


def training_dataset(bags: Bags, sampler: BagSampler, size: int, start: int = 0, cell_targets=None, workers: int = 0):
    """`training_batches` as an endless tf.data pipeline of (inputs, targets, weights), what Keras' `fit` takes.

    Which cells a step shows is what ``sampler.batch(step)`` says: Keras takes no inputs that the model lacks. A
    sampler with a shard gives a host its own rows, so tf.distribute is told not to shard again.
    """
    import tensorflow as tf

    read = _training_reader(bags, sampler, size, cell_targets)
    shape = len(sampler.rows), sampler.cells_per_bag
    inputs = {
        "cells": tf.TensorSpec((*shape, size, size, 4), tf.uint8),
        "percentiles": tf.TensorSpec((shape[0], 4, 4)),
        "valid": tf.TensorSpec(shape),
    }
    targets = {"cells": tf.TensorSpec((*shape, N_CLASSES)), "field": tf.TensorSpec((shape[0], N_CLASSES))}
    weights = {"cells": tf.TensorSpec(shape), "field": tf.TensorSpec(shape[:1])}

    def make(step):
        batch = read(step)
        return batch.inputs, batch.targets, batch.weights

    return _tf_map(tf.data.Dataset.counter(start), make, (inputs, targets, weights), workers)


def _training_reader(bags: Bags, sampler: BagSampler, size: int, cell_targets) -> Callable:
    labels, percentiles = bags.labels.astype(np.float32), bags.percentiles

    def read(step):
        numbers, drawn = sampler.batch(step)
        shape = len(numbers), sampler.cells_per_bag
        crops, positions = np.zeros((*shape, size, size, 4), np.uint8), np.full(shape, -1)
        for row, (number, cells) in enumerate(zip(numbers, drawn)):
            positions[row, : len(cells)] = cells
            _decode(bags, number, cells, crops[row])
        valid = (positions >= 0).astype(np.float32)
        targets = _of_cells(cell_targets, bags, numbers, drawn, shape)
        if targets is None:
            targets = np.repeat(labels[numbers][:, None], shape[1], axis=1)
        return Batch(
            inputs={"cells": crops, "percentiles": percentiles[numbers], "valid": valid},
            targets={"cells": targets, "field": labels[numbers]},
            weights={"cells": valid, "field": np.ones(len(numbers), np.float32)},
            bags=numbers,
            positions=positions,
        )

    return read


def _cell_reader(bags: Bags, numbers: np.ndarray, size: int, batch: int) -> tuple[Callable, int]:
    numbers, percentiles = np.asarray(numbers, np.int64), bags.percentiles
    of_bag = np.repeat(numbers, bags.counts[numbers])
    positions = np.concatenate([np.arange(count) for count in bags.counts[numbers]] or [numbers])

    def read(step):
        part = slice(step * batch, (step + 1) * batch)
        own, own_positions = of_bag[part], positions[part]
        crops = np.zeros((len(own), size, size, 4), np.uint8)
        edges = [0, *np.flatnonzero(np.diff(own)) + 1, len(own)]
        for first, last in itertools.pairwise(edges):
            _decode(bags, own[first], own_positions[first:last], crops[first:last])
        return {"cells": crops, "percentiles": percentiles[own]}

    return read, -(-len(of_bag) // batch)


def _read_ahead(read: Callable, steps: Iterable[int], workers: int) -> Iterator:
    """What `read` makes of each step, in order; twice as many steps are under way as there are threads."""
    workers = workers or os.cpu_count() or 1
    return ahead(read, steps, depth=2 * workers - 1, threads=workers)


def _tf_map(steps, read: Callable, signature, workers: int):
    """What `read` makes of each of `steps` (a tf.data pipeline of numbers), in order, as tensors of the signature."""
    import tensorflow as tf

    specs = tf.nest.flatten(signature)

    def make(step):
        tensors = tf.numpy_function(lambda step: tf.nest.flatten(read(int(step))), [step], [s.dtype for s in specs])
        shaped = [tf.ensure_shape(tensor, spec.shape) for tensor, spec in zip(tensors, specs)]
        return tf.nest.pack_sequence_as(signature, shaped)

    options = tf.data.Options()
    options.experimental_distribute.auto_shard_policy = tf.data.experimental.AutoShardPolicy.OFF
    made = steps.map(make, num_parallel_calls=workers or os.cpu_count() or 1, deterministic=True)
    return made.prefetch(2).with_options(options)


def _decode(bags: Bags, number: int, positions: np.ndarray, crops: np.ndarray) -> None:
    views = bags.views(number)
    for position, place in zip(positions, crops):  # fewer positions than places: the rest stays blank
        crop = cv2.imdecode(views[position], cv2.IMREAD_UNCHANGED)
        if crop is None or crop.shape != place.shape:
            found = "cannot be decoded" if crop is None else f"is {crop.shape}, expected {place.shape}"
            row = bags.table.iloc[number]
            raise ValueError(f"bag of field {row['image_id']}: the crop of cell {row['cell_ids'][position]} {found}")
        cv2.cvtColor(crop, cv2.COLOR_BGRA2RGBA, dst=place)


def _of_cells(table, bags: Bags, numbers: np.ndarray, drawn: list, shape: tuple) -> np.ndarray | None:
    """The drawn cells' rows of a table by bag, float32 (B, K, 19), 0 for blanks."""
    if table is None:
        return None
    rows = np.zeros((*shape, N_CLASSES), np.float32)
    for row, (number, cells) in enumerate(zip(numbers, drawn)):
        of_bag = np.asarray(table[number], np.float32)
        if of_bag.shape != (bags.counts[number], N_CLASSES):
            image_id, expected = bags.table["image_id"][number], (bags.counts[number], N_CLASSES)
            raise ValueError(f"targets of field {image_id} are {of_bag.shape}; expected {expected}")
        rows[row, : len(cells)] = of_bag[cells]
    return rows
