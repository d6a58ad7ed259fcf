"""How far a training run has come, saved so that the next session goes on from there."""

import dataclasses
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from hpa_utils.paths import atomic_write, write_json


@dataclass
class Progress:
    """Where a run is: phase, epoch and step are the next ones to do.

    Attributes
    ----------
    phase, epoch, step : int
        Number of the phase; of the epoch in it; of the step in that.
    history : list of dict
        A row a finished epoch.
    partial : dict
        Mean losses over the steps done of the epoch under way.
    best, since_best : float, int
        Best validation score of the phase, and the epochs that have passed since.
    """

    phase: int = 0
    epoch: int = 0
    step: int = 0
    history: list = field(default_factory=list)
    partial: dict = field(default_factory=dict)
    best: float = -1.0
    since_best: int = 0


class Saves:
    """The saved state of one run in a folder: ``state.json``, and the weights that it names.

    The weights are written first, under a new name, and the JSON then replaced in one rename: a kill leaves the old
    state or the new one.

    Parameters
    ----------
    folder : path
    recipe : str
        Digest of all that decides the run; a state of another one is not gone on with.
    """

    def __init__(self, folder: str | Path, recipe: str):
        self.folder, self.recipe, self.written = Path(folder), recipe, time.monotonic()

    def read(self) -> Progress | None:
        """The saved progress, where there is one of this recipe."""
        content = self._content()
        return Progress(**content["progress"]) if content else None

    def load(self, model) -> None:
        """Weights, optimizer and the state of random layers into a model compiled and built as it was saved."""
        content = self._content()
        model.load_weights(self.folder / content["weights"])
        for variable, state in zip(_random_states(model), content["random"], strict=True):
            variable.assign(np.array(state, variable.dtype))

    def write(self, model, progress: Progress) -> None:
        """Save both, and remove the state before."""
        name = f"state-{progress.phase}-{progress.epoch}-{progress.step}.weights.h5"
        with atomic_write(self.folder / name) as temporary:
            model.save_weights(temporary)
        random = [np.asarray(variable).tolist() for variable in _random_states(model)]
        content = {"recipe": self.recipe, "weights": name, "random": random, "progress": dataclasses.asdict(progress)}
        write_json(self.folder / "state.json", content)
        for path in self.folder.glob("state-*.weights.h5"):
            if path.name != name:
                path.unlink()
        self.written = time.monotonic()

    def is_due(self, minutes: float) -> bool:
        """Whether so much time has passed since the last save, or since the start."""
        return time.monotonic() - self.written >= 60 * minutes

    def keep_best(self, model) -> None:
        """Save the weights of the best epoch so far."""
        with atomic_write(self.folder / "best.weights.h5") as temporary:
            model.save_weights(temporary)

    def load_best(self, model) -> None:
        """The weights of the best epoch."""
        model.load_weights(self.folder / "best.weights.h5")

    def _content(self) -> dict:
        path = self.folder / "state.json"
        try:
            content = json.loads(path.read_text())
        except (OSError, ValueError):
            return {}
        whole = content.get("recipe") == self.recipe and (self.folder / content["weights"]).is_file()
        return content if whole else {}


def _random_states(model) -> list:
    """The variables of the layers' random generators, which Keras does not count among the weights it saves."""
    return [variable for variable in model.variables if "seed_generator" in variable.path]
