"""What `fit` needs beside Keras: a state to go on from, scores of held-out cells, and which device computes how."""

import contextlib
import hashlib
import inspect
import json
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from hpa_utils.batches import CellBatches
from hpa_utils.crop_sets import CropSet
from hpa_utils.inference import predict_logits
from hpa_utils.model import keras
from hpa_utils.paths import atomic_write
from hpa_utils.scoring import ranking_scores

HALF_PRECISION = (7, 0)  # compute capability from which NVIDIA's GPUs are faster in float16: a T4 has 7.5


def use_device() -> str:
    """Prepare this process's GPU, if it has one: memory as it is needed, mixed precision where that is faster.

    The precision becomes Keras' policy for models built from now on. Returns device and precision, to print.
    """
    import tensorflow as tf

    found = tf.config.list_physical_devices("GPU")
    for gpu in found:
        with contextlib.suppress(RuntimeError):  # TensorFlow has started already, with or without it
            tf.config.experimental.set_memory_growth(gpu, True)
    details = [tf.config.experimental.get_device_details(gpu) for gpu in found]
    fast = bool(found) and all(gpu.get("compute_capability", (0, 0)) >= HALF_PRECISION for gpu in details)
    keras.config.set_dtype_policy("mixed_float16" if fast else "float32")
    names = [gpu.get("device_name", "GPU") for gpu in details] or ["CPU"]
    return f"{names[0]}, {keras.config.dtype_policy().name}"


def recipe_key(*parts) -> str:
    """SHA-256 of all that decides a training: the given parts, and what the running notebook defines.

    Parts are Keras models (their architecture counts), arrays (their values) and JSON values. Functions and classes of
    the notebook are found by themselves and count by their source: with another loss, an old state is not gone on with.
    """
    digest = hashlib.sha256()
    for part in [*parts, *_sources(sys.modules["__main__"])]:
        if isinstance(part, keras.Model):
            part = part.to_json()
        content = part.tobytes() if isinstance(part, np.ndarray) else json.dumps(part, sort_keys=True).encode()
        digest.update(hashlib.sha256(content).digest())
    return digest.hexdigest()


class Checkpoint(keras.callbacks.Callback):
    """Saves the whole state of a training after each epoch, in one file by one rename, and goes on from it.

    Weights, optimizer, the seeds of random layers and the history are saved, if they are all finite: a training that
    went wrong never replaces the last good state. A training that was cut and is gone on with has the losses of an
    uninterrupted one.

    `key` is of `recipe_key`: a state with another key is not used, and that is said. `batches` are told which epoch
    begins. `phases` has the name of each phase, in order, and its epochs, which are numbered through all of them.
    `deadline` is the Unix time before which the training stops at an epoch's end, 0 for none.

    Of its attributes, `stopped` says whether the deadline came first, and `history` has a row an epoch: `epoch` from 1,
    `phase`, `learning_rate`, the losses and scores, `seconds`.
    """

    def __init__(self, path: str | Path, key: str, batches: CellBatches, phases: dict[str, int], deadline: float = 0.0):
        super().__init__()
        self.path, self.key, self.batches, self.phases = Path(path), key, batches, phases
        self.deadline, self.phase, self.stopped = deadline or float("inf"), "", False
        self.ends = dict(zip(phases, np.cumsum(list(phases.values())).tolist()))
        self.saved = _read_state(self.path, key)
        self.history, self.closed, self.made = [], [], {}
        if self.saved:
            self.history, self.closed, self.made = self.saved["history"], self.saved["closed"], self.saved["made"]
            print(f"goes on after epoch {self.history[-1]['epoch']} of {sum(phases.values())}", flush=True)

    @property
    def finished(self) -> bool:
        """Whether all phases are over."""
        return set(self.closed) == set(self.phases)

    def begin(self, model: keras.Model, phase: str) -> int:
        """Begin a phase, or go on with it; call it between `compile` and `fit`.

        Returns the `initial_epoch` for `fit`: that after the phase's last if it is over already.
        """
        self.set_model(model)
        model.optimizer.build(model.trainable_variables)  # within `fit` it would have the step traced twice
        self.phase, rows = phase, self._rows(phase)
        if self.saved and (self.saved["phase"] == phase or not rows):
            if self.saved["phase"] == phase:
                _assign(model.optimizer.variables, self.saved["optimizer"])
            _assign(model.variables, self.saved["model"])
            self.saved = {}
        if phase not in self.closed and self._is_over():
            self._close()  # cut between its last epoch and its end
        return self.ends[phase] - self.phases[phase] + len(rows)

    def once(self, name: str, make: Callable[[], np.ndarray]) -> np.ndarray:
        """An array that is made once in a training, such as scores between two phases, and saved with its state."""
        if name not in self.made:
            self.made[name] = make()
        return self.made[name]

    def on_epoch_begin(self, epoch, logs=None):
        self.batches.epoch, self.begun = epoch, time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        row = {"epoch": epoch + 1, "phase": self.phase, "learning_rate": float(self.model.optimizer.learning_rate)}
        row |= {name: float(value) for name, value in logs.items()} | {"seconds": time.monotonic() - self.begun}
        if not np.isfinite(row["loss"]):
            raise ValueError(
                f"the loss is {row['loss']} in epoch {epoch + 1}; the state of the epoch before is kept. "
                "Lower the learning rate, or train in float32"
            )
        self.history.append(row)
        self._write()
        self._tell(row, logs)
        self.stopped = epoch + 1 < sum(self.phases.values()) and time.time() + 1.2 * row["seconds"] > self.deadline
        if self.stopped:
            print("stopped before the deadline; the same run goes on from here", flush=True)
        self.model.stop_training = self.stopped

    def on_train_end(self, logs=None):
        if self._is_over():
            self._close()

    def discard(self) -> None:
        """Remove the file, once the model is saved."""
        self.path.unlink(missing_ok=True)

    def _rows(self, phase: str) -> list[dict]:
        return [row for row in self.history if row["phase"] == phase]

    def _is_over(self) -> bool:
        """Whether the phase has had its epochs."""
        return len(self._rows(self.phase)) >= self.phases[self.phase]

    def _close(self) -> None:
        """End a phase: a moving average of the weights, where there is one, takes the place of the last ones."""
        self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        self.closed = [*self.closed, self.phase]
        self._write()

    def _write(self) -> None:
        values = {"model": _values(self.model.variables), "optimizer": _values(self.model.optimizer.variables)}
        for variable, value in zip(self.model.variables, values["model"], strict=True):
            if not np.isfinite(value).all():
                raise ValueError(
                    f"{variable.path} is not finite after epoch {self.history[-1]['epoch']}; the state of the epoch "
                    "before is kept. Lower the learning rate, or train in float32"
                )
        told = {"key": self.key, "phase": self.phase, "history": self.history, "closed": self.closed}
        told["made"] = list(self.made)
        told |= {name: len(part) for name, part in values.items()}
        arrays = {f"{name}{number}": value for name, part in values.items() for number, value in enumerate(part)}
        arrays |= {f"made {name}": value for name, value in self.made.items()}
        with atomic_write(self.path) as temporary, open(temporary, "wb") as file:
            np.savez(file, told=np.array(json.dumps(told)), **arrays)

    def _tell(self, row: dict, logs: dict) -> None:
        total = sum(self.phases.values())
        scores = ", ".join(f"{name} {row[name]:.4f}" for name in logs)
        text = f"epoch {row['epoch']} of {total}, {self.phase}: {scores}, {row['seconds']:.1f} s"
        if row["epoch"] < total:
            left = (total - row["epoch"]) * row["seconds"]
            left = f"{left / 60:.0f} min" if left >= 90 else f"{left:.0f} s"
            more = "" if self.phase == list(self.phases)[-1] else "at least "  # later phases train more layers
            text += f"; {more}{left} left"
        print(text, flush=True)


