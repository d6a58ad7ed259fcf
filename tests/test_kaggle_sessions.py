"""Sessions that end: deadlines, outputs of earlier sessions that are attached, and the driver of several notebooks."""

import importlib
import sys
import time

import jupytext
import pandas as pd
import pytest

from hpa_utils import deadlines, manifest, tables
from hpa_utils.crops import CropConfig, plan_bags, write_bags
from hpa_utils.dataset import open_dataset
from hpa_utils.paths import write_json
from hpa_utils.running.notebooks import NOTEBOOKS, run_notebooks
from hpa_utils.running.parameters import read_parameters
from hpa_utils.segmentation import WatershedSegmenter, plan_segmentation, segment_part, selection

PAST = 1.0  # Unix time


@pytest.fixture
def attached(tmp_path, monkeypatch):
    """Kaggle's input folder, with the output of an earlier session in it; returns the latter."""
    monkeypatch.setenv("HPA_KAGGLE", str(tmp_path))
    folder = tmp_path / "input" / "notebooks" / "jane" / "run-all"
    folder.mkdir(parents=True)
    return folder


def segment(root, out, until=float("inf")) -> pd.DataFrame:
    """The field table of the test split, segmented into `out`."""
    for part in plan_segmentation(open_dataset(root), ["test"], WatershedSegmenter(0.32), out, until):
        segment_part(part)
    return tables.read_parts(out / "fields")


def test_a_stage_takes_its_share_of_the_time_and_none_without_a_deadline():
    assert deadlines.stop_time(0.0, "02_segmentation") == float("inf")
    now = time.time()
    assert deadlines.stop_time(now + 1000, "02_segmentation") == pytest.approx(now + 700, abs=5)
    assert deadlines.stop_time(now + 1000, "03_cell_crops") == pytest.approx(now + 500, abs=5)
    assert deadlines.stop_time(now - 1000, "03_cell_crops") <= time.time()


def test_fields_not_begun_in_time_are_set_aside_whole_and_done_the_next_time(tiny_dataset, tmp_path):
    fields = segment(tiny_dataset, tmp_path / "02", PAST)
    assert fields["image_id"].tolist() == ["test-0", "test-1", "test-2"]
    assert fields["error"].str.startswith("OutOfTime: the time was over").all() and (fields["n_cells"] == 0).all()
    tables.check_some_left(fields)  # lack of time is no reason to stop
    fields = segment(tiny_dataset, tmp_path / "02")
    assert (fields["error"] == "").all() and (fields["n_cells"] == 2).all()


def test_crops_not_begun_in_time_are_set_aside_and_done_the_next_time(tiny_dataset, tmp_path):
    segment(tiny_dataset, tmp_path / "02")
    dataset, config = open_dataset(tiny_dataset), CropConfig(size=32)
    (late,) = plan_bags(dataset, ["test"], [tmp_path / "02"], config, tmp_path / "03", until=PAST)
    assert [row["image_id"] for row in write_bags(late)["set_aside"]] == ["test-0", "test-1", "test-2"]
    (part,) = plan_bags(dataset, ["test"], [tmp_path / "02"], config, tmp_path / "03")
    assert write_bags(part)["cells"] == 6


def test_the_three_notebooks_of_a_submission_take_the_same_deadline():
    for name in ("02_segmentation", "03_cell_crops", "05_inference"):
        assert read_parameters(NOTEBOOKS / f"{name}.py")["deadline"] == 0.0


def test_a_stage_that_was_cut_goes_on_from_its_attached_output(attached, tmp_path):
    earlier = attached / "04_train"
    (earlier / "state" / "round-1-fold-0").mkdir(parents=True)
    (earlier / "state" / "round-1-fold-0" / "state.json").write_text("reached")
    (earlier / "04_train.ipynb").write_text("half")
    stage = tmp_path / "working" / "04_train"
    manifest.begin(stage)
    assert (stage / "state" / "round-1-fold-0" / "state.json").read_text() == "reached"
    assert not (stage / "04_train.ipynb").exists()
    (stage / "state" / "round-1-fold-0" / "state.json").write_text("further")
    manifest.begin(stage)
    assert (stage / "state" / "round-1-fold-0" / "state.json").read_text() == "further"


