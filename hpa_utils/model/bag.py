"""The network of a bag: one net for every cell, its logits pooled to the field's."""

from dataclasses import dataclass

import keras
from keras import layers, ops

from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.model.augmentation import Augmentation, AugmentationConfig, CellDrop
from hpa_utils.model.efficientnet import BACKBONES, BATCH_NORMS
from hpa_utils.model.normalisation import SCALES, FieldNormalisation
from hpa_utils.model.pooling import NEGATIVE_POOLINGS, POOLINGS, FieldPooling, FillPadding, Regroup

ATTENTION_UNITS = 128  # as in Ilse, Tomczak and Welling 2018


@dataclass(frozen=True)
class ModelConfig:
    """What the network is made of.

    Attributes
    ----------
    backbone : str
        One of `BACKBONES`.
    weights : str
        ``"imagenet"``, ``"none"`` or the path of a weight file (`build_backbone`).
    batch_norm : {"frozen", "estimated", "trained"}
        BatchNorm keeps ImageNet's statistics; or those of our crops, estimated before training
        (`estimate_batch_norm`); or it is trained with the blocks that are (`unfreeze`).
    reference, protein : {"percentiles", "fixed"}
        Brightness of red, blue and yellow, and of green: stretched by the field's percentiles, or as it is.
    pooling : {"mean", "log_sum_exp", "max", "noisy_or", "attention"}
        How the field's logits come from its cells' (`FieldPooling`).
    negative : {"min", "product", "none"}
        The same for class 18; ``"none"`` leaves it out of the field's loss.
    dropout : float
        Share (0 ≤ … < 1) of the pooled features dropped in training.
    """

    backbone: str = "lite0"
    weights: str = "imagenet"
    batch_norm: str = "frozen"
    reference: str = "percentiles"
    protein: str = "fixed"
    pooling: str = "mean"
    negative: str = "min"
    dropout: float = 0.2

    def __post_init__(self):
        choices = {"backbone": BACKBONES, "batch_norm": BATCH_NORMS, "reference": SCALES, "protein": SCALES}
        choices |= {"pooling": POOLINGS, "negative": NEGATIVE_POOLINGS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"model.{name} is {getattr(self, name)!r}; expected one of {', '.join(known)}")
        if not self.weights:
            raise ValueError("model.weights is empty; expected imagenet, none or the path of a .h5 file")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"model.dropout is {self.dropout}; expected a share 0 ≤ … < 1")


def build_bag_model(
    backbone: keras.Model,
    size: int,
    config: ModelConfig = ModelConfig(),
    augmentation: AugmentationConfig | None = None,
    seed: int = 0,
) -> keras.Model:
    """A bag of crops in, logits of its cells and of its field out.

    Parameters
    ----------
    backbone : keras.Model
        Of `build_backbone`: float32 (N, S, S, 4) in 0…255 → feature maps.
    size : int
        S, px.
    config : ModelConfig
        Its `backbone` and `weights` are those of the given backbone already.
    augmentation : AugmentationConfig, optional
        In training only; None: that of its defaults.
    seed : int
        Of augmentation, dropout and the head's first weights.

    Returns
    -------
    keras.Model
        Inputs `cells` uint8 (B, K, S, S, 4), `percentiles` (B, 4, 4), `valid` (B, K); outputs `cells`
        (B, K, 19) and `field` (B, 19), float32 logits of 19 independent classes, in mixed precision too. The
        layer ``backbone`` is the given one.
    """
    augmentation = augmentation or AugmentationConfig()
    cells = keras.Input((None, size, size, 4), dtype="uint8", name="cells")
    percentiles = keras.Input((4, 4), name="percentiles")
    valid = keras.Input((None,), name="valid")
    crops = FieldNormalisation(config.reference, config.protein, name="normalisation")(cells, percentiles)
    crops = FillPadding(name="filling", dtype="float32")(crops, valid)
    crops = ops.reshape(crops, (-1, size, size, 4))
    crops = Augmentation(augmentation, seed, name="augmentation")(crops)
    features = backbone(crops)  # in training too, a BatchNorm that is not trainable keeps its statistics
    pooled = layers.Concatenate(name="average_and_max", dtype="float32")(
        [layers.GlobalAveragePooling2D(dtype="float32")(features), layers.GlobalMaxPooling2D(dtype="float32")(features)]
    )
    pooled = layers.Dropout(config.dropout, seed=seed, dtype="float32")(pooled)
    rare = keras.initializers.Constant(-2.0)  # a class is in some 12 % of the fields
    random = keras.initializers.GlorotUniform(seed)
    head = layers.Dense(N_CLASSES, kernel_initializer=random, bias_initializer=rare, dtype="float32", name="head")
    logits = Regroup(name="regroup", dtype="float32")(head(pooled), valid)
    scores = [_attention_scores(pooled, valid, seed)] if config.pooling == "attention" else []
    counted = CellDrop(augmentation.cell_drop, seed, name="cell_drop")(valid) if augmentation.cell_drop else valid
    field = FieldPooling(config.pooling, config.negative, name="pooling")(logits, counted, *scores)
    outputs = {"cells": logits, "field": field}
    return keras.Model({"cells": cells, "percentiles": percentiles, "valid": valid}, outputs, name="bag")


def cell_model(model: keras.Model) -> keras.Model:
    """The part of a bag model that sees one cell at a time: what `pool_fields` needs of each.

    Inputs are the bag model's. Outputs are `cells` (B, K, 19), the logits, and with attention pooling `attention`
    (B, K, 18), the scores. A cell's outputs do not depend on the others of its bag, so that bags of one cell do.
    """
    outputs = {"cells": model.get_layer("regroup").output}
    if model.get_layer("pooling").pooling == "attention":
        outputs["attention"] = model.get_layer("attention").output
    return keras.Model(model.input, outputs, name="cells")


def _attention_scores(features, valid, seed):
    """Gated attention, w · (tanh(V h) ⊙ σ(U h)), with a w for each class but Negative; equal scores at first."""
    units = {"units": ATTENTION_UNITS, "dtype": "float32"}
    random = [keras.initializers.GlorotUniform(seed + number) for number in (1, 2)]
    looked = layers.Dense(**units, activation="tanh", kernel_initializer=random[0], name="attention_tanh")(features)
    gate = layers.Dense(**units, activation="sigmoid", kernel_initializer=random[1], name="attention_gate")(features)
    gated = layers.Multiply(dtype="float32")([looked, gate])
    scores = layers.Dense(NEGATIVE, kernel_initializer="zeros", dtype="float32", name="attention_weight")(gated)
    return Regroup(name="attention", dtype="float32")(scores, valid)
