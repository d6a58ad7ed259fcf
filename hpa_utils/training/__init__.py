"""Learning cells from field labels."""

from hpa_utils.training.fit import TrainConfig, fit_bags, save_models
from hpa_utils.training.folds import assign_folds

__all__ = ["TrainConfig", "assign_folds", "fit_bags", "save_models"]
