"""What the network is built of: four-channel EfficientNets with their weights, and layers for crops."""

# ruff: noqa: F401  (what is imported here is the package's interface)
from hpa_utils.model import backend  # isort: skip  (first: it imports Keras in silence)
from hpa_utils.model.efficientnet import BACKBONES, block_names, build_backbone, build_lite0, unfreeze
from hpa_utils.model.layers import (
    FieldNormalisation,
    RandomBlur,
    RandomGreen,
    RandomNoise,
    RandomRightAngles,
    RandomScale,
    RandomTurn,
)