class Validation(keras.callbacks.Callback):
    """Adds `val_loss` and `val_ap` of held-out cells to an epoch's scores, by the moving average where there is one.

    The network (without augmentation), crops, percentiles and cells are those of `inference.predict_logits`; labels
    (len(cells), 19) are 1, 0, or −1 where unknown; the loss is a function of labels and logits, as given to `compile`.
    """

    def __init__(self, network, crops: CropSet, percentiles, cells, labels: np.ndarray, loss):
        super().__init__()
        self.given = network, crops, percentiles, cells
        self.labels, self.loss = np.asarray(labels, np.float32), loss

    def on_epoch_end(self, epoch, logs=None):
        with averaged_weights(self.model):
            logits = predict_logits(*self.given)
        logs["val_loss"] = float(np.mean(self.loss(self.labels, logits)))
        scores = ranking_scores(self.labels, logits) if np.isfinite(logits).all() else {}
        logs["val_ap"] = scores.get("mean_average_precision") or float("nan")


def watched_cells(crops: CropSet, fields: np.ndarray, also: np.ndarray, most: int = 4) -> np.ndarray:
    """Numbers of up to `most` cells of each of the given fields, the same ones every time, and of the cells `also`."""
    own = np.flatnonzero(np.isin(crops.field, fields))
    place = np.arange(len(own)) - np.searchsorted(crops.field[own], crops.field[own])  # within the field
    return np.union1d(own[place < most], np.intersect1d(own, also))


@contextlib.contextmanager
def averaged_weights(model: keras.Model):
    """Put the optimizer's moving average of the weights (`use_ema`) in their place while the block runs."""
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    if not optimizer.use_ema:
        yield
        return
    kept = _values(model.trainable_variables)
    optimizer.finalize_variable_values(model.trainable_variables)
    try:
        yield
    finally:
        _assign(model.trainable_variables, kept)


def _sources(module) -> list[str]:
    """Source of the functions, and of the classes' methods, that a module defines, in the order of their names."""
    found = []
    for name, one in sorted(vars(module).items()):
        if getattr(one, "__module__", None) != module.__name__:
            continue
        functions = [one] if inspect.isfunction(one) else []
        if inspect.isclass(one):
            functions = [value for _, value in sorted(vars(one).items()) if inspect.isfunction(value)]
        for function in functions:
            with contextlib.suppress(OSError):  # typed at a prompt: it has no source
                found.append(name + inspect.getsource(function))
    return found


def _values(variables) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(variable).copy() for variable in variables]


def _assign(variables, values: list[np.ndarray]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


def _read_state(path: Path, key: str) -> dict:
    """A saved state; empty where there is none of this key."""
    if not path.is_file():
        return {}
    try:
        with np.load(path) as file:
            state = json.loads(str(file["told"]))
            for name in ("model", "optimizer"):
                state[name] = [file[f"{name}{number}"] for number in range(state[name])]
            state["made"] = {name: file[f"made {name}"] for name in state["made"]}
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        print(f"the saved state cannot be read ({error}): the training starts anew", flush=True)
        return {}
    if state["key"] != key:
        print("the saved state is of another recipe: the training starts anew", flush=True)
        return {}
    return state
