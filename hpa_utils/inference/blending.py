"""From the scores of a cell and of its field to the confidences of the submission, step by step in a fixed order."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from hpa_utils.inference.calibration import EDGE_DECAY, METHODS, Calibration
from hpa_utils.labels import NEGATIVE
from hpa_utils.model.prediction import CELL_COLUMNS, FIELD_COLUMNS

CHOICES = {
    "calibration": ("none", *METHODS),
    "negative": ("predicted", "one_minus_max", "none_of_others"),
    "field": ("none", "product", "weighted", "sqrt_product"),
    "negative_field": ("cell", "larger"),
    "others": ("kept", "times_not_negative"),
    "edge": ("none", "fixed", "fitted"),
    "outliers": ("none", "size", "no_nucleus", "both"),
}
LEAST = 1e-45  # below any float32 but 0: what a network that is quite sure gives instead of 0
SQUEEZED = 1e-30  # confidences below are squeezed into what float32 holds
LEAST_CELLS = 5  # of a field whose median size says what is usual


@dataclass(frozen=True)
class BlendConfig:
    """The steps from scores to confidences, in the order in which they are done.

    Attributes
    ----------
    calibration : {"none", "temperature", "platt"}
        Map the scores of cells and fields by what was fitted out of fold (`calibration.fit_calibration`).
    negative : {"predicted", "one_minus_max", "none_of_others"}
        A cell's score of class 18: its own; 1 − the largest of its other 18; the product of their 1 − p.
    field : {"none", "product", "weighted", "sqrt_product"}
        How the field's score is mixed into the cell's, classes 0…17: not; c × f; w c + (1 − w) f; √(c × f). The root
        changes the order of confidences only together with later steps.
    cell_weight : float
        w of ``weighted``, 0…1.
    negative_field : {"cell", "larger"}
        Class 18: the cell's score alone, since a negative cell may well lie in a field that is not; or the larger of
        the cell's and the field's.
    others : {"kept", "times_not_negative"}
        Multiply classes 0…17 by 1 − the cell's confidence of 18.
    edge : {"none", "fixed", "fitted"}
        Multiply all classes by exp(−decay × edge_fraction), where `edge_fraction` is the share of the cell's outline
        on the image border; with `edge_decay`, or with what was fitted out of fold (`edge_decay` where nothing was).
    edge_decay : float
    outliers : {"none", "size", "no_nucleus", "both"}
        Multiply all classes of outlying cells by `outlier_factor`: cells more than `outlier_size` times smaller or
        larger than the median of their field (of 5 cells or more), or without a nucleus.
    outlier_factor, outlier_size : float

    Notes
    -----
    One step is on by default, the product of cell and field: on simulated cells the mean and the cell alone score
    lower (docs/blending.md), and it gained 0.010 to 0.017 of private mAP for the competition's 2nd, 4th and 12th
    place, as their authors report. Negative derived (0.003 to 0.006 for four teams) and an edge decay (0 to 0.014)
    gain nothing on simulated cells, or cost, and are off. Little or nothing measured speaks for the other steps.
    """

    calibration: str = "none"
    negative: str = "predicted"
    field: str = "product"
    cell_weight: float = 0.7
    negative_field: str = "cell"
    others: str = "kept"
    edge: str = "none"
    edge_decay: float = EDGE_DECAY
    outliers: str = "none"
    outlier_factor: float = 0.5
    outlier_size: float = 4.0

    def __post_init__(self):
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise ValueError(f"blending.{name} is {getattr(self, name)!r}; expected one of {', '.join(choices)}")
        for name, low, high in (
            ("cell_weight", 0, 1),
            ("edge_decay", 0, 100),
            ("outlier_factor", 1e-6, 1),
            ("outlier_size", 1, np.inf),
        ):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                raise ValueError(f"blending.{name} is {value!r}; expected a number {low:g}…{high:g}")


def blend(
    predictions: pd.DataFrame,
    cells: pd.DataFrame | None = None,
    config: BlendConfig = BlendConfig(),
    calibration: Calibration | None = None,
) -> np.ndarray:
    """Confidences of each cell.

    Parameters
    ----------
    predictions : pandas.DataFrame
        As of `predict_bags`, models and augmentations averaged already.
    cells : pandas.DataFrame
        Cell table with every cell of the predicted fields, in any order; other fields' are ignored. The steps `edge`
        and `outliers` read `edge_fraction`, `area` and `nucleus_area` of it; without them it may be None.
    config : BlendConfig
    calibration : Calibration, optional
        None: nothing was fitted.

    Returns
    -------
    numpy.ndarray
        float32 (n, 19) in [0, 1], in the order of `predictions`, not rounded. A field's values depend on that field
        alone, so a part of whole fields gets what it would get among all. Computed in float64; products below 1e-30
        are squeezed, in their order, into what float32 holds, so that they do not all become 0.

    Raises
    ------
    ValueError
        If a step needs a cell that `cells` does not have.
    """
    calibration = calibration or Calibration()
    own, of_field = (predictions[names].to_numpy(np.float64) for names in (CELL_COLUMNS, FIELD_COLUMNS))
    if config.calibration != "none":
        own, of_field = (
            calibration.of_cells(own, config.calibration),
            calibration.of_fields(of_field, config.calibration),
        )
    own, of_field = np.maximum(own, LEAST), np.maximum(of_field, LEAST)
    own[:, NEGATIVE] = _negative(own, config.negative)
    confidences = _mixed(own, of_field, config)
    if config.others == "times_not_negative":
        confidences[:, :NEGATIVE] *= np.maximum(1 - confidences[:, NEGATIVE:], LEAST)
    if config.edge != "none":
        fitted = calibration.edge_decay if config.edge == "fitted" else None
        decay = config.edge_decay if fitted is None else fitted
        edge = _of_cells(predictions, cells, ["edge_fraction"])["edge_fraction"].to_numpy(np.float64)
        confidences *= np.exp(-decay * edge)[:, None]
    if config.outliers != "none":
        outlying = _outlying(predictions, cells, config)
        confidences[outlying] *= config.outlier_factor
    return _as_float32(confidences)


def _negative(own: np.ndarray, policy: str) -> np.ndarray:
    """Score of class 18 of each cell, float64 (n,), from all of its scores."""
    predicted, others = own[:, NEGATIVE], own[:, :NEGATIVE]
    if policy == "predicted":
        return predicted
    if policy == "none_of_others":
        return np.exp(np.log1p(-np.minimum(others, 1 - 2**-53)).sum(axis=1))
    return 1 - others.max(axis=1)


def _mixed(own: np.ndarray, of_field: np.ndarray, config: BlendConfig) -> np.ndarray:
    if config.field == "none":
        mixed = own.copy()
    elif config.field == "weighted":
        mixed = config.cell_weight * own + (1 - config.cell_weight) * of_field
    else:
        mixed = own * of_field
        mixed = np.sqrt(mixed) if config.field == "sqrt_product" else mixed
    mixed[:, NEGATIVE] = own[:, NEGATIVE]
    if config.negative_field == "larger":
        mixed[:, NEGATIVE] = np.maximum(own[:, NEGATIVE], of_field[:, NEGATIVE])
    return mixed


def _of_cells(predictions: pd.DataFrame, cells: pd.DataFrame | None, columns: list[str]) -> pd.DataFrame:
    """Columns of the cell table in the order of `predictions`."""
    if cells is None:
        raise ValueError(f"blending needs the cell table: {', '.join(columns)} of each cell")
    keys = ["image_id", "cell_id"]
    own = cells.loc[cells["image_id"].isin(predictions["image_id"].unique()), keys + columns]
    joined = predictions[keys].merge(own, on=keys, how="left", validate="one_to_one")
    lost = joined[columns].isna().any(axis=1)
    if lost.any():
        first = joined[lost].iloc[0]
        raise ValueError(
            f"cell {first['cell_id']} of field {first['image_id']} is predicted, but the cell table has no "
            f"{', '.join(columns)} of it: use the tables that the predictions were made from"
        )
    return joined


def _outlying(predictions: pd.DataFrame, cells: pd.DataFrame | None, config: BlendConfig) -> np.ndarray:
    """Which cells are far from what is usual in their field, or have no nucleus, bool (n,)."""
    measures = _of_cells(predictions, cells, ["area", "nucleus_area"])
    outlying = np.zeros(len(predictions), bool)
    if config.outliers in ("size", "both"):
        by_field = measures.groupby("image_id", sort=False)["area"]
        ratio = measures["area"] / by_field.transform("median")
        far = (ratio * config.outlier_size < 1) | (ratio > config.outlier_size)
        outlying |= (far & (by_field.transform("size") >= LEAST_CELLS)).to_numpy()
    if config.outliers in ("no_nucleus", "both"):
        outlying |= (measures["nucleus_area"] == 0).to_numpy()
    return outlying


def _as_float32(confidences: np.ndarray) -> np.ndarray:
    """Float32 of float64 in [0, 1], increasing: what float32 cannot hold is squeezed in below 1e-30, in its order."""
    small = confidences < SQUEEZED
    confidences[small] = SQUEEZED / (1 + np.log(SQUEEZED / np.maximum(confidences[small], np.finfo(float).tiny)))
    return confidences.astype(np.float32)
