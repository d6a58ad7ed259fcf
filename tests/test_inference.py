"""Predictions of models: averaged over flips and turns, several models and folders together."""

import json

import keras
import numpy as np
import pyarrow as pa
import pytest

from hpa_utils import tables
from hpa_utils.crops import Bags, encode_crop
from hpa_utils.crops.bags import BAGS
from hpa_utils.inference import CELL_COLUMNS, FIELD_COLUMNS, find_models, load_models, open_ensemble, predict_bags
from hpa_utils.model import build_bag_model
from hpa_utils.model.prediction import turn

SIZE = 16


def small_model(seed):
    """A bag model on one convolution that tells left from right and up from down."""
    keras.utils.set_random_seed(seed)
    given = keras.Input((SIZE, SIZE, 4))
    backbone = keras.Model(given, keras.layers.Conv2D(8, 5, strides=3, activation="relu")(given / 64), name="backbone")
    model = build_bag_model(backbone, SIZE)
    model.get_layer("head").set_weights([np.random.default_rng(seed).normal(size=(16, 19)) / 4, np.full(19, -1.0)])
    return model


def crops_of(seed, count):
    return np.random.default_rng(seed).integers(1, 256, (count, SIZE, SIZE, 4)).astype(np.uint8)


def write_bags(path, bags, fingerprint=""):
    """One part; `bags`: ID → crops."""
    with tables.part_writer(path, BAGS, "key") as writer:
        for image_id, crops in bags.items():
            bag = {"image_id": image_id, "split": "test", "labels": [-1] * 19, "percentiles": [0.0, 1, 200, 255] * 4}
            bag |= {"cell_ids": list(range(1, len(crops) + 1)), "crops": [encode_crop(crop) for crop in crops]}
            bag |= {"scales": [0.3] * len(crops), "edge_fractions": [0.0] * len(crops)}
            writer.write_table(pa.Table.from_pylist([bag], schema=BAGS))
        writer.add_key_value_metadata({"cells_fingerprint": fingerprint})
    return Bags(path.parent, "test")


@pytest.fixture(scope="module")
def models():
    return [small_model(0), small_model(1)]


@pytest.fixture
def bags(tmp_path):
    """Two bags, of 3 and 2 cells."""
    return write_bags(tmp_path / "bags" / "part-test-0000.parquet", {"a": crops_of(0, 3), "b": crops_of(1, 2)})


def values(table):
    return table[CELL_COLUMNS + FIELD_COLUMNS].to_numpy()


def test_views_are_flips_and_turns_in_the_documented_order():
    crops = crops_of(0, 2)
    expected = [crops, crops[:, :, ::-1], crops[:, ::-1], np.rot90(crops, 2, (1, 2)), crops.swapaxes(1, 2)]
    expected += [np.rot90(crops, -1, (1, 2)), np.rot90(crops, 1, (1, 2)), crops.swapaxes(1, 2)[:, ::-1, ::-1]]
    assert len({turn(crops, view).tobytes() for view in range(8)}) == 8
    for view, variant in enumerate(expected):
        assert (turn(crops, view) == variant).all(), view


def test_one_view_is_what_the_bag_model_says_of_whole_bags(models, bags):
    table = predict_bags(models[:1], bags, [1, 0], SIZE, batch=2)
    assert table["image_id"].tolist() == ["b"] * 2 + ["a"] * 3 and table["cell_id"].tolist() == [1, 2, 1, 2, 3]
    for image_id, crops in (("a", crops_of(0, 3)), ("b", crops_of(1, 2))):
        inputs = {"cells": crops[None], "valid": np.ones((1, len(crops)), np.float32)}
        inputs["percentiles"] = np.tile(np.float32([0, 1, 200, 255]), (1, 4, 1))
        logits = {name: np.asarray(found)[0] for name, found in models[0](inputs).items()}
        expected = np.hstack([logits["cells"], np.tile(logits["field"], (len(crops), 1))])
        np.testing.assert_allclose(values(table[table["image_id"] == image_id]), 1 / (1 + np.exp(-expected)), rtol=1e-5)


def test_views_and_models_average_probabilities_of_cells_and_fields(models, bags, tmp_path):
    alone = []
    for view in range(4):
        turned = {image_id: turn(crops_of(seed, count), view) for image_id, seed, count in (("a", 0, 3), ("b", 1, 2))}
        bags_turned = write_bags(tmp_path / str(view) / "part-test-0000.parquet", turned)
        alone += [values(predict_bags([model], bags_turned, [0, 1], SIZE)) for model in models]
    together = values(predict_bags(models, bags, [0, 1], SIZE, views=4))
    np.testing.assert_allclose(together, np.mean(alone, axis=0), rtol=1e-5)


@pytest.mark.parametrize("view", [3, 4, 5, 7])
def test_with_eight_views_it_does_not_matter_how_a_crop_lies(models, bags, tmp_path, view):
    turned = {"a": turn(crops_of(0, 3), view), "b": turn(crops_of(1, 2), view)}
    other = write_bags(tmp_path / "turned" / "part-test-0000.parquet", turned)
    same, one = ([values(predict_bags(models, b, [0, 1], SIZE, views=v)) for b in (bags, other)] for v in (8, 1))
    np.testing.assert_allclose(*same, rtol=1e-5)
    assert np.abs(one[0] - one[1]).max() > 1e-3  # one view does see it


def test_no_bags_give_an_empty_table(models, bags):
    assert len(predict_bags(models, bags, [], SIZE)) == 0


def test_a_folder_without_a_model_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="no model.keras"):
        load_models(tmp_path)


def model_folder(folder, models, **changes):
    folder.mkdir()
    for number, model in enumerate(models):
        model.save(folder / (f"fold_{number}.keras" if models[1:] else "model.keras"))
    config = {"crops": {"size": SIZE}, "training": {}, "segmenter": "watershed"} | changes
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def test_models_of_several_folders_take_turns_and_must_share_their_crops(models, tmp_path):
    first, second = model_folder(tmp_path / "a", models), model_folder(tmp_path / "b", models[1:])
    found = find_models(tmp_path, f"{first}, {second}")
    assert found == [first, second]
    ensemble = open_ensemble(found)
    a_then_b = [ensemble.digests[0], ensemble.digests[2]]
    assert len(ensemble.models) == 3 and a_then_b == list(open_ensemble([first]).digests)
    other = model_folder(tmp_path / "c", models[:1], crops={"size": 32})
    with pytest.raises(ValueError, match=r"crops.size is 16 in .*a but 32 in .*c"):
        open_ensemble([first, other])


def test_folders_with_cells_of_another_segmenter_are_warned_of(models, tmp_path):
    folders = [model_folder(tmp_path / name, models[:1], segmenter=name) for name in ("masks", "watershed")]
    with pytest.warns(UserWarning, match="learned cells from watershed, .* from masks"):
        open_ensemble(folders)
