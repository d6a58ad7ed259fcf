"""Bags → networks → blending → rows of the submission, part by part: memory does not grow with the number of fields.

A thread reads and decodes ahead, the networks work, another thread blends and writes. A part that is written is kept:
a run that was killed goes on with the first part that is not.
"""

import math
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from hpa_utils import tables
from hpa_utils.crops.batches import cell_batches
from hpa_utils.crops.reading import Bags
from hpa_utils.inference.blending import BlendConfig
from hpa_utils.inference.budget import Plan, PredictionConfig, Timing, choose_plan, in_words, seconds_left
from hpa_utils.inference.models import Ensemble
from hpa_utils.inference.parts import (
    KEYED,
    PredictionPart,
    drop_leftovers,
    lines_of,
    refresh_rows,
    stored_plan,
    write_part,
)
from hpa_utils.model.bag import cell_model
from hpa_utils.model.prediction import average, predict_batch, prepare_batch
from hpa_utils.segmentation.stream import prefetch

BATCHES_AHEAD = 3
TRYING = 0.01  # share of the time left after which no larger batch is tried


@dataclass
class Outcome:
    """What a run did.

    Attributes
    ----------
    plans : list of str
        By which the parts were made, in words, those of earlier runs included.
    cells : int
        Cells predicted by this run.
    seconds, network_seconds : float
        It took for that, and of it in the networks.
    kept : int
        Parts that were there already.
    """

    plans: list = field(default_factory=list)
    cells: int = 0
    seconds: float = 0.0
    network_seconds: float = 0.0
    kept: int = 0

    def __str__(self):
        rate, busy = self.cells / max(self.seconds, 1e-9), self.network_seconds / max(self.seconds, 1e-9)
        done = f"{self.cells:,} cells in {in_words(self.seconds)}, {rate:,.1f} a second, networks busy {busy:.0%}"
        return f"{done}; {self.kept} parts were there already"


@dataclass
class _Open:
    """A part on its way through the networks."""

    part: PredictionPart
    bags: Bags
    outputs: list = field(default_factory=list)
    done: int = 0  # cells

    def scores(self, models: list) -> pd.DataFrame:
        """Of the fields whose cells have all been seen."""
        whole = int(np.searchsorted(np.cumsum(self.bags.counts), self.done, side="right"))
        return average(models, self.outputs, self.bags, np.arange(whole))


def predict_parts(
    parts: list[PredictionPart],
    stage: str | Path,
    ensemble: Ensemble,
    config: PredictionConfig,
    blending: BlendConfig,
    deadline: float = math.inf,
    reuse: bool = True,
) -> Outcome:
    """Predict and write the parts that are not there yet.

    Parameters
    ----------
    parts : list of PredictionPart
        Of `plan_predictions`.
    deadline : float
        Unix time (`find_deadline`). Where it is finite, the first fields are timed and a plan chosen that fits
        (`choose_plan`), and a hastier one for the parts that follow if it proves too slow. When time runs out all
        the same, the fields predicted so far are written and the others left out.
    reuse : bool
        Keep parts that are there, made from the same. Those that another blend was made of are blended anew.

    Raises
    ------
    ValueError
        If the bags were cut from other cells than those of the cell table.
    """
    drop_leftovers(parts if reuse else [], stage)
    outcome, waiting = Outcome(), [part for part in parts if not stored_plan(part)]
    for part in (part for part in parts if part not in waiting):
        refresh_rows(part, ensemble, blending)
        outcome.plans.append(stored_plan(part))
    outcome.kept = len(outcome.plans)
    nets = [cell_model(model) for model in ensemble.models[: config.models or None]]
    timing, plan = None, Plan(len(nets), config.views, config.batch)
    left, cells = seconds_left(deadline, config), sum(part.n_cells for part in waiting)
    if waiting and math.isfinite(left):
        print(f"{cells:,} cells to predict, {in_words(left)} left for it")
        if left <= 0:
            waiting = []
        else:
            timing = time_cells(waiting[0], nets, ensemble, config, blending, TRYING * left)
            left = seconds_left(deadline, config)
            plan = choose_plan(timing, cells, config.usable * left, len(nets), config.views)
    if waiting:
        print(f"models × views: {plan}", flush=True)
        _Run(ensemble, nets, config, blending, deadline, outcome, plan, timing).go(waiting)
    outcome.plans = list(dict.fromkeys(outcome.plans))
    return outcome


