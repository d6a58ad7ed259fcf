"""What fits in the time there is: how many models and views, how many cells a step."""

import time
from dataclasses import dataclass

import psutil

from hpa_utils.model.prediction import VIEWS
from hpa_utils.paths import on_kaggle

SESSION_PROCESSES = ("python", "jupyter", "papermill", "ipykernel")


@dataclass(frozen=True)
class PredictionConfig:
    """How cells are predicted. With a deadline, `models` and `views` are the most, and `batch` the least.

    Attributes
    ----------
    models : int
        How many models predict together, the first of `open_ensemble`; 0: all.
    views : {1, 2, 4, 8}
        Flips and right-angle turns of each crop (`turn`) whose probabilities are averaged.
    batch : int
        Cells a step; with a deadline twice and four times as many are tried too, and the fastest taken.
    timed_cells : int
        Cells of the first fields on which the time is measured.
    usable : float
        Share (0 < … ≤ 1) of the time left that a plan may take, since work may go slower later.
    margin_minutes : float
        Before the deadline: time to put the submission together, check it and show it.
    session_hours : float
        The deadline on Kaggle where none is given, after the session's start; its limit was 9 h.
    """

    models: int = 0
    views: int = 1
    batch: int = 64
    timed_cells: int = 256
    usable: float = 0.9
    margin_minutes: float = 10.0
    session_hours: float = 7.5

    def __post_init__(self):
        if self.views not in VIEWS:
            raise ValueError(f"prediction.views is {self.views}; expected one of {', '.join(map(str, VIEWS))}")
        least = {"models": 0, "batch": 1, "timed_cells": 1, "margin_minutes": 0, "session_hours": 0}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"prediction.{name} is {getattr(self, name)}; expected {value} or more")
        if not 0 < self.usable <= 1:
            raise ValueError(f"prediction.usable is {self.usable}; expected a share 0 < … ≤ 1")


@dataclass(frozen=True)
class Timing:
    """Measured seconds.

    Attributes
    ----------
    network : dict of int to tuple of float
        Cells a step → seconds that each model takes for a cell and view.
    loading : float
        Seconds to read and decode a cell, all threads together; goes on beside the networks.
    writing : float
        Seconds to blend a cell and write its rows.
    """

    network: dict
    loading: float = 0.0
    writing: float = 0.0

    def per_cell(self, models: int, views: int, batch: int) -> float:
        """Seconds a cell of the first so many models on so many views."""
        return max(self.loading, views * sum(self.network[batch][:models])) + self.writing

    def slowed(self, factor: float) -> "Timing":
        """The same where all takes `factor` times as long."""
        network = {batch: tuple(factor * seconds for seconds in each) for batch, each in self.network.items()}
        return Timing(network, factor * self.loading, factor * self.writing)


@dataclass(frozen=True)
class Plan:
    """How many models and views, how many cells a step, and the seconds that this will take (0: not measured)."""

    models: int
    views: int
    batch: int
    seconds: float = 0.0

    def __str__(self):
        expected = f", about {in_words(self.seconds)}" if self.seconds else ""
        numbers = (self.models, "model"), (self.views, "view"), (self.batch, "cell")
        models, views, cells = (f"{number:,} {noun}{'s' * (number != 1)}" for number, noun in numbers)
        return f"{models} × {views}, {cells} a step{expected}"


def preference(models: int, views: int) -> list[tuple[int, int]]:
    """(models, views) from the best to the cheapest: all models on all views, on fewer, one model less on all, …

    A model more comes before any number of views, for models err differently and views of one model alike.
    """
    fewer = [number for number in reversed(VIEWS) if number <= views]
    return [(count, number) for count in range(models, 0, -1) for number in fewer]


def choose_plan(timing: Timing, cells: int, seconds: float, models: int, views: int) -> Plan:
    """The first of `preference` that predicts so many cells in the seconds given; if none does, one model on one view.

    Cells a step are those with which it is fastest.
    """
    plan = None
    for count, number in preference(models, views):
        batch = min(sorted(timing.network), key=lambda size: timing.per_cell(count, number, size))
        plan = Plan(count, number, batch, cells * timing.per_cell(count, number, batch))
        if plan.seconds <= seconds:
            break
    return plan


def find_deadline(deadline: float, config: PredictionConfig) -> float:
    """Unix time by which all must be done; infinity for none.

    The one given; else on Kaggle `session_hours` after the session's start; else none.
    """
    if deadline:
        return deadline
    return session_start() + 3600 * config.session_hours if on_kaggle() else float("inf")


def session_start() -> float:
    """Unix time at which this session began, as near as a process can tell.

    It is when the oldest of this process and its parents started, as far up as they are Python, Jupyter or
    papermill: the kernel of a notebook that runs by itself, or the driver that runs several notebooks in turn. The
    machine's own start, further up, may be long before.
    """
    process, start = psutil.Process(), psutil.Process().create_time()
    for parent in process.parents():
        try:
            if not parent.name().startswith(SESSION_PROCESSES):
                break
            start = min(start, parent.create_time())
        except psutil.Error:  # it has ended, or is another user's
            break
    return start


def seconds_left(deadline: float, config: PredictionConfig) -> float:
    """Seconds that are left for predicting."""
    return deadline - 60 * config.margin_minutes - time.time()


def in_words(seconds: float) -> str:
    """Such as 2 h 5 min, 3 min or 12 s."""
    hours, minutes = divmod(round(abs(seconds) / 60), 60)
    if abs(seconds) < 90:
        return f"{seconds:.0f} s"
    return f"{'−' * (seconds < 0)}{f'{hours} h ' if hours else ''}{minutes} min"
