"""Where in its crop the network sees each class, and how much of that lies on a structure whose place is known."""

from collections.abc import Sequence

import numpy as np

from hpa_utils.labels import N_CLASSES
from hpa_utils.model import keras

STEPS = 8  # of the path; the shares on the structure were the same with 4 and with 16
GREEN = 1


def explain_cells(
    network: keras.Model,
    crops: np.ndarray,
    percentiles: np.ndarray,
    labels: Sequence[int] | None = None,
    batch_size: int = 64,
) -> np.ndarray:
    """What each pixel of the protein channel adds to the logits of a cell.

    Integrated gradients (Sundararajan, Taly and Yan 2017) along the path from the cell without its protein, green
    all 0, to the cell as it is; the other channels stay. The sum of a map is by how much the protein raises the logit,
    up to the error of an integral of few steps. What the network takes from the other channels is on no map.

    Parameters
    ----------
    network : keras.Model
        As of `predict_logits`, on TensorFlow.
    crops : numpy.ndarray
        uint8 (N, S, S, 4), channel order red, green, blue, yellow.
    percentiles : numpy.ndarray
        float32 (N, 4, 4), brightness of the cells' fields.
    labels : sequence of int, optional
        The classes wanted, in this order; all 19 by default. Each takes `STEPS` forward and backward passes.
    batch_size : int
        Cells a step.

    Returns
    -------
    numpy.ndarray
        float32 (N, labels, S, S): above 0 where green speaks for the class, below 0 where it speaks against it.

    Raises
    ------
    ValueError
        If a label is none of 0…18, or there are not as many percentiles as crops.

    Notes
    -----
    Chosen by measurement (``benchmarks/explanations.py``). Class activation maps of the last layer, 3 × 3 places for
    crops of 96 px, lie on the organelle no more than by chance. These maps lie there about as much as the protein's
    light, and tell two patterns of a cell apart. Single pixels are noisy; a blur of a pixel or two makes them legible.
    """
    labels = list(range(N_CLASSES) if labels is None else labels)
    if not set(labels) <= set(range(N_CLASSES)):
        raise ValueError(f"labels are {labels}; expected some of 0…{N_CLASSES - 1}")
    if len(percentiles) != len(crops):
        raise ValueError(f"percentiles of {len(percentiles)} cells for {len(crops)} crops; expected one (4, 4) each")
    maps = np.zeros((len(crops), len(labels), *crops.shape[1:3]), np.float32)
    slopes = _green_slopes(network)
    for start in range(0, len(crops) if labels else 0, batch_size):
        part = slice(start, start + batch_size)
        cells, brightness = np.float32(crops[part]), np.float32(percentiles[part])
        for place, label in enumerate(labels):
            steps = [slopes(cells, brightness, (step + 0.5) / STEPS, label) for step in range(STEPS)]
            maps[part, place] = np.mean(steps, axis=0) * cells[..., GREEN]
    return maps


def energy_share(maps: np.ndarray, structure: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How much of what speaks for a class, of all that does within the cell, lies on the class's structure.

    Parameters
    ----------
    maps : numpy.ndarray
        float (…, S, S); what is below 0 counts as 0.
    structure, cell : numpy.ndarray
        bool, of a shape that goes with that of the maps; the structure counts where the cell is.

    Returns
    -------
    share : numpy.ndarray
        float64 (…), 0…1; nan where the map is nowhere above 0 in the cell.
    chance : numpy.ndarray
        The structure's share of the cell's area, what an even map would have; nan for a cell without pixels.
    """
    within = np.maximum(np.asarray(maps, np.float64), 0) * cell
    on_structure = np.broadcast_to(np.asarray(structure, bool) & cell, within.shape)
    cell = np.broadcast_to(cell, within.shape)
    with np.errstate(invalid="ignore"):
        share = (within * on_structure).sum((-2, -1)) / within.sum((-2, -1))
        chance = on_structure.sum((-2, -1)) / cell.sum((-2, -1))
    return share, chance


def _green_slopes(network: keras.Model):
    """A function of crops, percentiles, a share of their green and a label: ∂ logit / ∂ green, float32 (N, S, S)."""
    import tensorflow as tf

    is_green = np.arange(4) == GREEN

    @tf.function(reduce_retracing=True)
    def slopes(crops, percentiles, share, label):
        partial = tf.where(is_green, share * crops, crops)
        with tf.GradientTape() as tape:
            tape.watch(partial)
            logit = tf.reduce_sum(network([partial, percentiles], training=False)[:, label])
        return tape.gradient(logit, partial)[..., GREEN]

    return lambda *values: slopes(*map(tf.constant, values)).numpy()
