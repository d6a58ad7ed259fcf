import json

import numpy as np
import pandas as pd
import pytest
from pycocotools import mask as coco

from hpa_utils import masks, scoring
from hpa_utils.running.commands import main
from hpa_utils.scoring import read_submission, read_truth, score_submission, validate_submission, write_submission
from hpa_utils.scoring.submission import empty_prediction, submission_rows

HEIGHT, WIDTH = 20, 30
CELL = np.zeros((HEIGHT, WIDTH), bool)
CELL[3:9, 12:28] = True


@pytest.fixture
def submission(tmp_path):
    """A submission of two fields, wider than high; the second has no cells."""
    rows = pd.DataFrame({"ID": ["a", "b"], "ImageWidth": WIDTH, "ImageHeight": HEIGHT})
    cells = pd.DataFrame({"image_id": ["a"], "cell_id": [1], "rle": [masks.encode_counts(CELL)]})
    confidences = np.linspace(0.1, 1 / 3, 19, dtype=np.float32)[None]
    path = tmp_path / "submission.csv"
    write_submission(path, rows, cells, cells[["image_id", "cell_id"]], confidences)
    return path


@pytest.fixture
def truth(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text(f"ID,ImageWidth,ImageHeight,Label,Mask\na,{WIDTH},{HEIGHT},4,{masks.encode_mask(CELL)}\n")
    return path


@pytest.fixture
def sample(tmp_path):
    path = tmp_path / "sample_submission.csv"
    whole = empty_prediction(WIDTH, HEIGHT)
    rows = [f"{image_id},{WIDTH},{HEIGHT},{whole}" for image_id in "ab"]
    path.write_text("\n".join(["ID,ImageWidth,ImageHeight,PredictionString", *rows, ""]))
    return path


def test_every_mask_decodes_with_pycocotools_width_and_height_the_right_way_round(submission):
    table = pd.read_csv(submission)
    assert table["ImageWidth"].tolist() == [WIDTH] * 2 and table["ImageHeight"].tolist() == [HEIGHT] * 2
    label, confidence, text = table["PredictionString"][0].split()[:3]
    decoded = coco.decode({"size": [HEIGHT, WIDTH], "counts": masks.text_to_counts(text)})
    assert label == "0" and float(confidence) == pytest.approx(0.1) and (decoded == CELL).all()


def test_each_cell_has_a_line_a_class_with_all_digits_of_its_confidence(submission):
    detections = read_submission(submission)
    of_a = detections[detections["image_id"] == "a"]
    assert of_a["label"].tolist() == list(range(19))
    assert (of_a["confidence"].to_numpy().astype(np.float32) == np.linspace(0.1, 1 / 3, 19, dtype=np.float32)).all()


def test_a_field_without_cells_is_negative_as_a_whole(submission):
    (label, confidence, text) = pd.read_csv(submission)["PredictionString"][1].split()
    assert (label, confidence) == ("18", "0.00001") and masks.decode_mask(text, HEIGHT, WIDTH).all()


def test_a_submission_without_faults_has_no_findings(submission, sample):
    assert validate_submission(submission, sample) == []


def test_the_right_cell_scores(submission, truth):
    assert score_submission(truth, submission)["average_precision"]["4"] == 1


def test_an_empty_prediction_scores_as_none_and_is_reported(tmp_path, truth, sample):
    path = tmp_path / "submission.csv"
    path.write_text(f"ID,ImageWidth,ImageHeight,PredictionString\na,{WIDTH},{HEIGHT},\nb,{WIDTH},{HEIGHT},\n")
    assert score_submission(truth, path)["mean_average_precision"] == 0
    assert [finding.level for finding in validate_submission(path, sample)] == ["warning", "warning"]


def test_the_placeholder_is_written_without_predictions_and_kaggle_accepts_it(tmp_path, sample):
    path = tmp_path / "submission.csv"
    write_submission(path, pd.read_csv(sample))
    assert path.read_text() == sample.read_text()
    assert {finding.level for finding in validate_submission(path, sample)} == {"warning"}
    none = pd.DataFrame({"image_id": [], "cell_id": []})
    write_submission(path, pd.read_csv(sample), none.assign(rle=[]), none, np.zeros((0, 19), np.float32))
    assert path.read_text() == sample.read_text()


def test_rows_and_cells_are_in_the_order_they_were_asked_for_and_ids_are_quoted_where_need_be(tmp_path):
    path, other = tmp_path / "submission.csv", np.roll(CELL, 8, axis=0)
    rows = pd.DataFrame({"ID": ["c", 'b, "2"', "a"], "ImageWidth": WIDTH, "ImageHeight": HEIGHT})
    cells = [("a", 1, CELL), ("a", 2, other), ('b, "2"', 1, CELL), ("left out", 1, CELL)]
    cells = pd.DataFrame(cells, columns=["image_id", "cell_id", "mask"])
    cells["rle"] = cells["mask"].map(masks.encode_counts)
    predictions = cells.iloc[[3, 1, 2, 0]]
    write_submission(path, rows, cells, predictions, np.arange(4 * 19, dtype=np.float32).reshape(4, 19) / 100)
    found = read_submission(path).query("label == 0")
    assert found["image_id"].tolist() == ['b, "2"', "a", "a"]
    assert found["confidence"].tolist() == pytest.approx([0.38, 0.19, 0.57])
    assert found["counts"].tolist() == [masks.encode_counts(mask) for mask in (CELL, other, CELL)]


def test_predictions_of_another_cell_table_are_refused(tmp_path):
    cells = pd.DataFrame({"image_id": ["a"], "cell_id": [1], "rle": [masks.encode_counts(CELL)]})
    rows = pd.DataFrame({"ID": ["a"], "ImageWidth": WIDTH, "ImageHeight": HEIGHT})
    with pytest.raises(ValueError, match="predicted cell 2 of a is not in the cell table"):
        write_submission(tmp_path / "s.csv", rows, cells, cells.assign(cell_id=2), np.zeros((1, 19), np.float32))


@pytest.mark.parametrize("value", [np.nan, -0.1, 1.1])
def test_confidences_outside_0_to_1_are_not_written(tmp_path, value):
    cells = pd.DataFrame({"image_id": ["a"], "cell_id": [1], "rle": [masks.encode_counts(CELL)]})
    rows = pd.DataFrame({"ID": ["a"], "ImageWidth": WIDTH, "ImageHeight": HEIGHT})
    with pytest.raises(ValueError, match="confidences"):
        write_submission(tmp_path / "s.csv", rows, cells, cells, np.full((1, 19), value, np.float32))
    assert not list(tmp_path.iterdir())


def test_rows_are_the_samples_with_the_sizes_that_were_read():
    fields = pd.DataFrame({"image_id": ["b", "a"], "width": [WIDTH, 0], "height": [HEIGHT, 0]})
    sample = pd.DataFrame({"ID": ["a", "b"], "ImageWidth": [7, 8], "ImageHeight": [9, 10]})
    rows = submission_rows(fields, sample)
    assert rows.to_numpy().tolist() == [["a", 7, 9], ["b", WIDTH, HEIGHT]]
    assert submission_rows(fields, None).to_numpy().tolist() == [["b", WIDTH, HEIGHT], ["a", 1, 1]]


def test_publishing_replaces_the_placeholder(submission, sample, tmp_path):
    target = tmp_path / "working" / "submission.csv"
    scoring.publish_submission(sample, target)
    scoring.publish_submission(submission, target)
    assert target.read_bytes() == submission.read_bytes() and len(list(target.parent.iterdir())) == 1


def test_a_damaged_truth_is_named_by_row(tmp_path):
    path = tmp_path / "truth.csv"
    path.write_text("ID,ImageWidth,ImageHeight,Label,Mask\na,30,20,4,xyz\n")
    with pytest.raises(ValueError, match="truth.csv, row 2: mask text"):
        read_truth(path)


def test_a_cell_that_the_truth_has_twice_is_named(tmp_path):
    path, row = tmp_path / "truth.csv", f"a,{WIDTH},{HEIGHT},4,{masks.encode_mask(CELL)}"
    path.write_text(f"ID,ImageWidth,ImageHeight,Label,Mask\n{row}\nb{row[1:]}\n{row}\n")
    with pytest.raises(ValueError, match="truth.csv, row 4: the same cell and class as in row 2; remove one"):
        read_truth(path)
    path.write_text(f"ID,ImageWidth,ImageHeight,Label,Mask\n{row}\na,9,9,{row[8:]}\n")
    with pytest.raises(ValueError, match="truth.csv, row 3: field 'a' has another size than in its first row"):
        read_truth(path)


@pytest.mark.parametrize("fault", ["4|5,MASK", ",MASK", "4,", "4 5,MASK"])
def test_a_row_of_the_truth_is_one_class_of_one_cell(tmp_path, fault):
    path = tmp_path / "truth.csv"
    path.write_text(f"ID,ImageWidth,ImageHeight,Label,Mask\na,30,20,{fault.replace('MASK', masks.encode_mask(CELL))}\n")
    with pytest.raises(ValueError, match=r"truth.csv, row 2: (label '4\|5' is no|expected one) class number"):
        read_truth(path)


def test_a_submission_of_other_fields_is_refused_and_of_some_is_said(submission, truth):
    text = truth.read_text()
    truth.write_text(text.replace("\na,", "\nc,"))
    with pytest.raises(
        ValueError, match="no prediction of their size for 1 of 1 fields of .*, such as 'c' .*; it begins with 'a'"
    ):
        score_submission(truth, submission)
    truth.write_text(text + text.splitlines()[1].replace("a,", "c,", 1) + "\n")
    with pytest.warns(UserWarning, match="no prediction of their size for 1 of 2 fields of .*truth.csv, such as 'c'"):
        score_submission(truth, submission)


def test_width_and_height_that_are_swapped_are_told(submission, truth):
    mask = masks.encode_mask(CELL.T)
    truth.write_text(f"ID,ImageWidth,ImageHeight,Label,Mask\na,{HEIGHT},{WIDTH},4,{mask}\n")
    with pytest.raises(ValueError, match="no prediction of their size for 1 of 1 .*, such as 'a' of 20 × 30 px"):
        score_submission(truth, submission)


def test_a_field_that_a_submission_has_twice_is_named(submission, truth):
    submission.write_text(submission.read_text() + submission.read_text().splitlines()[1] + "\n")
    with pytest.raises(ValueError, match="submission.csv, row 4: field 'a' stands in row 2 already; write one row a"):
        score_submission(truth, submission)


def test_the_command_prints_and_writes_the_score(submission, truth, tmp_path, capsys):
    out = tmp_path / "score.json"
    assert main(["score", "--truth", str(truth), "--submission", str(submission), "--json", str(out)]) == 0
    assert "mean average precision (mAP)  0.0526" in capsys.readouterr().out
    scores = json.loads(out.read_text())
    assert {"mean_average_precision", "mean_over_classes_with_truth", "average_precision"} <= set(scores)
    assert scores["average_precision"]["4"] == 1 and scores["average_precision"]["0"] is None


def test_a_missing_file_is_one_line_and_exit_code_1(tmp_path, capsys):
    assert main(["score", "--truth", str(tmp_path / "t.csv"), "--submission", "s.csv"]) == 1
    assert capsys.readouterr().err.strip().endswith("t.csv does not exist")
