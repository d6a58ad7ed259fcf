import dataclasses

import keras
import numpy as np
import pytest
from keras import ops

from hpa_utils.model.augmentation import Augmentation, AugmentationConfig, CellDrop, blur, resample

NOTHING = AugmentationConfig(right_angles=False, green=0)


def crops_with_one_pixel(number=8, side=4):
    """Pixel (0, 1) of each crop is 200, 100, 50, 25; all others are masked out."""
    crops = np.zeros((number, side, side, 4), np.float32)
    crops[:, 0, 1] = [200, 100, 50, 25]
    return crops


def round_cells(number=4, side=32, radius=10):
    """A disk of 60, 80, 100, 120 in the middle of each crop; around it all is masked out."""
    rows, columns = np.mgrid[:side, :side] - (side - 1) / 2
    disk = rows**2 + columns**2 <= radius**2
    return np.tile(disk[None, ..., None] * np.array([60, 80, 100, 120], np.float32), (number, 1, 1, 1))


def augmented(crops, seed=0, **changes):
    return np.asarray(Augmentation(dataclasses.replace(NOTHING, **changes), seed)(crops, training=True))


def turned(crops, angle=0.0, enlargement=1.0):
    each = np.ones((len(crops), 1, 1, 1), np.float32)
    return np.asarray(resample(crops, ops.convert_to_tensor(angle * each), ops.convert_to_tensor(enlargement * each)))


def test_outside_training_nothing_changes():
    everything = AugmentationConfig(True, 180, 0.3, 0.5, 1, 10, 0.5)
    crops = crops_with_one_pixel()
    assert (np.asarray(Augmentation(everything)(crops, training=False)) == crops).all()


def test_with_everything_off_training_changes_nothing():
    crops = crops_with_one_pixel()
    assert (augmented(crops) == crops).all()


def test_right_angles_give_the_eight_variants_of_a_crop_and_no_other():
    changed = augmented(crops_with_one_pixel(200), right_angles=True)
    places = {tuple(np.argwhere(crop[..., 0])[0]) for crop in changed}
    assert places == {(0, 1), (0, 2), (3, 1), (3, 2), (1, 0), (2, 0), (1, 3), (2, 3)}
    assert (changed.sum(axis=(1, 2)) == [200, 100, 50, 25]).all()


def test_green_alone_gets_another_brightness_within_its_range():
    factor = augmented(crops_with_one_pixel(200), green=0.3)[:, 0, 1] / [200, 100, 50, 25]
    assert (factor[:, [0, 2, 3]] == 1).all()
    assert 0.74 < factor[:, 1].min() < 0.8 and 1.25 < factor[:, 1].max() < 1.35  # exp(±0.3)


def test_a_turn_by_a_right_angle_is_exact():
    crops = np.random.default_rng(0).uniform(0, 255, (2, 5, 5, 4)).astype(np.float32)
    np.testing.assert_allclose(turned(crops, np.pi / 2), np.rot90(crops, 1, axes=(1, 2)), atol=1e-2)
    np.testing.assert_allclose(turned(crops), crops, atol=1e-3)


def test_free_rotation_keeps_the_light_of_a_cell_and_cuts_off_what_leaves_the_square():
    crops = round_cells()
    changed = augmented(crops, rotation=180)
    assert (changed != crops).any()
    np.testing.assert_allclose(changed.sum(axis=(1, 2)), crops.sum(axis=(1, 2)), rtol=0.02)
    assert turned(np.ones((1, 9, 9, 4), np.float32), np.pi / 4)[0, 0, 0].max() == 0


def test_a_cell_enlarged_by_half_has_two_and_a_quarter_times_its_area():
    crops = round_cells(radius=8)
    areas = turned(crops, enlargement=1.5).sum(axis=(1, 2)) / crops.sum(axis=(1, 2))
    np.testing.assert_allclose(areas, 2.25, rtol=0.03)


def test_scale_stays_within_its_range():
    crops = round_cells(200, radius=8)
    areas = augmented(crops, scale=0.2).sum(axis=(1, 2, 3)) / crops.sum(axis=(1, 2, 3))
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


@pytest.mark.parametrize("change", [{"noise": 30}, {"blur": 2}, {"green": 1}, {"noise": 30, "blur": 2, "green": 1}])
def test_masked_pixels_stay_black(change):
    crops = round_cells()
    changed = augmented(crops, **change)
    lit = crops > 0
    assert (changed[~lit] == 0).all() and (changed[lit] != crops[lit]).mean() > 0.2
    assert changed.min() >= 0 and changed.max() <= 255


def test_noise_has_the_deviation_it_was_given_at_most():
    crops = np.full((200, 8, 8, 4), 128, np.float32)
    deviations = (augmented(crops, noise=10) - crops).std(axis=(1, 2, 3))
    assert 8 < deviations.max() < 11.5 and deviations.min() < 1  # 256 values: ± 4.4 %


def test_cell_drop_drops_its_share_and_never_empties_a_bag():
    valid = np.ones((400, 6), np.float32)
    valid[:200, 1:] = 0  # bags of one cell
    valid[0] = 0  # and one of none
    kept = np.asarray(CellDrop(0.5, seed=1)(valid, training=True))
    assert (kept <= valid).all() and (kept[1:].sum(axis=1) >= 1).all() and kept[0].sum() == 0
    assert kept[200:].mean() == pytest.approx(0.5, abs=0.05)
    assert (np.asarray(CellDrop(0.5)(valid, training=False)) == valid).all()


def test_saved_layers_come_back_with_their_configuration():
    config = AugmentationConfig(rotation=20, scale=0.1, blur=0.5, noise=2, cell_drop=0.2)
    for layer in (Augmentation(config, seed=3), CellDrop(0.2, seed=3)):
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(again) is type(layer) and again.get_config() == layer.get_config()
    assert Augmentation.from_config(Augmentation(config).get_config()).config == config


def test_the_same_seed_gives_the_same_changes():
    changes = {"right_angles": True, "rotation": 90, "noise": 5}
    first, again, other = (augmented(round_cells(), seed, **changes) for seed in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


@pytest.mark.parametrize(
    "values",
    [{"right_angles": 7}, {"rotation": 200}, {"scale": -1}, {"green": 3}, {"blur": 9}, {"noise": 99}, {"cell_drop": 1}],
)
def test_senseless_augmentation_is_refused_by_name(values):
    name = next(iter(values))
    with pytest.raises(ValueError, match=f"augmentation.{name} is {values[name]}"):
        AugmentationConfig(**values)
