"""Using a trained model: probabilities of cells and fields, and their blend."""

from hpa_utils.inference.blending import blend
from hpa_utils.inference.models import load_models
from hpa_utils.model.prediction import CELL_COLUMNS, FIELD_COLUMNS, predict_bags

__all__ = ["CELL_COLUMNS", "FIELD_COLUMNS", "blend", "load_models", "predict_bags"]
