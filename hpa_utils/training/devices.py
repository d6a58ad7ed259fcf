"""Which devices train, and in which precision: decided here and nowhere else."""

from dataclasses import dataclass

PRECISIONS = ("auto", "float32", "mixed_float16")
HALF_PRECISION = (7, 0)  # compute capability from which NVIDIA's GPUs are faster in float16: a T4 has 7.5, a P100 6.0


@dataclass(frozen=True)
class Devices:
    """What a model is built and trained under.

    Attributes
    ----------
    strategy : tf.distribute.Strategy
        Mirrored where there are several devices of the kind, else TensorFlow's default.
    precision : str
        Keras' dtype policy.
    names : tuple of str
    """

    strategy: object
    precision: str
    names: tuple

    def __str__(self):
        return f"{', '.join(self.names)}; {self.precision}"


def choose_devices(precision: str = "auto") -> Devices:
    """All GPUs, else the CPU; mixed precision on GPUs that gain by it; their memory is taken as it is needed.

    Parameters
    ----------
    precision : {"auto", "float32", "mixed_float16"}
        ``auto``: mixed_float16 where all GPUs have units for it, float32 elsewhere. It becomes Keras' policy for models
        built from now on.

    Raises
    ------
    ValueError
        If the precision is none of these.
    """
    import keras
    import tensorflow as tf

    if precision not in PRECISIONS:
        raise ValueError(f"training.precision is {precision!r}; expected one of {', '.join(PRECISIONS)}")
    found = tf.config.list_physical_devices("GPU")
    for gpu in found:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            pass  # TensorFlow has started already, with or without it
    gpus = tf.config.list_logical_devices("GPU")
    devices = [device.name for device in gpus or tf.config.list_logical_devices("CPU")]
    strategy = tf.distribute.MirroredStrategy(devices) if len(devices) > 1 else tf.distribute.get_strategy()
    if precision == "auto":
        details = [tf.config.experimental.get_device_details(gpu) for gpu in found]
        fast = [gpu.get("compute_capability", (0, 0)) >= HALF_PRECISION for gpu in details]
        precision = "mixed_float16" if gpus and all(fast) else "float32"
    keras.config.set_dtype_policy(precision)
    return Devices(strategy, precision, tuple(name.removeprefix("/device:") for name in devices))
