import cv2
import keras
import numpy as np
import pytest

from hpa_utils.model import FieldNormalisation, FieldPooling, build_backbone, build_bag_model, build_lite0, unfreeze
from hpa_utils.model import weights as pretrained
from hpa_utils.model.augmentation import Augmentation
from hpa_utils.model.efficientnet import IMAGENET_MEAN, IMAGENET_STD

EGYPTIAN_CAT, TABBY, TIGER_CAT, ESPRESSO = 285, 281, 282, 967  # of ImageNet's 1000 classes


def square(picture):
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    picture = cv2.resize(picture[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_CUBIC)
    return picture[None].astype(np.float32)


def test_lite0_with_the_wheels_weights_knows_a_cat_and_a_coffee():
    data = pytest.importorskip("skimage.data")
    model = build_lite0(224, channels=3, classes=1000)
    assert pretrained.load_lite0(model)["sha256"].startswith("57934424")
    cat, coffee = (model.predict(square(picture()), verbose=0)[0] for picture in (data.chelsea, data.coffee))
    assert set(cat.argsort()[-3:]) == {EGYPTIAN_CAT, TABBY, TIGER_CAT}
    assert coffee.argmax() == ESPRESSO and coffee[ESPRESSO] > 0.9


def test_four_channel_lite0_sees_a_colour_image_as_the_colour_net_does():
    four, _ = build_backbone("lite0", 64, "imagenet")
    three, _ = build_backbone("lite0", 64, "imagenet", channels=3)
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 4)).astype(np.float32)
    image[..., 3] = 127  # the network's zero
    np.testing.assert_allclose(
        four.predict(image, verbose=0), three.predict(image[..., :3], verbose=0), rtol=1e-4, atol=1e-4
    )


def test_four_channel_b0_from_a_file_sees_a_colour_image_as_the_colour_net_does(tmp_path):
    keras.utils.set_random_seed(0)
    three = keras.applications.EfficientNetB0(include_top=False, weights=None, input_shape=(64, 64, 3))
    normalization = next(layer for layer in three.layers if isinstance(layer, keras.layers.Normalization))
    normalization.set_weights([np.array(IMAGENET_MEAN), np.array(IMAGENET_STD) ** 2, np.int32(0)])
    normalization.finalize_state()
    three.save_weights(tmp_path / "b0.weights.h5")
    four, loaded = build_backbone("b0", 64, str(tmp_path / "b0.weights.h5"))
    image = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 4)).astype(np.float32)
    image[..., 3] = 255 * np.mean(IMAGENET_MEAN[:2])
    expected = three.predict(image[..., :3], verbose=0)
    np.testing.assert_allclose(four.predict(image, verbose=0), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    assert loaded["name"] == "b0.weights.h5" and len(loaded["sha256"]) == 64


def test_weights_that_do_not_fit_are_refused_by_layer():
    layer = keras.layers.Dense(2, name="head")
    layer.build((None, 3))
    with pytest.raises(ValueError, match="do not fit layer head"):
        pretrained.set_weights(layer, [np.zeros((4, 2)), np.zeros(2)])


@pytest.mark.parametrize(
    ("name", "weights", "error"),
    [("b9", "none", ValueError), ("lite0", "nowhere.h5", ValueError), ("b0", "nowhere.h5", FileNotFoundError)],
)
def test_unknown_backbones_and_missing_weights_are_named(name, weights, error):
    with pytest.raises(error, match=weights if name != "b9" else "b9"):
        build_backbone(name, 64, weights)


def test_a_weight_file_of_another_hash_is_not_unpickled(tmp_path):
    path = tmp_path / "lite0.pth"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match="not unpickled"):
        pretrained.read_torch_file(path, pretrained.LITE0_SHA256)


def test_even_with_the_right_hash_nothing_but_tensors_is_unpickled(tmp_path):
    path = tmp_path / "lite0.pth"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match="asks for os.system"):
        pretrained.read_torch_file(path, pretrained.file_sha256(path))


def test_unfreezing_takes_the_last_blocks_and_never_a_batch_norm():
    backbone, _ = build_backbone("lite0", 32, "none")
    assert unfreeze(backbone, 0.0) == 0 and not backbone.trainable_weights
    assert unfreeze(backbone, 2 / 18) == 2
    assert {weight.path.split("/")[0].split("_")[0] for weight in backbone.trainable_weights} == {"block7a", "top"}
    unfreeze(backbone, 1.0)
    norms = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert backbone.get_layer("stem_conv").trainable and not any(layer.trainable for layer in norms)


def test_normalisation_stretches_all_but_green_and_keeps_the_mask():
    percentiles = np.tile([10, 20, 80, 110], (1, 4, 1)).astype(np.float32)
    crops = np.full((1, 1, 2, 2, 4), 60, np.uint8)
    crops[0, 0, 0, 0] = 0
    out = np.asarray(FieldNormalisation()(crops, percentiles))
    np.testing.assert_allclose(out[0, 0, 1, 1], [127.5, 60, 127.5, 127.5])
    assert (out[0, 0, 0, 0] == 0).all()


def test_the_field_is_the_mean_of_its_cells_but_negative_only_if_all_are():
    logits = np.zeros((1, 3, 19), np.float32)
    logits[0, :, 4] = [1, 3, 100]
    logits[0, :, 18] = [5, -2, -100]
    pooled = np.asarray(FieldPooling()(logits, np.array([[1, 1, 0]], np.float32)))  # the third is padding
    assert pooled.shape == (1, 19) and pooled[0, 4] == 2 and pooled[0, 18] == -2


def test_augmentation_moves_pixels_in_training_and_does_nothing_else():
    crop = np.zeros((8, 4, 4, 4), np.float32)
    crop[:, 0, 1] = [200, 100, 50, 25]
    layer = Augmentation(seed=1)
    assert (np.asarray(layer(crop, training=False)) == crop).all()
    changed = np.asarray(layer(crop, training=True))
    places = {tuple(np.argwhere(image[..., 0])[0]) for image in changed}
    assert len(places) > 2 and places <= {(0, 1), (0, 2), (3, 1), (3, 2), (1, 0), (2, 0), (1, 3), (2, 3)}
    bright = changed.sum(axis=(1, 2))
    assert (bright[:, [0, 2, 3]] == [200, 50, 25]).all() and len(set(bright[:, 1])) > 1


def test_a_saved_bag_model_predicts_the_same_and_padding_changes_nothing(tmp_path):
    backbone, _ = build_backbone("lite0", 32, "imagenet")
    model = build_bag_model(backbone, 32)
    rng = np.random.default_rng(0)
    inputs = {
        "cells": rng.integers(0, 256, (2, 3, 32, 32, 4), np.uint8),
        "percentiles": np.tile([0, 5, 100, 200], (2, 4, 1)).astype(np.float32),
        "valid": np.array([[1, 1, 1], [1, 1, 0]], np.float32),
    }
    before = model.predict(inputs, verbose=0)
    assert before["cells"].shape == (2, 3, 19) and before["field"].shape == (2, 19)
    inputs["cells"][1, 2] = 0
    np.testing.assert_allclose(model.predict(inputs, verbose=0)["field"], before["field"], rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras").predict(inputs, verbose=0)
    np.testing.assert_allclose(loaded["field"], before["field"], rtol=1e-5)
