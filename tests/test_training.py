import numpy as np
import pytest

from hpa_utils.training import TrainConfig, assign_folds


def test_folds_spread_every_class_evenly():
    labels = np.zeros((100, 19), np.int8)
    labels[:20, 11] = 1
    labels[20:70, 0] = 1
    labels[70:, 18] = 1
    fold = assign_folds(labels, 5, seed=0)
    assert np.bincount(fold).tolist() == [20] * 5
    assert all(labels[fold == k, 11].sum() == 4 and labels[fold == k, 18].sum() == 6 for k in range(5))
    assert (assign_folds(labels, 5, seed=0) == fold).all()


def test_too_few_fields_have_no_folds_and_say_so():
    with pytest.warns(UserWarning, match="9 fields are too few for 5 folds"):
        assert (assign_folds(np.ones((9, 19), np.int8), 5, seed=0) == -1).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"backbone": "resnet"}, "training.backbone is 'resnet'; expected one of lite0, b0"),
        ({"epochs": -1}, "training.epochs is -1"),
        ({"epochs": 0, "head_epochs": 0}, "nothing to train"),
        ({"cells_per_bag": 0}, "training.cells_per_bag is 0"),
        ({"folds": 2, "trained_folds": 3}, "training.trained_folds is 3"),
        ({"unfrozen": 1.5}, "expected 0…1"),
    ],
)
def test_senseless_training_is_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**values)
