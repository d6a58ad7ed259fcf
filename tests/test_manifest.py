import json
import re

import pytest
from conftest import field_with_cells, write_field

from hpa_utils import manifest, paths
from hpa_utils.crops import crop_set_of
from hpa_utils.dataset import open_dataset


def test_a_model_folder_says_what_it_lacks(tmp_path):
    with pytest.raises(FileNotFoundError, match="is no model folder: it has no config.json"):
        manifest.read_config(tmp_path)
    paths.write_json(tmp_path / "config.json", {"format": manifest.FORMAT, "name": "b0"})
    with pytest.raises(ValueError, match="config.json: no key training_round; expected a whole number"):
        manifest.read_config(tmp_path)


def test_what_another_version_wrote_is_refused(tmp_path):
    paths.write_json(tmp_path / "config.json", {"format": 2, "crops": {}, "training": {}, "segmenter": "watershed"})
    with pytest.raises(ValueError, match="written by another version .format 2, this one has 4.*another output root"):
        manifest.read_config(tmp_path)


@pytest.mark.parametrize(
    ("crops", "message"),
    [
        (None, "crops is null; expected an object"),
        ({"name": "64"}, "config.json: crops: no key config"),
        ({"name": "64", "config": {"size": 64.5}}, "config.json: crops.config: size is 64.5; expected a whole number"),
        ({"name": "64", "config": {"size": "64"}}, 'config.json: crops.config: size is "64"; expected a whole number'),
        ({"name": "64", "config": {"side": 64}}, "config.json: crops.config: unknown key side; did you mean size?"),
        ({"name": "64", "config": {"size": 8}}, "size is 8; expected a crop of 16…1024 px"),
    ],
)
def test_a_models_settings_are_checked_by_name_and_type(tmp_path, crops, message):
    config = {"name": "b0", "training_round": 1, "fold": 0, "n_folds": 5, "segmenter": "watershed", "crops": crops}
    paths.write_json(tmp_path / "config.json", {"format": manifest.FORMAT, **config})
    with pytest.raises(ValueError, match=re.escape(message)):
        crop_set_of(tmp_path)
    paths.write_json(tmp_path / "config.json", {"format": manifest.FORMAT, **config, "fold": "0"})
    with pytest.raises(ValueError, match='fold is "0"; expected a whole number'):
        manifest.read_config(tmp_path)


def test_two_crop_configurations_that_differ_are_told_apart(tmp_path):
    manifest.check_same("crops", {"size": 64}, {"size": 64}, tmp_path / "a", tmp_path / "b")
    with pytest.raises(ValueError, match=r"crops.size is 64 in .*a but 96 in .*b"):
        manifest.check_same("crops", {"size": 64}, {"size": 96}, tmp_path / "a", tmp_path / "b")


def test_a_begun_stage_is_not_finished_until_it_says_so(tmp_path):
    manifest.finish(tmp_path, {}, {"cells": 3})
    assert manifest.read_manifest(tmp_path)["complete"]
    manifest.begin(tmp_path)
    assert manifest.read_manifest(tmp_path) == {}


def test_a_paused_stage_is_not_whole_and_says_why(tmp_path):
    manifest.pause(tmp_path, "stopped after epoch 3")
    assert not manifest.is_whole(tmp_path) and manifest.read_manifest(tmp_path)["paused"] == "stopped after epoch 3"


def test_a_stage_is_named_within_its_output_root(tmp_path):
    assert manifest.stage_name(tmp_path / "02_segmentation") == "02_segmentation"
    assert manifest.stage_name(tmp_path / "04_train" / "b0-r1-f0") == "04_train/b0-r1-f0"


def test_the_digest_of_a_stage_leaves_out_how_it_was_run(tmp_path):
    manifest.finish(tmp_path, {"a": 1}, {})
    before = manifest.stage_digest(tmp_path)
    paths.write_json(tmp_path / "manifest.json", {**manifest.read_manifest(tmp_path), "run": {"b": 2}})
    assert manifest.stage_digest(tmp_path) == before
    manifest.finish(tmp_path, {"a": 2}, {})
    assert manifest.stage_digest(tmp_path) != before


def test_a_half_written_manifest_is_none(tmp_path):
    (tmp_path / "manifest.json").write_text('{"complete": tr')
    assert manifest.read_manifest(tmp_path) == {}


def test_train_and_test_have_fingerprints_of_their_own(tiny_dataset):
    before = {split: manifest.split_fingerprint(open_dataset(tiny_dataset), split) for split in ("train", "test")}
    (tiny_dataset / "test" / "test-0_red.png").unlink()
    after = {split: manifest.split_fingerprint(open_dataset(tiny_dataset), split) for split in ("train", "test")}
    assert before["train"] == after["train"] and before["test"] != after["test"]


def test_the_place_of_a_data_set_is_not_in_its_fingerprint(tiny_dataset, tmp_path):
    before = manifest.split_fingerprint(open_dataset(tiny_dataset), "train")
    moved = tiny_dataset.rename(tmp_path / "moved")
    assert manifest.split_fingerprint(open_dataset(moved), "train") == before


def test_new_images_under_old_names_are_another_input(tiny_dataset):
    before = manifest.split_fingerprint(open_dataset(tiny_dataset), "train")
    write_field(tiny_dataset / "train", "train-00", field_with_cells()[::-1])
    assert manifest.split_fingerprint(open_dataset(tiny_dataset), "train") != before


def test_a_failed_replacement_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"old": 1}))
    with pytest.raises(RuntimeError), paths.atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"old": 1} and len(list(tmp_path.iterdir())) == 1
