"""What `validate` finds: each rule broken once in a file that is good otherwise."""

import base64
import csv
import gzip
import re
import zlib

import numpy as np
import pytest
from conftest import REPOSITORY

from hpa_utils import masks
from hpa_utils.running.commands import main
from hpa_utils.scoring import validate_submission, validation
from hpa_utils.scoring.findings import RULES, Findings
from hpa_utils.scoring.submission import COLUMNS, empty_prediction

HEIGHT, WIDTH, FIELDS = 20, 30, 6  # wider than high


def box(top, bottom, left, right, height=HEIGHT, width=WIDTH):
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    return mask


LEFT, RIGHT = masks.encode_mask(box(2, 12, 1, 11)), masks.encode_mask(box(2, 12, 15, 25))
OTHER_ZLIB = base64.b64encode(zlib.compress(zlib.decompress(base64.b64decode(LEFT)), 0)).decode()  # of the left cell


NO_CELLS = empty_prediction(WIDTH, HEIGHT)


def good_rows():
    """Six fields of two cells, each with every class, no two confidences alike."""
    values = iter(np.random.default_rng(0).permutation(10_000) / 10_007)
    triples = [(label, mask) for mask in (LEFT, RIGHT) for label in range(19)]
    cells = [[f"{label} {next(values):.9g} {mask}" for label, mask in triples] for _ in range(FIELDS)]
    return [[f"field-{number}", WIDTH, HEIGHT, " ".join(words)] for number, words in enumerate(cells)]


def write(path, rows, columns=COLUMNS):
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *rows])
    return path


@pytest.fixture
def sample(tmp_path):
    return write(tmp_path / "sample_submission.csv", [[*row[:3], "0 1 x"] for row in good_rows()])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "submission.csv"


def with_prediction(change, place=1):
    """Change of the rows that replaces the prediction of one field."""

    def changed(rows):
        rows[place][3] = change(rows[place][3])
        return rows

    return changed


def with_value(place, column, value):
    def changed(rows):
        rows[place][column] = value
        return rows

    return changed


def with_confidences(new, labels=range(19)):
    """Change of the rows in which the n-th confidence v of each of these classes becomes ``new(n, v)``."""

    def changed(rows):
        times = dict.fromkeys(map(str, labels), 0)
        for row in rows:
            words = row[3].split()
            for place in range(0, len(words), 3):
                if words[place] in times:
                    words[place + 1] = str(new(times[words[place]], words[place + 1]))
                    times[words[place]] += 1
            row[3] = " ".join(words)
        return rows

    return changed


def replaced(old, new, count=1):
    return with_prediction(lambda text: text.replace(old, new, count))


def test_a_good_file_gives_no_finding(path, sample):
    assert validate_submission(write(path, good_rows()), sample) == []
    assert validate_submission(path) == []


