import cv2
import h5py
import keras
import numpy as np
import pytest

from hpa_utils.manifest import digest
from hpa_utils.model import BACKBONES, block_names, build_backbone, build_lite0, unfreeze
from hpa_utils.model import weights as pretrained
from hpa_utils.model.efficientnet import IMAGENET_MEAN, IMAGENET_STD

EGYPTIAN_CAT, TABBY, TIGER_CAT, ESPRESSO = 285, 281, 282, 967  # of ImageNet's 1000 classes
SIZE = 32


def square(picture):
    height, width = picture.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    picture = cv2.resize(picture[top : top + side, left : left + side], (224, 224), interpolation=cv2.INTER_CUBIC)
    return picture[None].astype(np.float32)


def colour_net(name):
    """A network of Keras as it is published, for three channels, every BatchNorm made one of a kind."""
    rng = np.random.default_rng(0)
    keras.utils.set_random_seed(0)
    builder = getattr(keras.applications, BACKBONES[name].builder)
    net = builder(include_top=False, weights=None, input_shape=(SIZE, SIZE, 3))
    for layer in net.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.7, 1.3, weight.shape) for weight in layer.weights])
    return net


def save_as_published(net, path):
    """Write weights in the layout of Keras 2's weight files: that of the weights within a whole saved model."""
    whole = path.with_name("whole.h5")
    net.save(whole)
    with h5py.File(whole) as source, h5py.File(path, "w") as target:
        for name, group in source["model_weights"].items():
            source.copy(group, target, name)
        target.attrs["layer_names"] = np.array(source["model_weights"].attrs["layer_names"], "S")  # Keras 2: bytes
    net.load_weights(path)  # Keras reads it too


def features(net, image):
    return np.asarray(net(image, training=False))


def image_with_yellow_at_zero(name):
    mean, _ = BACKBONES[name].preprocessing(4)
    image = np.random.default_rng(1).uniform(0, 255, (2, SIZE, SIZE, 4)).astype(np.float32)
    image[..., 3] = mean[3]  # what the network sees as nothing
    return image


def assert_same(found, expected):
    assert np.abs(expected).max() > 0
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_all_networks_of_the_table_are_there_under_their_published_file_names():
    assert set(BACKBONES) == {"lite0", *(f"b{n}" for n in range(8)), *(f"v2b{n}" for n in range(4)), "v2s"}
    assert BACKBONES["b7"].file == "efficientnetb7_notop.h5"
    assert BACKBONES["v2b3"].file == "efficientnetv2-b3_notop.h5"
    assert BACKBONES["v2s"].file == "efficientnetv2-s_notop.h5"
    assert all(hasattr(keras.applications, network.builder) for network in BACKBONES.values() if network.builder)


def test_in_training_whole_blocks_are_dropped_while_batchnorm_stays():
    keras.utils.set_random_seed(0)
    model, _ = build_backbone("b0", SIZE, "none")
    unfreeze(model, 1.0)
    drop, norm = model.get_layer("block6d_drop"), model.get_layer("stem_bn")
    kept = np.unique(drop(np.ones((400, 1, 1, 3), np.float32), training=True), axis=0)
    assert drop.rate == pytest.approx(0.175) and sorted(np.unique(kept).round(3)) == [0, 1.212]
    assert all(len(np.unique(field)) == 1 for field in kept)  # a block is there for a crop, or is not
    moments = [np.array(value) for value in norm.non_trainable_variables]
    crops = np.random.default_rng(0).uniform(0, 255, (4, SIZE, SIZE, 4)).astype(np.float32)
    assert not np.array_equal(*(keras.ops.convert_to_numpy(model(crops, training=True)) for _ in range(2)))
    assert np.array_equal(*(keras.ops.convert_to_numpy(model(crops, training=False)) for _ in range(2)))
    assert all(np.array_equal(old, new) for old, new in zip(moments, norm.non_trainable_variables))


def test_yellow_is_scaled_by_the_means_of_red_and_green():
    mean, std = BACKBONES["b0"].preprocessing(4)
    np.testing.assert_allclose(mean, 255 * np.array([0.485, 0.456, 0.406, 0.4705]))
    np.testing.assert_allclose(std, 255 * np.array([0.229, 0.224, 0.225, 0.2265]))
    assert [part.tolist() for part in BACKBONES["v2s"].preprocessing(4)] == [[128] * 4, [128] * 4]


def test_lite0_with_the_wheels_weights_knows_a_cat_and_a_coffee():
    data = pytest.importorskip("skimage.data")
    model = build_lite0(224, channels=3, classes=1000)
    assert pretrained.load_lite0(model)["sha256"].startswith("57934424")
    cat, coffee = (features(model, square(picture()))[0] for picture in (data.chelsea, data.coffee))
    assert set(cat.argsort()[-3:]) == {EGYPTIAN_CAT, TABBY, TIGER_CAT}
    assert coffee.argmax() == ESPRESSO and coffee[ESPRESSO] > 0.9


def test_four_channel_lite0_sees_a_colour_image_as_the_colour_net_does():
    four, _ = build_backbone("lite0", SIZE, "imagenet")
    three, _ = build_backbone("lite0", SIZE, "imagenet", channels=3)
    image = image_with_yellow_at_zero("lite0")
    assert_same(features(four, image), features(three, image[..., :3]))


