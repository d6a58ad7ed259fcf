"""Sessions that end: deadlines, outputs of earlier sessions that are attached, and the driver of several notebooks."""

import importlib.util
import shutil
import sys
import time

import pytest

from hpa_utils import limits, manifest
from hpa_utils.dataset import open_dataset
from hpa_utils.running.notebooks import plan, run_notebooks
from hpa_utils.segmentation import choose_segmenter

PAST = 1.0  # Unix time


@pytest.fixture
def attached(tmp_path, monkeypatch):
    """Kaggle's input folder, with the output of an earlier session in it; returns the latter."""
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    folder = tmp_path / "input" / "notebooks" / "jane" / "run-all"
    folder.mkdir(parents=True)
    return folder


def test_a_stage_takes_its_share_of_the_time_and_none_without_a_deadline():
    assert limits.stop_time(0.0, "02_segmentation") == float("inf")
    now = time.time()
    assert limits.stop_time(now + 1000, "02_segmentation") == pytest.approx(now + 700, abs=5)
    assert limits.stop_time(now + 1000, "03_cell_crops") == pytest.approx(now + 500, abs=5)
    assert limits.stop_time(now - 1000, "03_cell_crops") <= time.time()


@pytest.mark.parametrize("mount", ["run-all", "notebooks/jane/run-all"])
def test_a_run_that_was_cut_goes_on_from_the_attached_one_of_its_name(tmp_path, monkeypatch, mount):
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    for name in ("b0-128-r1-f0", "b0-128-r1-f1"):
        earlier = tmp_path / "input" / mount / "04_train" / name
        earlier.mkdir(parents=True)
        (earlier / "state.npz").write_text(f"reached by {name}")
        (earlier / "04_train.ipynb").write_text("half")
        manifest.pause(earlier, "stopped after epoch 3")
    stage = tmp_path / "working" / "04_train" / "b0-128-r1-f0"
    manifest.begin(stage)
    assert [path.name for path in stage.iterdir()] == ["state.npz"]
    assert (stage / "state.npz").read_text() == "reached by b0-128-r1-f0"
    (stage / "state.npz").write_text("further")
    manifest.begin(stage)
    assert (stage / "state.npz").read_text() == "further"


def test_nothing_is_taken_over_from_a_finished_stage_nor_in_the_scoring_run(attached, tmp_path, monkeypatch):
    (attached / "03_cell_crops" / "128").mkdir(parents=True)
    (attached / "03_cell_crops" / "128" / "part.parquet").write_text("crops")
    stage = tmp_path / "working" / "03_cell_crops" / "128"
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    manifest.begin(stage)
    assert not list(stage.iterdir())
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN")
    manifest.finish(attached / "03_cell_crops" / "128", {}, {})
    manifest.begin(stage)
    assert not list(stage.iterdir())


def test_a_stage_with_fields_that_had_no_time_is_not_whole(tmp_path):
    row = {"image_id": "a", "split": "test", "error_files": ""}
    manifest.finish(tmp_path, {}, {}, [{**row, "error": "ValueError: broken"}])
    assert manifest.is_whole(tmp_path)
    manifest.finish(tmp_path, {}, {}, [{**row, "error": "OutOfTime: the time was over"}])
    assert not manifest.is_whole(tmp_path)


def test_what_an_attached_output_holds_is_left_out_and_read_from_there(attached, tiny_dataset, tmp_path, capsys):
    run_notebooks(data=str(tiny_dataset), out=str(attached), notebooks="02")
    options = {"data": str(tiny_dataset), "out": str(tmp_path / "out"), "assignments": ("size=32",)}
    run_notebooks(**options, notebooks="03")
    assert manifest.read_manifest(tmp_path / "out" / "03_cell_crops" / "32")["counts"]["crops"] == 30
    capsys.readouterr()
    run_notebooks(data=str(tiny_dataset), out=str(tmp_path / "out"), notebooks="02")
    assert f"[1/1] 02_segmentation: left out, {attached / '02_segmentation'} holds it" in capsys.readouterr().out
    assert not (tmp_path / "out" / "02_segmentation").exists()


def test_attached_models_predict_together_and_a_finished_one_is_kept(
    attached, finished_run, simulated, tmp_path, capsys
):
    shutil.copytree(finished_run, attached, dirs_exist_ok=True)
    model, other = (attached / "04_train" / f"lite0-64-r1-f{fold}" for fold in "01")
    out, dataset = tmp_path / "out", open_dataset(simulated)
    runs = {str(run): run.parameters for run in plan(dataset, out, "02,03,05", model="attached")}
    assert list(runs) == ["02_segmentation", "03_cell_crops/64", "05_inference"]
    assert runs["03_cell_crops/64"]["model"] in (str(model), str(other)) and runs["02_segmentation"]["splits"] == "test"
    run_notebooks(data=str(simulated), out=str(out), preset="quick", notebooks="04")
    assert f"04_train/{model.name}: left out, {model} holds it" in capsys.readouterr().out
    kept = out / "04_train" / model.name
    assert manifest.is_whole(kept) and (kept / "model.keras").is_file()


def test_notebooks_without_time_end_well_with_every_field_set_aside(tiny_dataset, tmp_path):
    run = {"data": str(tiny_dataset), "out": str(tmp_path / "out"), "notebooks": "02,03"}
    run_notebooks(**run, assignments=(f"deadline={PAST}", "splits=test"))
    assert len(manifest.read_manifest(tmp_path / "out" / "02_segmentation")["set_aside"]) == 3
    assert manifest.read_manifest(tmp_path / "out" / "03_cell_crops" / "128")["counts"]["crops"] == 0


def test_the_source_of_a_package_that_is_attached_can_be_imported(attached, monkeypatch):
    package = attached / "zoo-master" / "pytorch_zoo"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [*sys.path])
    choose_segmenter("watershed", 0.08, "")
    assert importlib.util.find_spec("pytorch_zoo").origin == str(package / "__init__.py")
