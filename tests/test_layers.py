"""The layers of 04: normalisation by the field's percentiles, and random changes that leave the labels true."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from hpa_utils import model
from hpa_utils.model.layers import blur, enlarge

LAYERS = {
    "RandomRightAngles": {},
    "RandomScale": {"amount": 0.2},
    "RandomBrightness": {"amount": 0.4},
    "RandomBlur": {"amount": 1.5},
}


def layer(name, seed=0, **options):
    return getattr(model, name)(seed=seed, **LAYERS[name] | options)


def changed(name, crops, **options):
    return np.asarray(layer(name, **options)(crops, training=True))


def crops_with_one_pixel(number=200, side=4):
    """Pixel (0, 1) of each crop is 200, 100, 50, 25; all others are masked out."""
    crops = np.zeros((number, side, side, 4), np.float32)
    crops[:, 0, 1] = [200, 100, 50, 25]
    return crops


def round_cells(number=4, side=32, radius=10):
    """A disk of 60, 80, 100, 120 in the middle of each crop; around it all is masked out."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    disk = rows**2 + columns**2 <= radius**2
    return np.tile(disk[None, ..., None] * np.array([60, 80, 100, 120], np.float32), (number, 1, 1, 1))


@pytest.mark.parametrize(
    ("reference", "protein", "expected"),
    [
        ("percentiles", "fixed", [127.5, 60, 127.5, 127.5]),
        ("percentiles", "percentiles", [127.5, 127.5, 127.5, 127.5]),
        ("fixed", "fixed", [60, 60, 60, 60]),
        ("fixed", "percentiles", [60, 127.5, 60, 60]),
    ],
)
def test_normalisation_stretches_what_it_is_told_to_and_keeps_the_mask(reference, protein, expected):
    percentiles = np.tile([10, 20, 80, 110], (1, 4, 1)).astype(np.float32)
    crops = np.full((1, 2, 2, 4), 60, np.uint8)
    crops[0, 0, 0] = 0  # masked out
    out = np.asarray(model.FieldNormalisation(reference, protein)(crops, percentiles))
    np.testing.assert_allclose(out[0, 1, 1], expected)
    assert (out[0, 0, 0] == 0).all() and out.dtype == np.float32


def test_each_crop_is_normalised_by_its_own_field_and_an_empty_channels_noise_stays_dark():
    percentiles = np.array([[[10, 20, 80, 110]] * 4, [[0, 1, 1, 2]] * 4], np.float32)
    crops = np.stack([np.full((2, 2, 4), 60), np.full((2, 2, 4), 2)]).astype(np.float32)
    out = np.asarray(model.FieldNormalisation()(crops, percentiles))
    assert out[:, 0, 0, 0].tolist() == [127.5, 2 * 255 / 16]

    with pytest.raises(ValueError, match="protein is 'cell'; expected one of percentiles, fixed"):
        model.FieldNormalisation(protein="cell")


@pytest.mark.parametrize("name", LAYERS)
def test_a_change_happens_in_training_alone_and_follows_the_seed(name):
    crops = round_cells()
    crops[:, 10:16, 10:12] = 200  # not the same from all sides
    assert (np.asarray(layer(name)(crops, training=False)) == crops).all()
    first, again, other = (changed(name, crops, seed=seed) for seed in (1, 1, 2))
    assert first.dtype == np.float32 and (first == again).all() and (first != other).any()
    assert (first != crops).any() and first.min() >= 0 and first.max() <= 255
    assert any((first[0] != crop).any() for crop in first[1:])  # each crop is changed by itself


@pytest.mark.parametrize("name", LAYERS)
def test_saved_and_loaded_a_layer_changes_the_same_way(name, tmp_path):
    inputs = keras.Input((8, 8, 4))
    keras.Model(inputs, layer(name, seed=3)(inputs)).save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras").layers[-1]
    assert again.get_config() == layer(name, seed=3).get_config() | {"name": again.name}
    crops = round_cells(side=8, radius=3)
    assert (np.asarray(again(crops, training=True)) == changed(name, crops, seed=3)).all()


@pytest.mark.parametrize("name", LAYERS)
def test_xla_compiles_a_change(name):
    crops, compiled = round_cells(), layer(name)
    crops[:, 10:16, 10:12] = 200
    call = tf.function(lambda crops: compiled(crops, training=True), jit_compile=True)
    found = np.asarray(call(tf.constant(crops)))  # XLA draws other random numbers
    assert found.shape == crops.shape and (found != crops).any() and found.min() >= 0 and found.max() <= 255


