"""From crops to probabilities of cells, and from cells to fields."""

import keras
import numpy as np
import pytest
from made_crops import plain_crops, write_crop_part

from hpa_utils import inference
from hpa_utils.inference import as_confidences, check_tta, field_max, field_mean, logit, predict_logits, sigmoid, turn

PERCENTILES = np.array([[[0.0] * 4] * 4, [[100.0] * 4] * 4], np.float32)  # of two fields


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Two fields of 3 and 4 cells; the red of crop k is k, but for its first pixel: 50."""
    pictures = plain_crops(7)
    pictures[:, 0, 0, 0] = 50
    return write_crop_part(tmp_path_factory.mktemp("crops"), {"a": pictures[:3], "b": pictures[3:]})


@pytest.fixture(scope="module")
def network():
    """Logit 0: red of the last pixel and the field's first percentile; logit 1: red of the first pixel."""
    crop, percentiles = keras.Input((16, 16, 4)), keras.Input((4, 4))
    first, last = crop[:, 0, 0, :1], crop[:, -1, -1, :1]
    return keras.Model([crop, percentiles], keras.layers.Concatenate()([last + percentiles[:, 0, :1], first]))


def test_views_are_flips_and_turns_in_the_documented_order():
    crops = np.random.default_rng(0).integers(1, 256, (2, 16, 16, 4)).astype(np.uint8)
    expected = [crops, crops[:, :, ::-1], crops[:, ::-1], np.rot90(crops, 2, (1, 2)), crops.swapaxes(1, 2)]
    expected += [np.rot90(crops, -1, (1, 2)), np.rot90(crops, 1, (1, 2)), crops.swapaxes(1, 2)[:, ::-1, ::-1]]
    assert len({turn(crops, view).tobytes() for view in range(8)}) == 8
    for view, variant in enumerate(expected):
        assert (turn(crops, view) == variant).all(), view


@pytest.mark.parametrize("count", inference.TTA)
def test_the_views_that_are_averaged_are_closed_under_one_another(count):
    crops = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 4)).astype(np.uint8)
    views = {turn(crops, view).tobytes() for view in range(count)}
    for first in range(count):
        assert {turn(turn(crops, first), second).tobytes() for second in range(count)} == views


@pytest.mark.parametrize("batch_size", [3, 7, 64])
def test_logits_come_in_the_order_of_the_cells_whatever_the_batch(crops, network, batch_size):
    cells = np.array([5, 0, 2, 6, 3])
    found = predict_logits(network, crops, PERCENTILES, cells, batch_size)
    assert found.dtype == np.float32
    assert found.tolist() == [[105, 50], [0, 50], [2, 50], [106, 50], [103, 50]]


def test_another_view_looks_at_the_crops_the_other_way_round(crops, network):
    found = predict_logits(network, crops, PERCENTILES, np.arange(3), view=3)
    assert found.tolist() == [[50, 0], [50, 1], [50, 2]]


def test_no_cells_have_no_logits(crops, network):
    assert predict_logits(network, crops, PERCENTILES, np.arange(0)).shape == (0, 2)


def test_logits_and_probabilities_are_each_others_inverse_and_finite_at_the_ends():
    assert sigmoid([0, np.log(3)]).tolist() == pytest.approx([0.5, 0.75])
    assert logit([0.5, 0.75]).tolist() == pytest.approx([0, np.log(3)])
    assert np.isfinite(logit([0, 1])).all() and logit(np.float32([1e-20]))[0] == pytest.approx(np.log(1e-20))


def test_fields_have_the_mean_and_the_maximum_of_their_cells_in_any_order():
    values, field = np.array([[1.0, 8], [2, 0], [3, -5], [6, -4]]), np.array([0, 2, 0, 2])
    assert field_mean(values, field).tolist() == [[2, 1.5], [4, -2], [2, 1.5], [4, -2]]
    assert field_max(values, field).tolist() == [[3, 8], [6, 0], [3, 8], [6, 0]]
    assert field_mean(values[:0], field[:0]).shape == field_max(values[:0], field[:0]).shape == (0, 2)


def test_confidences_too_small_for_float32_keep_their_order_and_are_never_0():
    values = np.array([0, 1e-300, 1e-200, 1e-46, 1e-31, 1e-30, 1e-3, 1])
    found = as_confidences(values)
    assert found.dtype == np.float32 and (np.diff(found) > 0).all()
    assert found[0] > 0 and found[-3:].tolist() == np.float32([1e-30, 1e-3, 1]).tolist()


def test_a_number_of_views_that_do_not_belong_together_is_refused():
    assert [check_tta(tta) for tta in (1, 2, 4, 8)] == [1, 2, 4, 8]
    with pytest.raises(ValueError, match="tta is 3; expected one of 1, 2, 4, 8"):
        check_tta(3)
