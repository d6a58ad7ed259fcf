import dataclasses
import json

import pytest

from hpa_utils import manifest, paths
from hpa_utils.dataset import open_dataset


@dataclasses.dataclass(frozen=True)
class Config:
    size: int = 1
    name: str = "a"


def test_configuration_is_given_values_then_the_section_of_the_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"crops": {"size": 3}, "training": {"size": 9}}')
    assert manifest.configure(Config, "crops", size=2) == Config(2)
    assert manifest.configure(Config, "crops", path, size=2, name="b") == Config(3, "b")
    assert manifest.configure(Config, "blending", path) == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"crops": {"sise": 3}}', "crops.sise is unknown; there are name, size"),
        ('{"crop": {}}', "section crop is unknown"),
        ("[]", "section"),
        ("{", "no JSON"),
    ],
)
def test_unknown_names_are_refused(tmp_path, text, message):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        manifest.configure(Config, "crops", path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere.json"):
        manifest.configure(Config, "crops", tmp_path / "nowhere.json")


def test_a_begun_stage_is_not_finished_until_it_says_so(tmp_path):
    manifest.finish(tmp_path, {}, {"cells": 3})
    assert manifest.read_manifest(tmp_path)["complete"]
    manifest.begin(tmp_path)
    assert manifest.read_manifest(tmp_path) == {}


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


def test_a_failed_replacement_leaves_what_was_there(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"old": 1}))
    with pytest.raises(RuntimeError), paths.atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"old": 1} and len(list(tmp_path.iterdir())) == 1