def test_xla_computes_the_same_as_without_it():
    crops, each = tf.constant(round_cells()), tf.ones((4, 1, 1, 1))
    percentiles = np.tile([10, 20, 80, 110], (4, 4, 1)).astype(np.float32)
    normalise = model.FieldNormalisation()
    for function in (
        lambda crops: normalise(crops, percentiles),
        lambda crops: enlarge(crops, 1.2 * each),
        lambda crops: blur(crops, 1.5 * each, radius=3),
    ):
        found = tf.function(function, jit_compile=True)(crops)
        np.testing.assert_allclose(found, function(crops), rtol=1e-3, atol=0.05)


@pytest.mark.parametrize("name", ["RandomBrightness", "RandomBlur"])
def test_masked_pixels_stay_black(name):
    crops = round_cells()
    lit = crops > 0
    found = changed(name, crops)
    assert (found[~lit] == 0).all() and (found[lit] != crops[lit]).mean() > 0.1


def test_right_angles_give_the_eight_variants_of_a_crop_and_no_other():
    found = changed("RandomRightAngles", crops_with_one_pixel())
    places = {tuple(np.argwhere(crop[..., 0])[0]) for crop in found}
    assert places == {(0, 1), (0, 2), (3, 1), (3, 2), (1, 0), (2, 0), (1, 3), (2, 3)}
    assert (found.sum(axis=(1, 2)) == [200, 100, 50, 25]).all()


def test_each_channel_gets_another_gain_and_contrast_within_its_range():
    crops = np.zeros((300, 4, 4, 4), np.float32)
    crops[:, 0, 0], crops[:, 0, 1] = 255 * np.exp(-1.0), 255 * np.exp(-2.0)
    lower, higher = (np.log(changed("RandomBrightness", crops)[:, 0, pixel] / 255) for pixel in (1, 0))
    power = higher - lower  # the logarithms 1 apart before, × the power now
    gain = higher + power
    assert np.exp(-0.2) < power.min() < 0.84 and 1.19 < power.max() < np.exp(0.2)
    assert -0.4 < gain.min() < -0.36 and gain.max() <= 0.4
    assert abs(np.corrcoef(gain.T)[0, 1]) < 0.2


def test_green_stands_where_a_channel_is_not_shown():
    crop = np.full((1, 2, 2, 4), [10, 20, 30, 40], np.uint8)
    assert np.asarray(model.Channels("green, blue")(crop))[0, 0, 0].tolist() == [20, 20, 30, 20]
    assert np.asarray(model.Channels()(crop))[0, 0, 0].tolist() == [10, 20, 30, 40]
    with pytest.raises(ValueError, match="channels: 'cyan' is none of red, green, blue, yellow"):
        model.Channels("cyan")


def test_enlarging_twice_shows_the_middle_with_rows_and_columns_between():
    crop = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    found = np.asarray(enlarge(crop, np.full((1, 1, 1, 1), 2, np.float32)))[0, ..., 0]
    rows = np.array([0.75, 1.25, 1.75, 2.25])
    np.testing.assert_allclose(found, 4 * rows[:, None] + rows, atol=1e-4)


def test_a_cell_made_smaller_keeps_its_place_and_black_comes_in():
    crops = np.full((1, 9, 9, 4), 100, np.float32)
    found = np.asarray(enlarge(crops, np.full((1, 1, 1, 1), 0.5, np.float32)))[0, ..., 0]
    assert (found[2:7, 2:7] == 100).all() and (found[0] == 0).all() and (found[:, 8] == 0).all()


def test_a_cell_enlarged_by_half_has_two_and_a_quarter_times_its_area():
    crops = round_cells(radius=8)
    areas = np.asarray(enlarge(crops, np.full((4, 1, 1, 1), 1.5, np.float32))).sum(axis=(1, 2)) / crops.sum(axis=(1, 2))
    np.testing.assert_allclose(areas, 2.25, rtol=0.03)


def test_scale_stays_within_its_range():
    crops = round_cells(200, radius=8)
    areas = changed("RandomScale", crops).sum(axis=(1, 2, 3)) / crops.sum(axis=(1, 2, 3))
    assert np.exp(-0.4) * 0.97 < areas.min() < 0.75 and 1.3 < areas.max() < np.exp(0.4) * 1.03


def test_a_blurred_point_is_a_gaussian_of_the_same_sum():
    point = np.zeros((1, 17, 17, 4), np.float32)
    point[0, 8, 8] = 100
    seen = np.asarray(blur(point, np.full((1, 1, 1, 1), 1.5, np.float32), radius=6))[0, ..., 0]
    assert seen.sum() == pytest.approx(100, rel=1e-3)
    assert seen[8, 8] == pytest.approx(100 / (2 * np.pi * 1.5**2), rel=0.01)
    variance = (seen * (np.arange(17) - 8) ** 2).sum() / seen.sum()
    assert variance == pytest.approx(1.5**2, rel=0.02)
    still = np.asarray(blur(point, np.zeros((1, 1, 1, 1), np.float32), radius=6))
    np.testing.assert_allclose(still, point, atol=1e-4)