def test_nothing_is_taken_over_from_a_finished_stage_nor_in_the_scoring_run(attached, tmp_path, monkeypatch):
    (attached / "03_cell_crops").mkdir()
    (attached / "03_cell_crops" / "part.parquet").write_text("bags")
    monkeypatch.setenv("KAGGLE_IS_COMPETITION_RERUN", "1")
    manifest.begin(tmp_path / "scoring" / "03_cell_crops")
    assert not list((tmp_path / "scoring" / "03_cell_crops").iterdir())
    monkeypatch.delenv("KAGGLE_IS_COMPETITION_RERUN")
    manifest.finish(attached / "03_cell_crops", {}, {})
    manifest.begin(tmp_path / "working" / "03_cell_crops")
    assert not list((tmp_path / "working" / "03_cell_crops").iterdir())


def test_a_stage_with_fields_that_had_no_time_is_not_whole(tmp_path):
    row = {"image_id": "a", "split": "test", "error_files": ""}
    manifest.finish(tmp_path, {}, {}, [{**row, "error": "ValueError: broken"}])
    assert manifest.is_whole(tmp_path)
    manifest.finish(tmp_path, {}, {}, [{**row, "error": "OutOfTime: the time was over"}])
    assert not manifest.is_whole(tmp_path)


def test_what_an_attached_output_holds_is_left_out_and_read_from_there(attached, tiny_dataset, tmp_path, capsys):
    run_notebooks(data=str(tiny_dataset), out=str(attached), notebooks="02")
    options = {"data": str(tiny_dataset), "out": str(tmp_path / "out")}
    run_notebooks(**options, notebooks="02,03")
    said = capsys.readouterr().out
    assert f"[1/2] 02_segmentation: left out, {attached / '02_segmentation'} holds it" in said
    assert manifest.read_manifest(tmp_path / "out" / "03_cell_crops")["counts"]["crops"] == 30
    assert not (tmp_path / "out" / "02_segmentation").exists()


def test_an_attached_output_of_other_parameters_or_data_is_not_taken(attached, tiny_dataset, tmp_path, capsys):
    manifest.finish(attached / "01_eda", {}, {})
    made = manifest.read_manifest(attached / "01_eda") | {"run": {"parameters": {"sample": 7}}}
    write_json(attached / "01_eda" / "manifest.json", made)
    run_notebooks(data=str(tiny_dataset), out=str(tmp_path / "out"), notebooks="01")
    assert "01_eda: done" in capsys.readouterr().out


def test_notebooks_without_time_end_well_with_every_field_set_aside(tiny_dataset, tmp_path):
    run = {"data": str(tiny_dataset), "out": str(tmp_path / "out"), "notebooks": "02,03"}
    run_notebooks(**run, assignments=(f"deadline={PAST}", "splits=test"))
    assert len(manifest.read_manifest(tmp_path / "out" / "02_segmentation")["set_aside"]) == 3
    assert manifest.read_manifest(tmp_path / "out" / "03_cell_crops")["counts"]["crops"] == 0


def test_the_source_of_a_package_that_is_attached_can_be_imported(attached, monkeypatch):
    package = attached / "zoo-master" / "zoo_of_nets"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("nets = 3\n")
    monkeypatch.setattr(sys, "path", [*sys.path])
    selection._find_attached("zoo_of_nets")
    assert importlib.import_module("zoo_of_nets").nets == 3


def test_the_driver_is_short():
    code = [cell.source for cell in jupytext.read(NOTEBOOKS / "kaggle_run.py").cells if cell.cell_type == "code"]
    assert sum(len(cell.splitlines()) for cell in code) <= 20
    first = next(cell.source for cell in jupytext.read(NOTEBOOKS / "01_eda.py").cells if cell.cell_type == "code")
    assert code[0] == first