def test_four_channel_b0_from_the_attached_file_sees_a_colour_image_as_the_published_net_does(tmp_path, monkeypatch):
    three = colour_net("b0")
    attached = tmp_path / "input" / "keras-applications" / "efficientnetb0_notop.h5"
    attached.parent.mkdir(parents=True)
    save_as_published(three, attached)
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    four, loaded = build_backbone("b0", SIZE, "imagenet")
    image = image_with_yellow_at_zero("b0")
    # the net as built divides by 255 and has a Normalization that does nothing yet; published, it scales like this
    scaled = 255 * (image[..., :3] / 255 - IMAGENET_MEAN) / IMAGENET_STD
    assert_same(features(four, image), features(three, scaled.astype(np.float32)))
    assert loaded == {"name": "efficientnetb0_notop.h5", "sha256": digest(attached)}


def test_four_channel_v2b0_from_a_path_sees_a_colour_image_as_kerass_own_does(tmp_path):
    three = colour_net("v2b0")  # with Keras' preprocessing, which is right for three channels
    three.save_weights(tmp_path / "mine.weights.h5")
    four, loaded = build_backbone("v2b0", SIZE, str(tmp_path / "mine.weights.h5"))
    image = image_with_yellow_at_zero("v2b0")
    assert_same(features(four, image), features(three, image[..., :3]))
    assert loaded["name"] == "mine.weights.h5"


@pytest.mark.parametrize("channels", [3, 4])
@pytest.mark.parametrize("name", ["whole.h5", "net.weights.h5"])
def test_a_file_fills_its_own_network_from_three_or_four_channels_and_no_other(tmp_path, name, channels):
    def net(*filters, channels=4):
        x = inputs = keras.Input((8, 8, channels))
        for number, count in enumerate(filters):
            x = keras.layers.Conv2D(count, 3, name=f"block{number}_conv")(x)
        return keras.Model(inputs, x)

    path, source, model = tmp_path / name, net(4, 5, channels=channels), net(4, 5)
    source.save(path) if name == "whole.h5" else source.save_weights(path)
    pretrained.load_file(model, lambda channels: net(4, 5, channels=channels), path)
    image = np.random.default_rng(0).uniform(0, 1, (1, 8, 8, 4)).astype(np.float32)
    image[..., channels:] = 0
    assert_same(features(model, image), features(source, image[..., :channels]))
    for filters in ((4, 6), (4, 5, 6)):
        with pytest.raises(ValueError, match=f"{name} does not hold the weights of this network: ."):
            pretrained.load_file(net(*filters), lambda channels, own=filters: net(*own, channels=channels), path)


def test_a_file_that_holds_no_weights_is_refused(tmp_path):
    (tmp_path / "page.h5").write_text("<html>not found</html>")
    with h5py.File(tmp_path / "table.h5", "w") as file:
        file["numbers"] = [1, 2]
    for name in ("page.h5", "table.h5"):
        with pytest.raises(ValueError, match=name):
            build_backbone("lite0", SIZE, str(tmp_path / name))


def test_missing_weight_files_and_unknown_backbones_are_named():
    with pytest.raises(FileNotFoundError, match="nowhere.h5 do not exist"):
        build_backbone("lite0", SIZE, "nowhere.h5")
    with pytest.raises(ValueError, match="'b9' is unknown; there are lite0, b0"):
        build_backbone("b9", SIZE, "none")


def test_a_weight_file_is_unpickled_only_with_the_right_hash_and_then_only_tensors(tmp_path):
    path = tmp_path / "lite0.pth"
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(ValueError, match="not unpickled"):
        pretrained.read_torch_file(path, pretrained.LITE0_SHA256)
    with pytest.raises(ValueError, match="asks for os.system"):
        pretrained.read_torch_file(path, digest(path))


def test_unfreezing_takes_the_last_blocks_and_no_batch_norm():
    backbone, _ = build_backbone("lite0", SIZE, "none")
    assert len(block_names(backbone)) == 18
    assert unfreeze(backbone, 0.0) == 0 and not backbone.trainable_weights
    assert unfreeze(backbone, 2 / 18) == 2
    assert {weight.path.split("/")[0].split("_")[0] for weight in backbone.trainable_weights} == {"block7a", "top"}
    norms = [layer for layer in backbone.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert not any(layer.trainable for layer in norms)
    assert unfreeze(backbone, 1.0) == 18
    assert backbone.get_layer("stem_conv").trainable and not any(layer.trainable for layer in norms)


def test_training_leaves_the_statistics_of_batch_norm_alone():
    backbone, _ = build_backbone("lite0", SIZE, "none")
    unfreeze(backbone, 1.0)
    norm = backbone.get_layer("top_bn")
    before = np.asarray(norm.moving_mean)
    image = image_with_yellow_at_zero("lite0")
    trained, used = (np.asarray(backbone(image, training=training)) for training in (True, False))
    assert (np.asarray(norm.moving_mean) == before).all()
    np.testing.assert_allclose(trained, used, rtol=1e-4, atol=1e-6)
