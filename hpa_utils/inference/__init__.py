"""Using a trained model: probabilities of cells and fields, and their blend."""

from hpa_utils.inference.blending import BlendConfig, blend
from hpa_utils.inference.budget import PredictionConfig, find_deadline
from hpa_utils.inference.calibration import (
    Calibration,
    fit_calibration,
    mean_calibration,
    read_calibration,
    write_calibration,
)
from hpa_utils.inference.models import find_models, load_models, open_ensemble
from hpa_utils.inference.parts import join_predictions, join_rows, plan_predictions
from hpa_utils.inference.stream import predict_parts
from hpa_utils.model.prediction import CELL_COLUMNS, FIELD_COLUMNS, predict_bags

__all__ = [
    "BlendConfig",
    "CELL_COLUMNS",
    "Calibration",
    "FIELD_COLUMNS",
    "PredictionConfig",
    "blend",
    "find_deadline",
    "find_models",
    "fit_calibration",
    "join_predictions",
    "join_rows",
    "load_models",
    "mean_calibration",
    "open_ensemble",
    "plan_predictions",
    "predict_bags",
    "predict_parts",
    "read_calibration",
    "write_calibration",
]
