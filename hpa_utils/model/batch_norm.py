"""Statistics of BatchNorm estimated anew: ImageNet's are of photographs, not of cells on black."""

from collections.abc import Iterable

import keras
import numpy as np


def estimate_batch_norm(model: keras.Model, batches: Iterable[dict]) -> int:
    """Set the moving mean and variance of the backbone's BatchNorm layers to those of crops; returns how many batches.

    Parameters
    ----------
    model : keras.Model
        A bag model (`build_bag_model`). Nothing else of it changes, what is trainable included.
    batches : iterable of dict
        Inputs of the model, as `training_dataset` gives them first; 50 batches of 32 cells are plenty. Padding and
        augmentation have no part in it.

    Raises
    ------
    ValueError
        If there is no batch.

    Notes
    -----
    Each batch passes through normalised by its own statistics, and a layer's are then put together over all
    batches: the mean of the means, and the mean of variance + mean² less the square of that ("precise BatchNorm",
    Wu and Johnson 2021).
    """
    backbone = model.get_layer("backbone")
    crops_of = keras.Model(model.input, model.get_layer("augmentation").input)
    norms = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    kept = [(layer.trainable, layer.momentum) for layer in norms]
    sums, count = [0.0] * len(norms), 0
    try:
        for layer in norms:
            layer.trainable, layer.momentum = True, 0.0  # 0: a batch's own statistics, not a running mean
        for batch in batches:
            backbone(crops_of(batch, training=False), training=True)
            for number, layer in enumerate(norms):
                mean, variance = (np.asarray(value, np.float64) for value in layer.get_weights()[-2:])
                sums[number] = sums[number] + np.stack([mean, variance + mean**2])
            count += 1
    finally:
        for layer, (trainable, momentum) in zip(norms, kept):
            layer.trainable, layer.momentum = trainable, momentum
    if not count:
        raise ValueError("no batch to estimate the statistics of BatchNorm from")
    for layer, total in zip(norms, sums):
        mean, square = total / count
        layer.set_weights([*layer.get_weights()[:-2], mean, np.maximum(square - mean**2, 0.0)])
    return count
