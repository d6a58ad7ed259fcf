"""The notebooks: how they are written, what a run of all five leaves behind, and when they are run again."""

import json
import os
import re
import shutil
import subprocess
import sys

import jupytext
import nbformat
import numpy as np
import pandas as pd
import pytest
from conftest import REPOSITORY

from hpa_utils import manifest, tables
from hpa_utils.inference import CELL_COLUMNS, FIELD_COLUMNS
from hpa_utils.running.commands import main
from hpa_utils.running.notebooks import DEFAULT, NOTEBOOKS, NotebookFailed, run_notebooks
from hpa_utils.scoring import score_submission, validate_submission

SOURCES = sorted(NOTEBOOKS.glob("[0-9]*_*.py"))


def code_lines(cell):
    return [line for line in cell.source.splitlines() if line.strip() and not line.strip().startswith("#")]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.stem)
def test_a_notebook_is_short_and_thin(source):
    notebook = jupytext.read(source)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert notebook.metadata.kernelspec.name == "python3"
    assert notebook.cells[0].cell_type == "markdown"
    assert all(word in notebook.cells[0].source for word in ("**Reads**", "**Writes**", "**Takes**"))
    assert 40 <= sum(len(code_lines(cell)) for cell in code) <= 90
    assert max(len(code_lines(cell)) for cell in code) <= 12
    forbidden = re.compile(r"\s*(def|class) |[!%]|.*\blambda\b")
    assert not [line for cell in code for line in code_lines(cell) if forbidden.match(line)]


def test_all_notebooks_find_the_library_by_the_same_three_lines():
    cells = {
        next(cell.source for cell in jupytext.read(source).cells if cell.cell_type == "code") for source in SOURCES
    }
    assert len(cells) == 1 and len(cells.pop().splitlines()) == 3


def test_every_stage_leaves_its_page_and_a_finished_manifest(finished_run):
    for name in DEFAULT:
        assert manifest.read_manifest(finished_run / name)["complete"], name
        assert (finished_run / name / f"{name}.html").stat().st_size > 10_000
        executed = nbformat.read(finished_run / name / f"{name}.ipynb", as_version=4)
        errors = [o for cell in executed.cells for o in cell.get("outputs", []) if o.output_type == "error"]
        assert not errors
    page = (finished_run / "index.html").read_text()
    assert all(f"{name}/{name}.html" in page for name in DEFAULT)


def test_no_figure_is_shown_twice(finished_run):
    for name in DEFAULT:
        executed = nbformat.read(finished_run / name / f"{name}.ipynb", as_version=4)
        outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]
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


def test_predictions_are_one_row_a_cell_of_the_test_split(finished_run):
    cells = tables.read_parts(finished_run / "02_segmentation" / "cells")
    test = cells[cells["split"] == "test"]
    predictions = tables.read_keyed(finished_run / "05_inference" / "predictions.parquet", test)
    assert len(predictions) == len(test)
    values = predictions[CELL_COLUMNS + FIELD_COLUMNS].to_numpy()
    assert values.dtype == np.float32 and (values > 0).all() and (values < 1).all()


def test_out_of_fold_scores_are_of_held_out_fields(finished_run):
    cells = tables.read_parts(finished_run / "02_segmentation" / "cells")
    oof = tables.read_keyed(finished_run / "04_train" / "oof.parquet", cells[cells["split"] == "train"])
    folds = pd.read_csv(finished_run / "04_train" / "folds.csv").set_index("image_id")["fold"]
    assert (folds[oof["image_id"]] == 0).all() and set(oof["image_id"]) == set(folds.index[folds == 0])


def test_the_model_folder_says_what_it_is(finished_run):
    config = json.loads((finished_run / "04_train" / "config.json").read_text())
    assert config["segmenter"] == "watershed" and config["crops"]["size"] == 64
    assert config["weights"]["sha256"].startswith("57934424") and config["training"]["epochs"] == 1
    assert (finished_run / "04_train" / "model.keras").is_file()
    history = pd.read_csv(finished_run / "04_train" / "history.csv")
    assert history["phase"].tolist() == [*["head"] * 8, "deep"] and history["loss"].notna().all()


def test_the_submission_is_valid_and_its_score_is_the_one_written(finished_run, simulated):
    submission = finished_run / "05_inference" / "submission.csv"
    assert validate_submission(submission, simulated / "sample_submission.csv") == []
    scores = json.loads((finished_run / "05_inference" / "scores.json").read_text())
    assert score_submission(simulated / "truth.csv", submission) == scores
    assert scores["mean_average_precision"] > 0


def test_a_run_leaves_nothing_outside_its_output_root(tiny_dataset, tmp_path, monkeypatch):
    working = tmp_path / "working"
    working.mkdir()
    monkeypatch.chdir(working)
    before = sorted(path.relative_to(tiny_dataset) for path in tiny_dataset.rglob("*"))
    run_notebooks(data=str(tiny_dataset), out=str(tmp_path / "out"), notebooks="01")
    assert not list(working.iterdir())
    assert sorted(path.relative_to(tiny_dataset) for path in tiny_dataset.rglob("*")) == before


def test_finished_notebooks_are_skipped(finished_run, simulated, capsys):
    run_notebooks(data=str(simulated), out=str(finished_run), preset="quick")
    assert capsys.readouterr().out.count("finished before, skipped") == 5


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
    assert manifest.read_manifest(out / "03_cell_crops")["counts"]["crops"] == 30


def test_a_trained_model_predicts_fields_without_labels(finished_run, tiny_dataset, tmp_path):
    (tiny_dataset / "train.csv").unlink()
    shutil.rmtree(tiny_dataset / "train")
    out = tmp_path / "out"
    run_notebooks(data=str(tiny_dataset), out=str(out), model=str(finished_run / "04_train"), notebooks="02,03,05,06")
    submission = pd.read_csv(out / "05_inference" / "submission.csv")
    assert submission["ID"].tolist() == ["test-0", "test-1", "test-2"]
    assert validate_submission(out / "05_inference" / "submission.csv", tiny_dataset / "sample_submission.csv") == []
    assert manifest.read_manifest(out / "03_cell_crops")["configuration"]["crops"]["size"] == 64
    assert not (out / "04_train").exists()
    assert (out / "06_explore" / "report.html").is_file()


def test_preprocessing_workers_never_import_tensorflow():
    code = (
        "import sys; import hpa_utils, hpa_utils.segmentation, hpa_utils.crops, hpa_simulator, hpa_utils.scoring;"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=dict(os.environ)).returncode == 0
