"""Learning cells from field labels."""

from hpa_utils.training.devices import choose_devices
from hpa_utils.training.fit import fit_bags
from hpa_utils.training.folds import assign_folds, split_fields
from hpa_utils.training.grades import graded_cells, mix_grades
from hpa_utils.training.mitosis import spindle_cells
from hpa_utils.training.rates import try_rates
from hpa_utils.training.recipe import Recipe, TrainConfig, configure_recipe
from hpa_utils.training.rounds import Trained, fit_round, fit_rounds, predict_out_of_fold
from hpa_utils.training.saving import save_models
from hpa_utils.training.soft_labels import (
    first_labels,
    make_soft_labels,
    positive_shares,
    read_soft_labels,
    write_soft_labels,
)
from hpa_utils.training.targets import INHERITED, Targets, make_targets

__all__ = [
    "INHERITED",
    "Recipe",
    "Targets",
    "TrainConfig",
    "Trained",
    "assign_folds",
    "choose_devices",
    "configure_recipe",
    "first_labels",
    "fit_bags",
    "fit_round",
    "fit_rounds",
    "graded_cells",
    "make_soft_labels",
    "make_targets",
    "mix_grades",
    "positive_shares",
    "predict_out_of_fold",
    "read_soft_labels",
    "save_models",
    "spindle_cells",
    "split_fields",
    "try_rates",
    "write_soft_labels",
]