class _Run:
    """The parts of one call of `predict_parts` on their way."""

    def __init__(self, ensemble, nets, config, blending, deadline, outcome, plan, timing):
        self.ensemble, self.nets, self.config, self.blending = ensemble, nets, config, blending
        self.deadline, self.outcome, self.plan, self.timing = deadline, outcome, plan, timing

    def go(self, parts: list[PredictionPart]) -> None:
        start, total = time.monotonic(), sum(part.n_cells for part in parts)
        batches = prefetch(_prepared(parts, self.ensemble.crops["size"], self.plan), BATCHES_AHEAD)
        bar = tqdm(total=total, unit="cell", mininterval=5, file=sys.stdout)
        with ThreadPoolExecutor(1, "writing") as writer, bar:
            written, opened = None, None
            for opened, number, prepared in batches:
                if seconds_left(self.deadline, self.config) <= 0:
                    break
                self._predict(opened, number, prepared)
                bar.update(number)
                if opened.done == opened.part.n_cells:
                    if written:
                        written.result()  # no more than one part waits
                    written = writer.submit(self._write, opened, self.plan)
                    self._hurry(total, time.monotonic() - start)
            if written:
                written.result()
            if opened.done < opened.part.n_cells and opened.outputs:
                self._write(opened, self.plan)
        self.outcome.seconds = time.monotonic() - start

    def _predict(self, opened: _Open, number: int, prepared: list) -> None:
        start = time.monotonic()
        opened.outputs.append(predict_batch(self.nets[: self.plan.models], prepared[: self.plan.views], number))
        opened.done += number
        self.outcome.network_seconds += time.monotonic() - start
        self.outcome.cells += number

    def _write(self, opened: _Open, plan: Plan) -> None:
        scores = opened.scores(self.ensemble.models[: plan.models])
        named = str(Plan(plan.models, plan.views, plan.batch))
        whole = opened.done == opened.part.n_cells
        write_part(opened.part, scores, self.ensemble, self.blending, named, whole)
        self.outcome.plans.append(named)

    def _hurry(self, total: int, elapsed: float) -> None:
        """Take a hastier plan for the parts to come if this one would not be done in time."""
        left, cells = seconds_left(self.deadline, self.config), total - self.outcome.cells
        pace = elapsed / self.outcome.cells
        if not cells or pace * cells <= left:
            return
        models, views, batch = self.plan.models, self.plan.views, self.plan.batch
        timing = Timing({batch: self.timing.network[batch]}, self.timing.loading, self.timing.writing)
        timing = timing.slowed(pace / timing.per_cell(models, views, batch))
        plan = choose_plan(timing, cells, self.config.usable * left, models, views)
        if (plan.models, plan.views) != (models, views):
            self.plan = plan
            print(f"slower than expected; from here on models × views: {plan}", flush=True)


def time_cells(
    part: PredictionPart,
    nets: list,
    ensemble: Ensemble,
    config: PredictionConfig,
    blending: BlendConfig,
    trying: float = math.inf,
) -> Timing:
    """Measure the time that the cells of a part's first fields take.

    Parameters
    ----------
    nets : list of keras.Model
        Of `cell_model`.
    trying : float
        Seconds after which no larger batch is tried.
    """
    opened, size = _open(part), ensemble.crops["size"]
    count = 1 + int(np.searchsorted(np.cumsum(opened.bags.counts), config.timed_cells))
    numbers = np.arange(min(count, len(opened.bags)))
    start = time.perf_counter()
    batches = list(cell_batches(opened.bags, numbers, size, config.batch))
    loaded = time.perf_counter()
    inputs, network = {name: np.concatenate([each[name] for each in batches]) for name in batches[0]}, {}
    n_cells = len(inputs["cells"])
    for batch in (config.batch, 2 * config.batch, 4 * config.batch):
        if network and time.perf_counter() - loaded > trying:
            break
        filled = {name: np.resize(rows, (batch, *rows.shape[1:])) for name, rows in inputs.items()}
        network[batch] = tuple(_seconds(net, prepare_batch(filled), batch) / batch for net in nets)
    outputs = predict_batch(nets, prepare_batch(inputs), n_cells)
    timed = time.perf_counter()
    scores = average(ensemble.models[: len(nets)], [outputs], opened.bags, numbers)
    for _line in lines_of(part, scores, tables.read_part(part.cells), ensemble, blending):
        pass
    writing = time.perf_counter() - timed
    return Timing(network, (loaded - start) / n_cells, writing / n_cells)


def _seconds(net, prepared: list, number: int) -> float:
    """Of a step: the shorter of two, after one that may compile."""
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        predict_batch([net], prepared, number)
        taken.append(time.perf_counter() - start)
    return min(taken[1:])


def _prepared(parts: list[PredictionPart], size: int, plan: Plan) -> Iterator[tuple[_Open, int, list]]:
    """The batches of all parts, one part after the other: the part, cells of the batch, its views."""
    for part in parts:
        opened = _open(part)
        for inputs in cell_batches(opened.bags, np.arange(len(opened.bags)), size, plan.batch):
            yield opened, len(inputs["cells"]), prepare_batch(inputs, plan.views, plan.batch)


def _open(part: PredictionPart) -> _Open:
    bags = Bags(part.bags, part.split)
    bags.check_cells(tables.read_part(part.cells, KEYED))
    return _Open(part, bags)
