"""The network, in `keras` alone: four-channel EfficientNet, cells' logits, the field's pooled from them."""

from hpa_utils.model import backend  # noqa: F401  isort: skip  (first: it imports Keras in silence)
from hpa_utils.model.bag import build_bag_model
from hpa_utils.model.efficientnet import BACKBONES, block_names, build_backbone, build_lite0, unfreeze
from hpa_utils.model.normalisation import FieldNormalisation
from hpa_utils.model.pooling import FieldPooling

__all__ = [
    "BACKBONES",
    "FieldNormalisation",
    "FieldPooling",
    "block_names",
    "build_backbone",
    "build_bag_model",
    "build_lite0",
    "unfreeze",
]
