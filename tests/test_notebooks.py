"""The notebooks: how they are written, what a run of all five leaves behind, and when they are run again."""

import json
import os
import shutil
import subprocess
import sys
import time

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

from hpa_utils import manifest, tables
from hpa_utils.crop_sets import CropSet
from hpa_utils.running.commands import main
from hpa_utils.running.notebooks import SOURCES, NotebookFailed, run_notebooks
from hpa_utils.running.runs import NOTEBOOKS
from hpa_utils.scoring import score_submission, validate_submission

NOTEBOOK_FILES = sorted(SOURCES.glob("[0-9]*_*.py"))
DEFAULT = NOTEBOOKS[:5]
MODEL = "lite0-64-r1-f0"


def code_lines(cell):
    return [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]


def run_folders(out):
    return {"03_cell_crops": out / "03_cell_crops" / "64", "04_train": out / "04_train" / MODEL}


def executed(out, name):
    folder = run_folders(out).get(name, out / name)
    return nbformat.read(folder / f"{name}.ipynb", as_version=4)


@pytest.mark.parametrize("source", NOTEBOOK_FILES, ids=lambda path: path.stem)
def test_a_notebook_can_be_read_in_one_sitting(source):
    notebook = jupytext.read(source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown"
    assert all(word in notebook.cells[0].source for word in ("**Reads**", "**Writes**", "**Takes**"))
    assert 60 <= sum(len(code_lines(cell)) for cell in code) <= 140
    assert max(len(code_lines(cell)) for cell in code) <= 20


def test_all_notebooks_find_the_library_by_the_same_lines():
    cells = {
        next(cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code")
        for source in NOTEBOOK_FILES
    }
    assert len(cells) == 1


def test_every_run_leaves_its_page_and_a_finished_manifest(finished_run):
    page = (finished_run / "index.html").read_text()
    for name in DEFAULT:
        folder = run_folders(finished_run).get(name, finished_run / name)
        assert manifest.read_manifest(folder)["complete"], name
        assert (folder / f"{name}.html").stat().st_size > 10_000
        outputs = [o for cell in executed(finished_run, name).cells for o in cell.get("outputs", [])]
        assert not [output for output in outputs if output.output_type == "error"]
        assert f"{folder.relative_to(finished_run)}/{name}.html" in page


def test_no_figure_is_shown_twice(finished_run):
    for name in DEFAULT:
        outputs = [output for cell in executed(finished_run, name).cells for output in cell.get("outputs", [])]
        pictures = [output.data["image/png"] for output in outputs if "image/png" in output.get("data", {})]
        assert len(pictures) >= 2 and len(set(pictures)) == len(pictures), name


def test_exploring_leaves_a_page_of_cells_and_their_embeddings(explored_run, simulated):
    stage = explored_run / "06_explore"
    cells = tables.read_parts(explored_run / "02_segmentation" / "cells")
    test = cells[cells["split"] == "test"]
    embeddings = tables.read_keyed(stage / "embeddings.parquet", test)
    assert len(embeddings) == len(test) and embeddings.columns[2] == "e0000"
    variability = pd.read_csv(stage / "variability.csv")
    assert set(variability["label"]) == set(range(19)) and set(variability["image_id"]) <= set(test["image_id"])
    page = (stage / "report.html").read_text()
    assert page.count('data-kind="field"') == 6 and all(image_id in page for image_id in test["image_id"])
    assert "06_explore/report.html" in (explored_run / "index.html").read_text()


def test_real_fields_are_explored_without_a_test_split(finished_run, real_fields, tmp_path):
    out = tmp_path / "out"
    options = {"data": str(real_fields), "out": str(out), "model": str(finished_run / "04_train")}
    run_notebooks(**options, notebooks="02,03,05,06")
    counts = manifest.read_manifest(out / "05_inference")["counts"]
    assert counts["fields"] == 4 and 40 <= counts["cells"] <= 75 and counts["findings"] == 0
    explored = manifest.read_manifest(out / "06_explore")["counts"]
    assert (explored["fields on the page"], explored["cells embedded"]) == (4, counts["cells"])


def test_the_tables_agree_with_each_other(finished_run):
    fields = tables.read_parts(finished_run / "02_segmentation" / "fields")
    cells = tables.read_parts(finished_run / "02_segmentation" / "cells")
    assert len(fields) == 30 and (fields["error"] == "").all()
    assert fields["n_cells"].sum() == len(cells) > 30
    for _, of_field in cells.groupby("image_id"):
        assert of_field["cell_id"].tolist() == list(range(1, len(of_field) + 1))
    for split, of_split in cells.groupby("split"):
        assert len(CropSet([finished_run / "03_cell_crops" / "64"], split)) == len(of_split)


def test_predictions_are_one_row_a_cell_of_the_test_split(finished_run):
    cells = tables.read_parts(finished_run / "02_segmentation" / "cells")
    test = cells[cells["split"] == "test"]
    predictions = tables.read_keyed(finished_run / "05_inference" / "predictions.parquet", test)
    assert len(predictions) == len(test)
    values = predictions[tables.CELL_COLUMNS].to_numpy()
    assert values.dtype == np.float32 and (values > 0).all() and (values < 1).all()


def test_the_model_folder_holds_the_model_its_recipe_and_scores_of_held_out_cells(finished_run):
    folder = finished_run / "04_train" / MODEL
    config = json.loads((folder / "config.json").read_text())
    assert (config["name"], config["training_round"], config["fold"], config["n_folds"]) == ("lite0-64", 1, 0, 2)
    assert config["segmenter"] == "watershed" and config["crops"]["config"]["size"] == 64
    assert config["weights"]["sha256"].startswith("57934424")
    history = pd.read_csv(folder / "history.csv")
    assert history["phase"].tolist() == ["head", "head", "fine_tune", "soft_labels"] and history["loss"].notna().all()
    cells = tables.read_parts(finished_run / "02_segmentation" / "cells", split="train")
    oof = tables.read_keyed(folder / "oof.parquet", cells)
    fields = oof["image_id"].nunique()
    assert 8 <= fields <= 16 and len(oof) == cells["image_id"].isin(oof["image_id"]).sum()
    assert not (folder / "state.npz").exists()


def test_the_submission_is_valid_and_its_score_is_the_one_written(finished_run, simulated):
    submission = finished_run / "05_inference" / "submission.csv"
    assert validate_submission(submission, simulated / "sample_submission.csv") == []
    scores = json.loads((finished_run / "05_inference" / "scores.json").read_text())
    assert scores.pop("interval")["mean_average_precision"]["estimate"] == scores["mean_average_precision"]
    assert score_submission(simulated / "truth.csv", submission) == scores
    assert 0.02 < scores["mean_average_precision"] < 0.5  # trained for seconds; chance is near 0.05


def test_models_are_trained_side_by_side_on_several_devices(finished_run):
    out, printed = finished_run, (finished_run / "printed.txt").read_text()
    for fold in "01":
        assert manifest.read_manifest(out / "04_train" / f"lite0-64-r1-f{fold}")["complete"]
    started = [printed.index(f"lite0-64-r1-f{fold}: [1/1] 04_train/lite0-64-r1-f{fold}: running") for fold in "01"]
    ended = [printed.index(f"lite0-64-r1-f{fold}: [1/1] 04_train/lite0-64-r1-f{fold}: done") for fold in "01"]
    assert max(started) < min(ended)


def test_a_second_round_learns_from_all_models_of_the_first_and_05_takes_it(finished_run, simulated, tmp_path, capsys):
    out = tmp_path / "out"
    shutil.copytree(finished_run, out, ignore=shutil.ignore_patterns("05_*", "06_*"))
    options = {"data": str(simulated), "out": str(out), "preset": "quick", "rounds": 2, "folds": "-1"}
    shutil.move(out / "04_train" / "lite0-64-r1-f1", tmp_path / "kept")
    with pytest.raises(NotebookFailed, match="needs all 2 models of round 1; missing: lite0-64-r1-f1"):
        run_notebooks(**options, notebooks="04", runs="lite0-64-r2-all")
    shutil.move(tmp_path / "kept", out / "04_train" / "lite0-64-r1-f1")
    run_notebooks(**options, notebooks="04,05", assignments=("05.tta=2",))
    assert f"04_train/{MODEL}: finished before, skipped" in capsys.readouterr().out
    assert list(manifest.read_manifest(out / "05_inference")["configuration"]["models"]) == ["lite0-64-r2-all"]
    assert manifest.read_manifest(out / "04_train" / "lite0-64-r2-all")["counts"]["train fields"] == 24


def test_a_changed_loss_on_the_page_starts_the_training_anew(finished_run, simulated, tmp_path, monkeypatch, capsys):
    out, changed = tmp_path / "out", tmp_path / "notebooks"
    shutil.copytree(finished_run, out, ignore=shutil.ignore_patterns("04_*", "05_*", "06_*"))
    shutil.copytree(SOURCES, changed)
    options = {"data": str(simulated), "out": str(out), "preset": "quick", "notebooks": "04"}
    late = (f"deadline={time.time()}",)  # each run stops after its first epoch
    run_notebooks(**options, assignments=late)
    assert "stopped after epoch 1, before the deadline; the same command goes on" in capsys.readouterr().out
    page = (changed / "04_train.py").read_text()
    assert page.count("cross_entropy = ") == 1
    (changed / "04_train.py").write_text(page.replace("cross_entropy = ", "cross_entropy = 2.0 * "))
    monkeypatch.setattr("hpa_utils.running.notebooks.SOURCES", changed)
    run_notebooks(**options, assignments=late)
    printed = capsys.readouterr().out
    assert "of another recipe: the training starts anew" in printed and "goes on after" not in printed


def test_a_run_leaves_nothing_outside_its_output_root(tiny_dataset, tmp_path, monkeypatch):
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    before = sorted(path.relative_to(tiny_dataset) for path in tiny_dataset.rglob("*"))
    run_notebooks(data=str(tiny_dataset), out=str(tmp_path / "out"), notebooks="01")
    assert not list(working.iterdir())
    assert sorted(path.relative_to(tiny_dataset) for path in tiny_dataset.rglob("*")) == before


def test_finished_notebooks_are_skipped(finished_run, simulated, capsys):
    run_notebooks(data=str(simulated), out=str(finished_run), preset="quick", folds="0,1")
    assert capsys.readouterr().out.count("finished before, skipped") == 6


def test_what_version_0_1_wrote_is_refused(tiny_dataset, tmp_path):
    (tmp_path / "out" / "04_train").mkdir(parents=True)
    (tmp_path / "out" / "04_train" / "manifest.json").write_text('{"format": 2, "complete": true}')
    with pytest.raises(ValueError, match="04_train was written by another version .format 2, this one has 4"):
        run_notebooks(data=str(tiny_dataset), out=str(tmp_path / "out"))


def test_an_unknown_parameter_is_an_error_before_anything_runs(tiny_dataset, tmp_path, capsys):
    arguments = ["run", "--data", str(tiny_dataset), "--out", str(tmp_path / "out"), "-p", "epoks=3"]
    assert main(arguments) == 1
    assert "no selected notebook has a parameter 'epoks'" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_missing_data_folder_is_an_error_before_anything_runs(tmp_path, capsys):
    assert main(["run", "--data", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 1
    assert "nowhere does not exist" in capsys.readouterr().err and not (tmp_path / "out").exists()


def test_a_data_set_without_a_train_split_needs_a_model(tiny_dataset, tmp_path):
    shutil.rmtree(tiny_dataset / "train")
    with pytest.raises(ValueError, match="--model DIR"):
        run_notebooks(data=str(tiny_dataset), out=str(tmp_path / "out"))


def test_a_failing_notebook_stops_the_run_with_its_name_cell_and_error(tiny_dataset, tmp_path):
    out = tmp_path / "out"
    options = {"data": str(tiny_dataset), "out": str(out), "segmenter": "masks"}
    with pytest.raises(NotebookFailed, match=r"02_segmentation failed in cell \[\d+\].*FileNotFoundError: mask folder"):
        run_notebooks(**options, notebooks="02,03")
    assert (out / "02_segmentation" / "02_segmentation.ipynb").is_file()
    assert not manifest.read_manifest(out / "02_segmentation") and not (out / "03_cell_crops").exists()


def test_a_bad_field_is_set_aside_and_tried_again_when_it_is_mended(tiny_dataset, tmp_path, capsys):
    out, broken = tmp_path / "out", tiny_dataset / "train" / "train-05_red.png"
    content = broken.read_bytes()
    broken.write_bytes(content[:50])
    run_notebooks(data=str(tiny_dataset), out=str(out), notebooks="02,03")
    aside = manifest.read_manifest(out / "02_segmentation")["set_aside"]
    assert [row["image_id"] for row in aside] == ["train-05"] and "train-05_red.png" in aside[0]["error"]
    assert str(tiny_dataset) not in json.dumps(aside)
    run_notebooks(data=str(tiny_dataset), out=str(out), notebooks="02")
    assert "finished before, skipped" in capsys.readouterr().out
    broken.write_bytes(content)
    run_notebooks(data=str(tiny_dataset), out=str(out), notebooks="02,03")
    assert manifest.read_manifest(out / "02_segmentation")["set_aside"] == []
    assert manifest.read_manifest(out / "03_cell_crops" / "128")["counts"]["crops"] == 30


def test_a_trained_model_predicts_fields_without_labels(finished_run, tiny_dataset, tmp_path):
    (tiny_dataset / "train.csv").unlink()
    shutil.rmtree(tiny_dataset / "train")
    out = tmp_path / "out"
    run_notebooks(data=str(tiny_dataset), out=str(out), model=str(finished_run / "04_train"), notebooks="02,03,05,06")
    submission = pd.read_csv(out / "05_inference" / "submission.csv")
    assert submission["ID"].tolist() == ["test-0", "test-1", "test-2"]
    assert validate_submission(out / "05_inference" / "submission.csv", tiny_dataset / "sample_submission.csv") == []
    assert manifest.read_manifest(out / "03_cell_crops" / "64")["configuration"]["crops"]["config"]["size"] == 64
    assert not (out / "04_train").exists()
    assert (out / "06_explore" / "report.html").is_file()


def test_the_runner_and_preprocessing_workers_never_import_tensorflow():
    code = (
        "import sys\n"
        "import hpa_utils.segmentation, hpa_utils.crop_sets, hpa_simulator, hpa_utils.scoring\n"
        "import hpa_utils.running.notebooks\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=dict(os.environ)).returncode == 0
