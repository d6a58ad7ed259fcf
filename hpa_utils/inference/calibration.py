"""What scores out of fold are worth: fitted beside the model, applied before scores are blended."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, logit

from hpa_utils.labels import N_CLASSES
from hpa_utils.model.prediction import CELL_COLUMNS, FIELD_COLUMNS
from hpa_utils.paths import write_json
from hpa_utils.tables import label_matrix

METHODS = ("temperature", "platt")
FILE = "calibration.json"
EDGE_DECAY = 0.5  # where nothing could be fitted: a cell with a third of its outline on the border keeps 85 %
STRONGEST_DECAY = 10.0
# Priors, in the fit's own log-likelihood, where a field weighs 1: standard deviations of the log of the scale and of
# the shift, and the mean of an exponential one of the edge decay. They hold classes with few fields where they are.
SCALE_SPREAD, SHIFT_SPREAD, MEAN_DECAY = 0.5, 1.0, 1.0
SOURCES = ("nothing", "fields", "cells")
ONES, ZEROS = (1.0,) * N_CLASSES, (0.0,) * N_CLASSES


@dataclass(frozen=True)
class Calibration:
    """Increasing maps of scores, so that they keep every class's order and make no ties; and the edge decay.

    Attributes
    ----------
    cell_temperature, field_temperature : float
        Above 0; logits are divided by it, all classes alike.
    cell_scale, cell_shift, field_scale, field_shift : tuple of 19 float
        Platt's map of each class: scale × logit + shift, scale above 0.
    edge_decay : float or None
        0 or more; None where nothing was fitted.
    cells_from : {"nothing", "fields", "cells"}
        Labels that the cells' maps and the edge decay were fitted to: those inherited from the fields, or the cells'
        own. From ``fields`` the cells' Platt map is the temperature.
    n_fields : int
        Fields it was fitted on.
    """

    cell_temperature: float = 1.0
    field_temperature: float = 1.0
    cell_scale: tuple = ONES
    cell_shift: tuple = ZEROS
    field_scale: tuple = ONES
    field_shift: tuple = ZEROS
    edge_decay: float | None = None
    cells_from: str = "nothing"
    n_fields: int = 0

    def __post_init__(self):
        for name in ("cell_scale", "cell_shift", "field_scale", "field_shift"):
            object.__setattr__(self, name, tuple(map(float, getattr(self, name))))
            values = np.array(getattr(self, name))
            if len(values) != N_CLASSES or not np.isfinite(values).all() or (name.endswith("e") and values.min() <= 0):
                expected = f"{N_CLASSES} numbers" + (" above 0" if name.endswith("e") else "")
                raise ValueError(f"calibration.{name} is {getattr(self, name)}; expected {expected}")
        for name in ("cell_temperature", "field_temperature"):
            if not 0 < getattr(self, name) < np.inf:
                raise ValueError(f"calibration.{name} is {getattr(self, name)}; expected a number above 0")
        if self.cells_from not in SOURCES:
            raise ValueError(f"calibration.cells_from is {self.cells_from!r}; expected one of {', '.join(SOURCES)}")
        if self.edge_decay is not None and not 0 <= self.edge_decay < np.inf:
            raise ValueError(f"calibration.edge_decay is {self.edge_decay}; expected 0 or more, or null")

    def of_cells(self, probabilities: np.ndarray, method: str) -> np.ndarray:
        """Calibrated probabilities of cells, float64 (n, 19), by one of `METHODS`."""
        return _mapped(probabilities, method, self.cell_temperature, self.cell_scale, self.cell_shift)

    def of_fields(self, probabilities: np.ndarray, method: str) -> np.ndarray:
        """Calibrated probabilities of fields, float64 (n, 19), by one of `METHODS`."""
        return _mapped(probabilities, method, self.field_temperature, self.field_scale, self.field_shift)


def fit_calibration(
    scores: pd.DataFrame, cells: pd.DataFrame, fields: pd.DataFrame, cell_labels: np.ndarray | None = None
) -> Calibration:
    """Fit scores of fields and cells to what is known of them.

    Parameters
    ----------
    scores : pandas.DataFrame
        Out-of-fold scores, as of `predict_bags`; may be empty: then nothing is fitted.
    cells : pandas.DataFrame
        `image_id`, `cell_id`, `edge_fraction`.
    fields : pandas.DataFrame
        `image_id`, `labels` (19, −1 where unknown).
    cell_labels : numpy.ndarray, optional
        (n, 19) in the order of `scores`: 1, 0, or −1 where unknown, such as human grades.

    Returns
    -------
    Calibration

    Notes
    -----
    Fields' labels are known, so the fields' scores get a temperature and a Platt map of each class. What a cell shows
    is mostly not. Cells that people graded give the same two for cells. Without them a cell counts as what its field
    is labelled, which is wrong for about half of them: one temperature is all that is fitted then. It mends what a
    network that learned such labels is too sure of on new fields, and says nothing of the labels' own weakness.

    The edge decay says how much less often cells with more of their outline on the image border are what they score,
    beside cells inside that score the same; inherited labels may serve, for they are no more wrong at the border.
    Each field weighs 1 in a class, however many cells it has, for its cells are much alike. Priors pull scales to the
    shared temperature, shifts and the decay to 0: without evidence nothing changes.

    Platt 1999 (a scale and a shift), Guo et al. 2017 (temperature). Isotonic regression, the usual third, makes ties.
    """
    fields_of = fields.set_index("image_id")["labels"]
    by_field = scores.drop_duplicates("image_id")
    labels = label_matrix(fields_of.loc[by_field["image_id"]].to_frame())
    if not (labels >= 0).any():
        return Calibration()
    of_fields = _logits(by_field[FIELD_COLUMNS].to_numpy(np.float64))
    field_temperature, field_scale, field_shift = _fit_classes(of_fields, labels, (labels >= 0).astype(float))
    of_cells = _logits(scores[CELL_COLUMNS].to_numpy(np.float64))
    graded = cell_labels is not None and (cell_labels >= 0).any()
    if not graded:
        cell_labels = label_matrix(fields_of.loc[scores["image_id"]].to_frame())
    weights = _field_weights(cell_labels >= 0, scores["image_id"])
    cell_temperature, cell_scale, cell_shift = _fit_classes(of_cells, cell_labels, weights)
    joined = scores[["image_id", "cell_id"]].merge(cells, on=["image_id", "cell_id"], how="left", validate="one_to_one")
    edge = joined["edge_fraction"].to_numpy(np.float64)
    return Calibration(
        cell_temperature,
        field_temperature,
        cell_scale if graded else np.full(N_CLASSES, 1 / cell_temperature),
        cell_shift if graded else ZEROS,
        field_scale,
        field_shift,
        _fit_decay(of_cells, cell_labels, weights, edge),
        "cells" if graded else "fields",
        len(by_field),
    )


def write_calibration(folder: str | Path, calibration: Calibration) -> None:
    """Write ``calibration.json`` into a model folder, in one rename."""
    write_json(Path(folder) / FILE, dataclasses.asdict(calibration))


def read_calibration(folder: str | Path) -> Calibration:
    """The calibration of a model folder; one that changes nothing, and a line that says so, where there is none.

    Raises
    ------
    ValueError
        Naming the file, if it is no calibration.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        print(f"{path} does not exist: scores are taken as they are, and the edge decay is the configuration's")
        return Calibration()
    try:
        return Calibration(**json.loads(path.read_text()))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path} is no calibration as 04_train writes it: {error}") from None


