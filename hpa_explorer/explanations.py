"""Which of the protein's light speaks for each class, and which against it."""

from collections.abc import Sequence

import cv2
import numpy as np

from hpa_utils.labels import N_CLASSES
from hpa_utils.model import keras

STEPS = 8  # of the path
BLUR = 1 / 24  # of the crop's side, a standard deviation: 4 px of 96; finer than that the maps are noise
GREEN = 1


def explain_cells(
    network: keras.Model,
    crops: np.ndarray,
    percentiles: np.ndarray,
    labels: Sequence[int] | None = None,
    batch_size: int = 64,
) -> np.ndarray:
    """What the protein's light adds to the logits of a cell, place by place, smoothed.

    Integrated gradients (Sundararajan, Taly and Yan 2017) along the path from the cell without its protein, green
    all 0, to the cell as it is; the other channels stay. The sum of a map is by how much the protein raises the logit,
    up to the error of an integral of few steps. What the network takes from the other channels is on no map. The maps
    are smoothed by a 24th of the crop's side.

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
    Chosen by measurement (``benchmarks/explanations.py``, ``docs/explore.md``). The maps do not show where the
    structure is: the protein channel does that better. They tell which of a cell's light counts for which class.
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
            plain = np.mean(steps, axis=0) * cells[..., GREEN]
            maps[part, place] = [cv2.GaussianBlur(one, (0, 0), BLUR * one.shape[1]) for one in plain]
    return maps


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
