"""Predictions part by part: the same whatever happened in between, and a valid submission at any time."""

import itertools
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from test_inference import SIZE, crops_of, small_model, write_bags

from hpa_utils import masks, tables
from hpa_utils.crops import Bags
from hpa_utils.inference import (
    BlendConfig,
    PredictionConfig,
    blend,
    join_predictions,
    join_rows,
    plan_predictions,
    predict_bags,
    predict_parts,
)
from hpa_utils.inference.calibration import Calibration
from hpa_utils.inference.models import Ensemble
from hpa_utils.inference.parts import write_part
from hpa_utils.inference.stream import time_cells
from hpa_utils.model import cell_model
from hpa_utils.scoring import read_submission, validate_submission, write_submission

HEIGHT, WIDTH = 40, 60
COUNTS = {"a": 3, "b": 1, "c": 2, "d": 4, "e": 0, "f": 2}  # cells of each field; e has none, f is in no bag
PARTS = {"part-test-0000.parquet": "ab", "part-test-0001.parquet": "cdef"}
BOTH_TWICE, PRODUCT = PredictionConfig(batch=2, views=2), BlendConfig()
MEASURES = {"edge_fraction": 0.0, "area": 24, "nucleus_area": 6}


def cell_rows(image_id):
    for cell in range(COUNTS[image_id]):
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[5:9, 10 * cell : 10 * cell + 6] = True
        yield {
            **dict.fromkeys(tables.CELLS.names, 0),
            **{"image_id": image_id, "split": "test", "cell_id": cell + 1, "rle": masks.encode_counts(mask)},
            **MEASURES,
        }


def write_tables(root):
    """Two parts of the cell table and of the bags."""
    for number, (name, image_ids) in enumerate(PARTS.items()):
        rows = [row for image_id in image_ids for row in cell_rows(image_id)]
        tables.write_part(root / "02" / "cells" / name, rows, tables.CELLS, "key")
        bags = {i: crops_of(10 * number + k, COUNTS[i]) for k, i in enumerate(image_ids) if COUNTS[i] and i != "f"}
        fingerprint = tables.cells_fingerprint(pd.DataFrame([row for i in bags for row in cell_rows(i)]))
        write_bags(root / "03" / "bags" / name, bags, fingerprint)


@pytest.fixture(scope="module")
def ensemble():
    models = (small_model(0), small_model(1))
    crops = {"size": SIZE}
    return Ensemble((), models, ("sha of model 0", "sha of model 1"), crops, "watershed", Calibration())


@pytest.fixture
def run(tmp_path, ensemble):
    """Calls the stream on the two parts as the notebook does; another output folder each time it is asked for one."""
    write_tables(tmp_path)
    rows = pd.DataFrame({"ID": list("dfaecb"), "ImageWidth": WIDTH, "ImageHeight": HEIGHT})
    sample = rows.assign(PredictionString="0 1 x")
    sample.to_csv(tmp_path / "sample_submission.csv", index=False)

    def start(folder="05", config=BOTH_TWICE, blending=PRODUCT, deadline=float("inf")):
        stage, segmented = tmp_path / folder, [tmp_path / "02"]
        made_of = [tmp_path / "03"], segmented, "test", rows, stage, ensemble, config
        parts = plan_predictions(*made_of, timed=deadline < float("inf"))
        outcome = predict_parts(parts, stage, ensemble, config, blending, deadline)
        late = join_rows(parts, rows, stage / "submission.csv")
        join_predictions(parts, segmented, "test", stage / "predictions.parquet")
        return SimpleNamespace(outcome=outcome, late=late, stage=stage, csv=(stage / "submission.csv").read_bytes())

    return start


def all_cells(root):
    return tables.read_parts(root / "02" / "cells")


def is_valid(stage, root):
    findings = validate_submission(stage / "submission.csv", root / "sample_submission.csv")
    return not [finding for finding in findings if finding.level == "error"]


