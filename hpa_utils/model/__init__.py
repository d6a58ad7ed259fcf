"""The network, in `keras` alone: four-channel EfficientNet, cells' logits, the field's pooled from them."""

from hpa_utils.model import backend  # noqa: F401  isort: skip  (first: it imports Keras in silence)
from hpa_utils.model.augmentation import AugmentationConfig
from hpa_utils.model.bag import ModelConfig, build_bag_model, cell_model
from hpa_utils.model.batch_norm import estimate_batch_norm
from hpa_utils.model.efficientnet import BACKBONES, block_names, build_backbone, build_lite0, unfreeze
from hpa_utils.model.memory import summary
from hpa_utils.model.normalisation import FieldNormalisation
from hpa_utils.model.pooling import FieldPooling, pool_fields
from hpa_utils.model.prediction import CELL_COLUMNS, FIELD_COLUMNS, predict_bags

__all__ = [
    "BACKBONES",
    "CELL_COLUMNS",
    "FIELD_COLUMNS",
    "AugmentationConfig",
    "FieldNormalisation",
    "FieldPooling",
    "ModelConfig",
    "block_names",
    "build_backbone",
    "build_bag_model",
    "build_lite0",
    "cell_model",
    "estimate_batch_norm",
    "pool_fields",
    "predict_bags",
    "summary",
    "unfreeze",
]
