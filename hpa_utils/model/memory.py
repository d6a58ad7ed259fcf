"""Parameters of a model and the memory that a training step of it needs."""

from collections.abc import Iterator

import keras
import numpy as np

_KEEP_INPUTS = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.Dense,
    keras.layers.Activation,
    keras.layers.Multiply,
    keras.layers.GlobalMaxPooling2D,
)


def summary(model: keras.Model, bags_per_batch: int, cells_per_bag: int, ema: bool = False) -> dict[str, int]:
    """Print and return a model's parameters and the estimated GPU memory of a training step, on one device.

    Parameters
    ----------
    model : keras.Model
        As it will be trained: what is trainable and the precision count.
    bags_per_batch, cells_per_bag : int
        A step's batch holds their product of cells.
    ema : bool
        Whether the optimizer keeps a moving average of the weights.

    Returns
    -------
    dict
        `parameters`, `trainable` (numbers), and in bytes `weights`, `gradients`, `optimizer`, `ema`, `activations`
        and their sum `total`.

    Notes
    -----
    Estimated: float32 weights (and their copies of half the size in mixed precision); a gradient and Adam's two
    moments for each trainable weight; from the first trainable layer on, what backpropagation needs of each cell:
    the inputs of convolutions, dense layers, activations, products, maxima and BatchNorm in training, the outputs of
    ReLU; and the largest output twice more, for what is being computed. Not estimated: what the backend fuses away
    or computes anew, workspaces of convolutions, fragmentation, and what CUDA and the backend take for themselves,
    some hundred MB.
    """
    parameters = _count(model.weights)
    trainable = _count(model.trainable_weights)
    layers = list(_flat_layers(model))
    largest = max(_bytes(layer.output) for layer in layers)
    first = next((number for number, layer in enumerate(layers) if layer.trainable_weights), len(layers))
    halves = sum(_count(layer.weights) for layer in layers if layer.compute_dtype != "float32")
    sizes = {
        "weights": 4 * parameters + 2 * halves,
        "gradients": 4 * trainable,
        "optimizer": 8 * trainable,
        "ema": 4 * trainable if ema else 0,
        "activations": bags_per_batch * cells_per_bag * (_kept_bytes(layers[first:]) + 2 * largest),
    }
    sizes["total"] = sum(sizes.values())
    print(f"{parameters:,} parameters, {trainable:,} of them trained")
    print(f"a training step on {bags_per_batch} bags of {cells_per_bag} cells takes about, in MB:")
    print(", ".join(f"{name} {size / 1e6:,.0f}" for name, size in sizes.items()))
    return {"parameters": parameters, "trainable": trainable} | sizes


def _flat_layers(model: keras.Model) -> Iterator[keras.Layer]:
    """The layers of a model and of the models in it, from input to output; none that hand on what they get."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat_layers(layer)
        elif not isinstance(layer, (keras.layers.InputLayer, keras.layers.Dropout)):
            yield layer


def _kept_bytes(layers: list[keras.Layer]) -> int:
    """Bytes for one cell that the layers keep until backpropagation, a tensor that several need counted once."""
    kept = {}
    for layer in layers:
        normalises = isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        if normalises or isinstance(layer, _KEEP_INPUTS):
            # BatchNorm in training works on a float32 copy
            kept |= {(id(given), normalises): _bytes(given, normalises) for given in keras.tree.flatten(layer.input)}
        elif isinstance(layer, keras.layers.ReLU):
            kept[id(layer.output), False] = _bytes(layer.output)
    return sum(kept.values())


def _bytes(tensor: keras.KerasTensor, as_float32: bool = False) -> int:
    """Bytes of a layer's input or output for one cell."""
    width = 2 if "float16" in tensor.dtype and not as_float32 else 4
    return width * int(np.prod([length for length in tensor.shape if length]))


def _count(weights) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)
