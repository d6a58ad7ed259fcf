"""What the network is built of: four-channel EfficientNets with their weights, and layers for crops.

Keras comes from here too: ``from hpa_utils.model import keras``. TensorFlow's C++ writes some lines on oneDNN and
missing CUDA drivers to the error stream when it is loaded, and no variable turns them off; they look like trouble, and
are none. So the first import sends that stream nowhere. It also turns on oneDNN's convolutions, which TensorFlow leaves
off on most of AMD's CPUs: with them these train 1.7 times as fast (`benchmarks/training.py`).
"""

# ruff: noqa: E402
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
_errors, _nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
os.dup2(_nowhere, 2)
try:
    import keras
finally:
    os.dup2(_errors, 2)
    os.close(_errors)
    os.close(_nowhere)

from hpa_utils.model.efficientnet import BACKBONES, block_names, build_backbone, build_lite0, unfreeze
from hpa_utils.model.layers import (
    Channels,
    FieldNormalisation,
    RandomBlur,
    RandomBrightness,
    RandomRightAngles,
    RandomScale,
)