def test_parts_give_what_all_at_once_would(run, tmp_path, ensemble):
    done, cells = run(), all_cells(tmp_path)
    bags = Bags(tmp_path / "03" / "bags", "test")
    expected = predict_bags(list(ensemble.models), bags, range(len(bags)), SIZE, batch=2, views=2)
    found = tables.read_keyed(done.stage / "predictions.parquet", cells)
    assert (found[["image_id", "cell_id"]] == expected[["image_id", "cell_id"]]).all(axis=None)
    np.testing.assert_allclose(found.iloc[:, 2:].to_numpy(), expected.iloc[:, 2:].to_numpy(), rtol=1e-5)
    assert (found.dtypes.iloc[2:] == np.float32).all()
    rows = pd.read_csv(tmp_path / "sample_submission.csv")
    write_submission(tmp_path / "whole.csv", rows, cells, found, blend(found))
    assert done.csv == (tmp_path / "whole.csv").read_bytes() and is_valid(done.stage, tmp_path)
    assert done.outcome.cells == 10 and done.outcome.plans == ["2 models × 2 views, 2 cells a step"]


def test_rows_are_in_the_samples_order_and_fields_without_bags_are_negative_as_a_whole(run, tmp_path):
    detections = read_submission(run().stage / "submission.csv")
    assert list(dict.fromkeys(detections["image_id"])) == list("dfaecb")
    counts = detections.groupby("image_id").size()
    assert counts.to_dict() == {"a": 57, "b": 19, "c": 38, "d": 76, "e": 1, "f": 1}


def test_a_run_stopped_in_the_middle_goes_on_and_gives_the_same_bytes(run, tmp_path):
    whole = run("uninterrupted")
    path = tmp_path / "03" / "bags" / "part-test-0001.parquet"
    content = path.read_bytes()
    broken = content.replace(b"IDAT", b"IDOT")  # its key is the same, its crops cannot be decoded
    path.write_bytes(broken)
    with pytest.raises(ValueError, match="crop of cell 1 cannot be decoded"):
        run()
    first = tmp_path / "05" / "predictions" / "part-test-0000.parquet"
    written = first.stat().st_mtime_ns
    path.write_bytes(content)
    resumed = run()
    assert resumed.csv == whole.csv and resumed.outcome.kept == 1 and resumed.outcome.cells == 6
    assert first.stat().st_mtime_ns == written
    same = [(folder.stage / "predictions.parquet").read_bytes() for folder in (whole, resumed)]
    assert same[0] == same[1]


def test_another_configuration_starts_anew_and_another_blend_keeps_the_scores(run):
    run()
    again = run(blending=BlendConfig(field="none"))
    assert again.outcome.kept == 2 and again.outcome.cells == 0
    assert again.csv == run("blended", blending=BlendConfig(field="none")).csv
    other = run(config=PredictionConfig(batch=2, views=1, models=1))
    assert other.outcome.kept == 0 and other.outcome.plans == ["1 model × 1 view, 2 cells a step"]
    assert len(list((other.stage / "rows").iterdir())) == 2


def test_a_deadline_long_past_leaves_a_valid_submission_with_all_rows(run, tmp_path):
    done = run(deadline=time.time() - 1)
    assert done.late == 4 and done.outcome.cells == 0 and is_valid(done.stage, tmp_path)
    table = pd.read_csv(done.stage / "submission.csv")
    assert table["ID"].tolist() == list("dfaecb")
    assert table["PredictionString"].str.startswith("18 0.00001 ").all()


def test_with_time_enough_the_best_plan_is_taken_and_a_later_run_adds_what_was_late(run):
    config = PredictionConfig(batch=2, views=2, timed_cells=3)
    assert run(config=config, deadline=time.time() - 1).late == 4
    done = run(config=config, deadline=time.time() + 5000)
    assert done.late == 0 and done.outcome.cells == 10 and done.outcome.plans[0].startswith("2 models × 2 views")
    kept = run(config=config, deadline=time.time() - 1)
    assert kept.late == 0 and kept.outcome.kept == 2 and kept.csv == done.csv