def mean_calibration(calibrations: list[Calibration]) -> Calibration:
    """The calibration of the averaged scores of several model folders: the mean of their parameters.

    Temperatures and scales are averaged as logarithms; the decay over those that have one. `cells_from` is the weakest.
    """
    if len(calibrations) == 1:
        return calibrations[0]
    found = {
        name: np.array([getattr(one, name) for one in calibrations])
        for name in ("cell_temperature", "field_temperature", "cell_scale", "cell_shift", "field_scale", "field_shift")
    }
    means = {
        name: values.mean(axis=0) if name.endswith("shift") else np.exp(np.log(values).mean(axis=0))
        for name, values in found.items()
    }
    means |= {name: float(means[name]) for name in ("cell_temperature", "field_temperature")}
    decays = [one.edge_decay for one in calibrations if one.edge_decay is not None]
    return Calibration(
        **means,
        edge_decay=float(np.mean(decays)) if decays else None,
        cells_from=min((one.cells_from for one in calibrations), key=SOURCES.index),
        n_fields=max(one.n_fields for one in calibrations),
    )


def _mapped(probabilities: np.ndarray, method: str, temperature: float, scale: tuple, shift: tuple) -> np.ndarray:
    logits = _logits(probabilities)
    return expit(logits / temperature if method == "temperature" else logits * np.array(scale) + np.array(shift))


