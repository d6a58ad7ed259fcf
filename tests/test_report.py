import json

import pytest
from conftest import box

from hpa_utils import masks
from hpa_utils.running.commands import main
from hpa_utils.scoring import mean_average_precision, read_submission, read_truth, score_report

CELL, OTHER, SHAPE = box(2, 2, 10, 10), box(2, 18, 10, 10), (20, 30)
FIELDS = [f"field-{number:02d}" for number in range(12)]


def write_submission(path, rows, header="ID,ImageWidth,ImageHeight,PredictionString"):
    """Rows of (image_id, prediction string), or whole lines."""
    lines = [row if isinstance(row, str) else f"{row[0]},{SHAPE[1]},{SHAPE[0]},{row[1]}" for row in rows]
    path.write_text("\n".join([header, *lines, ""]))
    return path


def words(*triples):
    return " ".join(f"{label} {confidence} {masks.encode_mask(mask)}" for label, confidence, mask in triples)


@pytest.fixture
def truth(tmp_path):
    rows = [f"{name},30,20,7,{masks.encode_mask(CELL)}" for name in FIELDS]
    (tmp_path / "truth.csv").write_text("\n".join(["ID,ImageWidth,ImageHeight,Label,Mask", *rows, ""]))
    return tmp_path / "truth.csv"


@pytest.fixture
def submission(tmp_path):
    rows = [(name, words((7, 0.9 - number / 100, CELL), (3, 0.5, OTHER))) for number, name in enumerate(FIELDS[:9])]
    return write_submission(
        tmp_path / "submission.csv", rows + [(FIELDS[9], words((7, 0.95, OTHER))), (FIELDS[10], "")]
    )


def test_a_submission_is_read_in_the_order_of_the_file(tmp_path):
    rows = [("b", words((7, 0.25, CELL), (3, 1e-9, OTHER))), ("c", ""), "", ("a", words((7, 0.123456789, CELL)))]
    table = read_submission(write_submission(tmp_path / "s.csv", rows))
    assert table[["image_id", "label", "confidence"]].to_records(index=False).tolist() == [
        ("b", 7, 0.25),
        ("b", 3, 1e-9),
        ("a", 7, 0.123456789),
    ]
    assert set(zip(table["height"], table["width"])) == {SHAPE}
    assert table["counts"].tolist() == [masks.encode_counts(mask) for mask in (CELL, OTHER, CELL)]


def test_a_field_of_very_many_detections_is_read(tmp_path):
    many = words(*((label, 0.5, CELL) for label in range(19)))
    table = read_submission(write_submission(tmp_path / "s.csv", [("a", " ".join([many] * 300))]))
    assert len(table) == 5700


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([("a", "7 0.5")], "s.csv, row 2: 2 words"),
        ([("a", ""), ("b", f"19 0.5 {masks.encode_mask(CELL)}")], "row 3: label '19'"),
        ([("a", ""), "b,30,20"], "row 3: 3 values, the header has 4"),
        ([], "no rows"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_row(tmp_path, lines, message):
    with pytest.raises(ValueError, match=message):
        read_submission(write_submission(tmp_path / "s.csv", lines))


def test_a_file_without_the_columns_is_refused(tmp_path):
    with pytest.raises(ValueError, match="row 1: no column ImageHeight; the header is 'ID,"):
        read_submission(write_submission(tmp_path / "s.csv", [], "ID,ImageWidth,PredictionString"))
    (tmp_path / "s.csv").write_text("")
    with pytest.raises(ValueError, match="s.csv: the file is empty"):
        read_submission(tmp_path / "s.csv")


def test_a_report_is_the_score_with_its_interval(truth, submission):
    scores = score_report(truth, submission, rounds=100)
    plain = mean_average_precision(read_truth(truth), read_submission(submission))
    assert {name: scores[name] for name in plain} == plain
    assert scores["average_precision"]["7"] == pytest.approx(9 / 12 * 0.9)
    own = scores["interval"]["average_precision"]["7"]
    assert own["low"] < own["estimate"] == scores["average_precision"]["7"] < own["high"]
    assert scores["true_cells"]["7"] == 12 and scores["true_cells"]["3"] == 0


def test_the_json_file_holds_all_that_is_said_of_a_class(truth, submission, tmp_path):
    out = tmp_path / "score.json"
    call = ["--truth", str(truth), "--submission", str(submission), "--bootstrap", "20", "--json", str(out)]
    assert main(["score", *call, "--against", str(submission), "--diagnose"]) == 0
    scores = json.loads(out.read_text())
    golgi = scores["average_precision"]["7"]
    assert golgi == pytest.approx(9 / 12 * 0.9) and scores["tie_range"]["average_precision"]["7"] == [golgi, golgi]
    assert scores["interval"]["average_precision"]["7"]["low"] <= golgi
    assert scores["against"]["average_precision"]["7"]["difference"] == 0
    lost = {name: part["average_precision"]["7"] for name, part in scores["diagnosis"]["loss"].items()}
    assert lost["segmentation"] == 0.25 and sum(lost.values()) == pytest.approx(1 - golgi)
    assert scores["average_precision"]["3"] is None


def test_the_command_says_what_it_was_asked_for(truth, submission, tmp_path, capsys):
    other = write_submission(tmp_path / "other.csv", [(FIELDS[0], words((7, 0.5, CELL)))])
    call = ["score", "--truth", str(truth), "--submission", str(submission)]
    assert main([*call, "--bootstrap", "0"]) == 0
    plain = capsys.readouterr().out.splitlines()
    assert plain[7] == " 7 Golgi apparatus                            0.6750"
    assert plain[-1] == "mean average precision (mAP)  0.0355"
    assert main([*call, "--bootstrap", "50", "--against", str(other), "--diagnose"]) == 0
    told = capsys.readouterr().out
    assert "mean average precision (mAP)  0.0355  (0.0" in told
    assert "+0.0311 against 0.0044  (+0.0" in told
    assert "lost to segmentation (no mask with IoU ≥ 0.6)      0.2500" in told


def test_ties_are_told_where_they_matter(truth, tmp_path, capsys):
    rows = [(name, words((7, 0.5, CELL if number % 2 else OTHER))) for number, name in enumerate(FIELDS)]
    path = write_submission(tmp_path / "tied.csv", rows)
    assert main(["score", "--truth", str(truth), "--submission", str(path), "--bootstrap", "0"]) == 0
    assert "0.2500 … 0.5000 in other orders of equal confidences" in capsys.readouterr().out


def test_a_comparison_without_rounds_is_refused(truth, submission):
    with pytest.raises(ValueError, match="rounds"):
        score_report(truth, submission, rounds=0, against=submission)