def test_fields_seen_before_time_ran_out_get_their_rows_and_the_part_is_done_again_later(run, tmp_path, ensemble):
    whole = run("whole")
    rows = pd.DataFrame({"ID": list("dfaecb"), "ImageWidth": WIDTH, "ImageHeight": HEIGHT})
    made_of = [tmp_path / "03"], [tmp_path / "02"], "test", rows, tmp_path / "05", ensemble, BOTH_TWICE
    parts = plan_predictions(*made_of)
    scores = pd.read_parquet(whole.stage / "predictions" / parts[1].name)
    write_part(parts[1], scores[scores["image_id"] == "c"], ensemble, PRODUCT, "hasty", whole=False)
    assert join_rows(parts, rows, tmp_path / "05" / "submission.csv") == 3 and is_valid(tmp_path / "05", tmp_path)
    lines = [line for line in whole.csv.splitlines() if line.startswith(b"c,")]
    assert lines[0] in (tmp_path / "05" / "submission.csv").read_bytes()
    done = run()
    assert done.outcome.cells == 10 and done.csv == whole.csv


def test_time_that_runs_out_within_a_part_leaves_out_the_fields_that_are_not_whole(run, tmp_path, monkeypatch):
    hasty = run("hasty", config=PredictionConfig(batch=2, views=1, models=1))
    # asked at the start, after timing, before each of the batches ab, b, after the first part, before c and d's first
    left = iter([1e-9, 1e-9, 1e9, 1e9, 1e9, 1e9, 1e9, -1])
    monkeypatch.setattr("hpa_utils.inference.stream.seconds_left", lambda *_: next(left))
    done = run(deadline=time.time() + 1)
    assert done.outcome.plans == hasty.outcome.plans == ["1 model × 1 view, 2 cells a step"]
    assert done.late == 1 and done.outcome.cells == 8 and is_valid(done.stage, tmp_path)
    found, expected = (dict(row.split(b",", 1) for row in csv.splitlines()) for csv in (done.csv, hasty.csv))
    assert [name for name in expected if found[name] != expected[name]] == [b"d"]


def test_a_plan_that_proves_too_slow_is_followed_by_a_hastier_one(run, monkeypatch):
    left = itertools.chain([1e9, 1e9], itertools.repeat(1e-9))
    monkeypatch.setattr("hpa_utils.inference.stream.seconds_left", lambda *_: next(left))
    done = run(deadline=time.time() + 1)
    assert done.late == 0 and done.outcome.cells == 10
    assert [plan.split(",")[0] for plan in done.outcome.plans] == ["2 models × 2 views", "1 model × 1 view"]


def test_bags_of_other_cells_are_refused(run, tmp_path):
    name = "part-test-0000.parquet"
    write_bags(tmp_path / "03" / "bags" / name, {"a": crops_of(0, 3), "b": crops_of(1, 1)}, "another")
    with pytest.raises(ValueError, match="belongs to another cell table"):
        run()


def test_timing_measures_every_model_at_several_batches(run, tmp_path, ensemble):
    rows = pd.DataFrame({"ID": list("ab"), "ImageWidth": WIDTH, "ImageHeight": HEIGHT})
    config = PredictionConfig(batch=2, timed_cells=3)
    part = plan_predictions([tmp_path / "03"], [tmp_path / "02"], "test", rows, tmp_path / "05", ensemble, config)[0]
    timing = time_cells(part, [cell_model(model) for model in ensemble.models], ensemble, config, BlendConfig())
    assert list(timing.network) == [2, 4, 8] and all(len(each) == 2 for each in timing.network.values())
    assert min(min(each) for each in timing.network.values()) > 0 and timing.loading > 0 and timing.writing > 0