def _logits(probabilities: np.ndarray) -> np.ndarray:
    """Logits, finite for the 0 and 1 that float32 makes of a network that is quite sure."""
    return logit(np.clip(probabilities.astype(np.float64), 1e-45, 1 - 2**-25))


def _field_weights(known: np.ndarray, image_ids: pd.Series) -> np.ndarray:
    """Weight of each known label, float64 (n, 19): 1 together within a field and class; 0 where unknown."""
    number = pd.factorize(image_ids)[0]
    counts = np.zeros((number.max(initial=-1) + 1, known.shape[1]))
    np.add.at(counts, number, known)
    return known / np.maximum(counts[number], 1)


def _fit_classes(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """The temperature of all classes together, and scale and shift of each, whose scale is pulled to the former."""
    known = weights > 0
    shared = _fit_map(logits[known], labels[known], weights[known], 0.0, shifted=False)[0]
    scales, shifts = np.full(N_CLASSES, shared), np.zeros(N_CLASSES)
    for number in range(N_CLASSES):
        rows = known[:, number]
        if len(np.unique(labels[rows, number])) == 2:
            own = logits[rows, number], labels[rows, number], weights[rows, number]
            scales[number], shifts[number] = _fit_map(*own, np.log(shared), shifted=True)
    return float(1 / shared), scales, shifts


def _fit_map(logits, labels, weights, centre: float, shifted: bool) -> tuple[float, float]:
    """Scale and shift (0 unless `shifted`) of the greatest posterior; `centre` is the prior's log scale."""

    def loss(parameters):
        log_scale, shift = parameters
        scale = np.exp(log_scale)
        mapped = scale * logits + shift
        residual = weights * (expit(mapped) - labels)
        away = (log_scale - centre) / SCALE_SPREAD
        value = weights @ (np.logaddexp(0, mapped) - labels * mapped) + (away**2 + (shift / SHIFT_SPREAD) ** 2) / 2
        slope = residual @ logits * scale + away / SCALE_SPREAD
        return value, np.array([slope, residual.sum() + shift / SHIFT_SPREAD**2 if shifted else 0.0])

    bounds = [(centre - 3, centre + 3), (-10, 10) if shifted else (0, 0)]
    log_scale, shift = minimize(loss, [centre, 0.0], jac=True, method="L-BFGS-B", bounds=bounds).x
    return float(np.exp(log_scale)), float(shift)


def _fit_decay(logits: np.ndarray, labels: np.ndarray, weights: np.ndarray, edge: np.ndarray) -> float | None:
    """Decay of cells at the border, beside what cells inside of the same score show; None if there are none."""
    inside, cut = edge == 0, edge > 0
    known = weights[cut] > 0
    if not known.any() or not (weights[inside] > 0).any():
        return None
    _, scale, shift = _fit_classes(logits[inside], labels[inside], weights[inside])
    chance = np.clip(expit(logits[cut] * scale + shift)[known], 1e-12, 1 - 1e-12)
    true, weight = labels[cut][known], weights[cut][known]
    share = np.broadcast_to(edge[cut][:, None], known.shape)[known]

    def loss(decay):
        likely = np.where(true > 0, np.log(chance) - decay * share, np.log1p(-chance * np.exp(-decay * share)))
        return decay / MEAN_DECAY - weight @ likely

    return float(max(0.0, minimize_scalar(loss, bounds=(0, STRONGEST_DECAY), method="bounded").x))
