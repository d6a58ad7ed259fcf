"""The network of a bag: one net for every cell, its logits pooled to the field's."""

import keras
from keras import layers, ops

from hpa_utils.labels import N_CLASSES
from hpa_utils.model.augmentation import Augmentation
from hpa_utils.model.normalisation import FieldNormalisation
from hpa_utils.model.pooling import FieldPooling, Regroup


def build_bag_model(backbone: keras.Model, size: int, dropout: float = 0.2, seed: int = 0) -> keras.Model:
    """A bag of crops in, logits of its cells and of its field out.

    Parameters
    ----------
    backbone : keras.Model
        float32 (N, S, S, 4) in 0…255 → feature maps.
    size : int
        S, px.
    dropout : float
        Share of the pooled features dropped in training.
    seed : int
        Of augmentation, dropout and the head's first weights.

    Returns
    -------
    keras.Model
        Inputs `cells` uint8 (B, K, S, S, 4), `percentiles` (B, 4, 4), `valid` (B, K); outputs `cells`
        (B, K, 19) and `field` (B, 19), float32 logits of 19 independent classes.
    """
    cells = keras.Input((None, size, size, 4), dtype="uint8", name="cells")
    percentiles = keras.Input((4, 4), name="percentiles")
    valid = keras.Input((None,), name="valid")
    crops = FieldNormalisation(name="normalisation")(cells, percentiles)
    crops = ops.reshape(crops, (-1, size, size, 4))
    crops = Augmentation(seed=seed, name="augmentation")(crops)
    features = backbone(crops, training=False)  # BatchNorm keeps its statistics, also where its block is trained
    pooled = layers.Concatenate(name="average_and_max")(
        [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    )
    pooled = layers.Dropout(dropout, seed=seed)(pooled)
    rare = keras.initializers.Constant(-2.0)  # a class is in some 12 % of the fields
    random = keras.initializers.GlorotUniform(seed)
    logits = layers.Dense(
        N_CLASSES, kernel_initializer=random, bias_initializer=rare, dtype="float32", name="head"
    )(pooled)
    logits = Regroup(name="regroup", dtype="float32")(logits, valid)
    field = FieldPooling(name="pooling", dtype="float32")(logits, valid)
    outputs = {"cells": logits, "field": field}
    return keras.Model({"cells": cells, "percentiles": percentiles, "valid": valid}, outputs, name="bag")