FAULTS = {
    "a repeated field": (
        lambda rows: [*rows, [*rows[1][:3], NO_CELLS]],
        "error",
        8,
        "field-1' stands in row 3 already",
    ),
    "a field that is not asked for": (
        lambda rows: [*rows, ["new", WIDTH, HEIGHT, NO_CELLS]],
        "error",
        8,
        "not in the sample",
    ),
    "a missing field": (lambda rows: rows[:-1], "error", 0, "field-5 is missing"),
    "an ID with a separator": (lambda rows: [*rows, ["a/b", WIDTH, HEIGHT, NO_CELLS]], "error", 8, "a/b"),
    "another order": (lambda rows: [rows[0], rows[2], rows[1], *rows[3:]], "note", 3, "field-2 stands where field-1"),
    "a blank line": (lambda rows: [*rows[:2], [], *rows[2:]], "note", 4, "empty line"),
    "a value too many": (lambda rows: [*rows, [*rows[0], "0"]], "error", 8, "5 values"),
    "a value too few": (lambda rows: [*rows, rows[0][:3]], "error", 8, "3 values"),
    "a width with a point": (with_value(1, 1, "30.0"), "error", 3, "ImageWidth '30.0'"),
    "a height of zero": (with_value(1, 2, "0"), "error", 3, "ImageHeight '0'"),
    "no width": (with_value(1, 1, ""), "error", 3, "ImageWidth ''"),
    "width and height swapped": (
        lambda rows: [rows[0], ["field-1", HEIGHT, WIDTH, rows[1][3]], *rows[2:]],
        "warning",
        3,
        "width and height are swapped: 20 × 30, the sample has 30 × 20",
    ),
    "an empty prediction": (with_prediction(lambda text: ""), "warning", 3, "empty"),
    "a prediction of spaces": (with_prediction(lambda text: "  "), "warning", 3, "empty"),
    "two spaces": (replaced(" ", "  "), "note", 3, "spaces"),
    "a space at the end": (with_prediction(lambda text: text + " "), "note", 3, "spaces"),
    "a tab": (replaced(" ", "\t"), "error", 3, "tabs"),
    "a line break within a value": (replaced(" ", "\n"), "error", 3, "line breaks"),
    "a word too few": (with_prediction(lambda text: text.rpartition(" ")[0]), "error", 3, "113 words"),
    "the class 19": (replaced("18 ", "19 "), "error", 3, "label '19'"),
    "the class −1": (replaced("0 ", "-1 "), "error", 3, "label '-1'"),
    "a class with a point": (replaced("0 ", "0.0 "), "error", 3, "label '0.0'"),
    "a mask that is no base64": (replaced(LEFT, "xyz!", 19), "error", 3, "not base64"),
    "bytes printed as text": (replaced(LEFT, f"b'{LEFT}'", 19), "error", 3, "not base64"),
    "a mask that is no zlib": (replaced(LEFT, "AAAA", 19), "error", 3, "zlib"),
    "a mask that is no run lengths": (
        replaced(LEFT, base64.b64encode(zlib.compress(b"\x00\xff")).decode(), 19),
        "error",
        3,
        "does not fit a field of 20 × 30 px",
    ),
    "a mask of another size": (
        replaced(LEFT, masks.encode_mask(box(2, 9, 1, 11, height=10)), 19),
        "error",
        3,
        "does not fit a field of 20 × 30 px (rows × columns)",
    ),
    "an empty mask": (replaced(LEFT, masks.encode_mask(box(0, 0, 0, 0)), 19), "warning", 3, "mask 1 of the row"),
    "a mask and class twice": (
        with_prediction(lambda text: f"{text} 4 0.123 {LEFT}"),
        "warning",
        3,
        "class '4' twice for mask 1",
    ),
    "a mask and class twice, packed otherwise": (
        with_prediction(lambda text: f"{text} 4 0.123 {OTHER_ZLIB}"),
        "warning",
        3,
        "class '4' twice for mask 1",
    ),
    "masks of IoU 0.7": (  # 70 of 100 pixels
        replaced(RIGHT, masks.encode_mask(box(2, 12, 1, 8)), 19),
        "warning",
        3,
        "masks 1 and 2 of the row overlap by IoU 0.70",
    ),
    "masks of IoU 0.6": (replaced(RIGHT, masks.encode_mask(box(2, 12, 1, 7)), 19), "note", 3, "by 100.0%"),
    "masks that share 10 of 100 pixels": (
        replaced(RIGHT, masks.encode_mask(box(2, 12, 10, 20)), 19),
        "note",
        3,
        "1 pairs of masks overlap, at most by 10.0% of the smaller",
    ),
    "a class never predicted": (
        lambda rows: [[*row[:3], re.sub(r"(?:^| )(?:3|11) \S+ \S+", "", row[3])] for row in rows],
        "warning",
        0,
        "2 classes are never predicted: 3, 11",
    ),
    "one confidence for all": (
        with_confidences(lambda number, value: 1),
        "warning",
        0,
        "all 228 confidences of the file",
    ),
    "one confidence for a class": (
        with_confidences(lambda number, value: 0.5, labels=[7]),
        "warning",
        0,
        "all 12 confidences of class 7 are 0.5",
    ),
    "confidences rounded to ties": (
        with_confidences(lambda number, value: f"0.{number // 2}", labels=[7]),
        "warning",
        0,
        "100% of the 12 confidences of class 7",
    ),
}
FAULTS |= {
    f"the confidence {value}": (
        with_confidences(lambda number, old, value=value: value if number == 2 else old, labels=[0]),
        "error",
        3,
        f"confidence '{value}' is no number in [0, 1]",
    )
    for value in ("nan", "inf", "-0.1", "1.0001", "0,5", "high", "0.1_0", "1e")
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_at_its_level_and_row(path, sample, fault):
    change, level, row, what = FAULTS[fault]
    (finding,) = validate_submission(write(path, change(good_rows())), sample)
    assert (finding.level, finding.row) == (level, row) and what in finding.what, finding


HEADERS = {
    "a missing column": (("ID", "ImageWidth", "PredictionString"), "error", "no column ImageHeight"),
    "no header": (("field", "30", "20", "0 1 x"), "error", "no column ID"),
    "lower case": (("id", *COLUMNS[1:]), "error", "no column ID, a column 'id' too many"),
    "a column too many": (("", *COLUMNS), "error", "a column '' too many"),
    "a column twice": ((*COLUMNS, "ID"), "error", "column ID 2 times"),
    "another order": (("PredictionString", *COLUMNS[:3]), "note", "PredictionString, ID, ImageWidth"),
}


@pytest.mark.parametrize("fault", HEADERS)
def test_other_columns_are_found(path, sample, fault):
    columns, level, what = HEADERS[fault]
    rows = [[dict(zip(COLUMNS, row)).get(column, "0") for column in columns] for row in good_rows()]
    (finding,) = validate_submission(write(path, rows, columns), sample)
    assert (finding.level, finding.row) == (level, 1) and what in finding.what, finding


FILES = {
    "an empty file": (lambda data: b"", "error", 0, "empty"),
    "a header alone": (lambda data: data[: data.index(b"\n") + 1], "error", 0, "header but no rows"),
    "gzip": (gzip.compress, "error", 0, "gzip"),
    "zip": (lambda data: b"PK\x03\x04" + data, "error", 0, "zip"),
    "UTF-16": (lambda data: data.decode().encode("utf-16"), "error", 0, "UTF-16"),
    "Latin 1": (lambda data: data.replace(b"field-2", "fïeld-2".encode("latin-1")), "error", 4, "no UTF-8 from here"),
    "a byte order mark": (lambda data: b"\xef\xbb\xbf" + data, "error", 1, "byte order mark"),
    "Windows's line ends": (lambda data: data.replace(b"\n", b"\r\n"), "note", 0, r"\r\n"),
    "JSON": (lambda data: b'{"ID": 1}\n', "error", 1, "no column ID"),
    "semicolons": (lambda data: data.replace(b",", b";"), "error", 1, "ID;ImageWidth;ImageHeight"),
    "an open quote": (lambda data: data.replace(b"field-2", b'"field-2'), "error", 4, "a quote is opened here"),
    "a cut last row": (lambda data: data[: data.rindex(b"field-5") + 9], "error", 7, "2 values"),
}


@pytest.mark.parametrize("fault", FILES)
def test_what_is_no_plain_csv_is_found(path, fault):
    change, level, row, what = FILES[fault]
    path.write_bytes(change(write(path, good_rows()).read_bytes()))
    (finding,) = validate_submission(path)
    assert (finding.level, finding.row) == (level, row) and what in finding.what, finding


def test_a_size_that_is_not_the_samples_is_a_warning(path, sample):
    whole = " ".join(f"{label} 0.{label:02d}5 {masks.encode_mask(box(0, 9, 0, 9, 10, 15))}" for label in range(19))
    rows = [*good_rows()[:5], ["field-5", 15, 10, whole]]
    (finding,) = validate_submission(write(path, rows), sample)
    assert (finding.level, finding.row) == ("warning", 7) and "15 × 10, the sample has 30 × 20" in finding.what


def test_a_file_larger_than_kaggle_keeps_is_an_error(path, monkeypatch):
    write(path, good_rows())
    monkeypatch.setattr(validation, "KAGGLE_BYTES", path.stat().st_size - 1)
    (finding,) = validate_submission(path)
    assert (finding.level, finding.row) == ("error", 0) and "Kaggle keeps" in finding.what


def test_a_file_of_another_name_is_noted(tmp_path):
    (finding,) = validate_submission(write(tmp_path / "blend.csv", good_rows()))
    assert (finding.level, finding.row) == ("note", 0) and "Kaggle looks for submission.csv" in finding.what


def test_some_fields_without_cells_are_no_finding_but_many_are_a_run_that_did_not_finish(path):
    rows = [*good_rows(), *([f"empty-{number}", WIDTH, HEIGHT, NO_CELLS] for number in range(5))]
    assert validate_submission(write(path, rows[:-1])) == []
    (finding,) = validate_submission(write(path, rows))
    assert (finding.level, finding.row) == ("warning", 0) and "5 of 11 fields have no cells" in finding.what


def test_a_few_ties_of_many_are_noted(path):
    rows = [[f"{copy}-{row[0]}", *row[1:]] for copy in range(10) for row in good_rows()]
    values = iter(np.random.default_rng(0).permutation(10_000) / 10_007)
    rows = with_confidences(lambda number, old: next(values))(rows)
    rows = with_confidences(lambda number, old: 0.25 if number < 3 else old, labels=[7])(rows)
    (finding,) = validate_submission(write(path, rows))
    assert finding.level == "note" and "2% of the 120 confidences of class 7" in finding.what


def test_both_of_two_masks_at_the_limit_of_overlap_can_hit_cells_that_do_not_overlap():
    """100 true pixels in a row, cut in two; each mask reaches as far over the cut as IoU 0.6 allows."""
    cells = box(0, 1, 0, 60, 1, 120), box(0, 1, 60, 120, 1, 120)
    both = box(0, 1, 0, 100, 1, 120), box(0, 1, 20, 120, 1, 120)
    assert all((mask & cell).sum() / (mask | cell).sum() == 0.6 for mask, cell in zip(both, cells))
    assert (both[0] & both[1]).sum() / (both[0] | both[1]).sum() == pytest.approx(validation.OVERLAP)


def test_a_broken_file_is_told_in_few_lines(path, sample):
    rows = [[*row[:3], " ".join(["19 2 xyz"] * 500)] for row in good_rows()]
    findings = validate_submission(write(path, rows), sample)
    assert len(findings) == 3 * 4  # label, confidence, mask: three rows each, and the number of the others
    assert findings[3].what == "and 3 more rows like this (label)"


def test_findings_of_one_row_are_one_and_the_worst_level_comes_first():
    findings = Findings()
    for row in (2, 2, 3, 4, 5, 5, 6):
        findings.add("empty mask", row, f"of row {row}")
    findings.add("label", 9, "19")
    listed = findings.listed()
    assert [(finding.level, finding.row) for finding in listed] == [
        ("error", 9),
        *(("warning", r) for r in (2, 3, 4, 0)),
    ]
    assert listed[1].what == "of row 2 (2 times in this row)" and listed[4].what.startswith("and 2 more rows")


def test_a_field_of_many_cells_is_longer_than_the_csv_modules_limit_and_is_read(path):
    rng = np.random.default_rng(0)
    field = np.array_split(rng.permutation(200 * 300), 40)  # salt and pepper: the longest texts there are
    cells = [masks.encode_mask(np.isin(np.arange(60_000), part).reshape(200, 300)) for part in field]
    text = " ".join(f"{label} {value:.9f} {cell}" for cell in cells for label, value in enumerate(rng.random(19)))
    assert len(text) > csv.field_size_limit()
    assert validate_submission(write(path, [["a", 300, 200, text]])) == []


def test_the_command_prints_a_line_a_finding_and_fails_on_errors_and_warnings_alone(path, sample, capsys):
    def run(rows):
        code = main(["validate", "--submission", str(write(path, rows)), "--sample", str(sample)])
        return code, capsys.readouterr().out.splitlines()

    assert run(good_rows()) == (0, [f"{path}: no findings"])
    assert run(good_rows()[::-1])[0] == 0
    assert run(with_prediction(lambda text: "")(good_rows()))[0] == 1
    code, lines = run(good_rows()[:-1])
    assert code == 1 and lines[0].startswith("error file: field field-5 is missing; add its row") and len(lines) == 2


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="s.csv does not exist"):
        validate_submission(tmp_path / "s.csv")


def test_the_page_has_every_rule_with_its_level():
    page = (REPOSITORY / "docs" / "scoring.md").read_text()
    told = dict(re.findall(r"^\| ([^|]+) \| (error|warning|note) \|", page, re.MULTILINE))
    assert told == {name: level for name, (level, _) in RULES.items()}
