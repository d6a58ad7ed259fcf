"""Tables that users supply: what would shift, lose or misread a value is one line with file, row, cause and remedy."""

import numpy as np
import pytest
from conftest import REPOSITORY

from hpa_utils import masks
from hpa_utils.csv_files import read_csv
from hpa_utils.dataset import read_label_table, read_sample
from hpa_utils.scoring import read_submission, read_truth
from hpa_utils.weak_labels.folds import read_samples
from hpa_utils.weak_labels.grades import read_grades

CASE = REPOSITORY.parent / "shared" / "data" / "cases" / "13_csv_more_values_than_columns" / "data"
MASK = masks.encode_mask(np.ones((3, 4), bool))
TABLES = {  # reader, header and a good row
    "train": (read_label_table, "ID,Label", "a,0|14"),
    "sample": (read_sample, "ID,ImageWidth,ImageHeight,PredictionString", "a,4,3,0 1 x"),
    "grades": (read_grades, "ID,mask_label,label,score", "a,1,3,1"),
    "samples": (read_samples, "ID,sample", "a,well 1"),
    "truth": (read_truth, "ID,ImageWidth,ImageHeight,Label,Mask", f"a,4,3,7,{MASK}"),
    "submission": (read_submission, "ID,ImageWidth,ImageHeight,PredictionString", f"a,4,3,7 0.5 {MASK}"),
}
FAULTS = {  # what is wrong: (bytes of a file, of its header and a good row), the message
    "a comma too many in every row": (
        lambda h, r: f"{h}\n{r},\n".encode(),
        "row 2: . values, the header has . columns",
    ),
    "a comma too many further down": (lambda h, r: f"{h}\n{r}\nb{r[1:]},\n".encode(), "row 3: . values"),
    "a value too few": (lambda h, r: f"{h}\n{r}\nb\n".encode(), "row 3: 1 values, .*; write one value a column"),
    "the same after blank lines": (lambda h, r: f"{h}\n\n{r}\n\nb\n".encode(), "row 5: 1 values"),
    "UTF-16": (lambda h, r: f"{h}\n{r}\n".encode("utf-16"), "the file is UTF-16; .*UTF-8"),
    "UTF-16 without a mark": (lambda h, r: f"{h}\n{r}\n".encode("utf-16-le"), "the file is UTF-16; .*UTF-8"),
    "Latin-1": (lambda h, r: f"{h}\n{r}\nä{r[1:]}\n".encode("latin-1"), "row 3: no UTF-8 .*; .*UTF-8"),
    "semicolons": (
        lambda h, r: f"{h}\n{r}\n".replace(",", ";").encode(),
        "separated by semicolons or tabs: 'ID.*; ",
    ),
    "tabs": (lambda h, r: f"{h}\n{r}\n".replace(",", "\t").encode(), "separated by semicolons or tabs: 'ID.*; "),
    "a quote left open": (
        lambda h, r: f'{h}\n{r}\n"b{r[1:]}\n'.encode(),
        "row 3: a quote is opened here and not closed; ",
    ),
    "a column twice": (lambda h, r: f"{h},ID\n{r},c\n".encode(), "row 1: column ID 2 times"),
    "no column ID": (lambda h, r: f"id{h[2:]}\n{r}\n".encode(), "row 1: no column ID, .*; the header is 'id,"),
    "packed": (lambda h, r: b"PK\x03\x04" + r.encode(), "packed with zip; unpack it"),
    "no rows": (lambda h, r: f"{h}\n".encode(), "a header but no rows"),
    "no header": (lambda h, r: b"", "is empty; expected the columns ID, "),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_line_in_every_table(tmp_path, name, fault):
    reader, header, row = TABLES[name]
    make, message = FAULTS[fault]
    path = tmp_path / f"{name}.csv"
    path.write_bytes(make(header, row))
    with pytest.raises(ValueError, match=f"{name}.csv.*{message}") as caught:
        reader(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", TABLES)
def test_a_byte_order_mark_and_the_line_ends_of_windows_change_nothing(tmp_path, name):
    reader, header, row = TABLES[name]
    plain, marked = tmp_path / "plain.csv", tmp_path / "marked.csv"
    plain.write_bytes(f"{header}\n{row}\n".encode())
    marked.write_bytes(b"\xef\xbb\xbf" + f"{header}\r\n\r\n{row}\r\n".encode())
    assert str(reader(plain)) == str(reader(marked))


def test_text_stays_text_and_the_index_has_the_rows_of_the_file(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('b,ID,c\n1.0,007,x\n\nnan,"a, b",y\n')
    table = read_csv(path, ("ID", "b"), optional=("note",))
    assert table.to_dict("index") == {
        2: {"ID": "007", "b": "1.0", "note": ""},
        4: {"ID": "a, b", "b": "nan", "note": ""},
    }


def test_a_quote_that_swallows_the_next_row_is_found(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text('ID,sample\na,"well 1\nb,well 2"\n')
    with pytest.raises(ValueError, match="row 2: a value goes on in the next line; close the quote before it"):
        read_csv(path, ("ID", "sample"))


@pytest.mark.parametrize(
    ("file", "reader", "message"),
    [
        ("train.csv", read_label_table, "row 2: 3 values"),
        ("variants/late_comma_train.csv", read_label_table, "row 3: 3 values"),
        ("variants/trailing_commas_train.csv", read_label_table, "row 2: 3 values"),
        ("variants/blank_lines_train.csv", read_label_table, r"row 6 \(b\): label 'x'"),
        ("variants/latin1_train.csv", read_label_table, "row 2: no UTF-8"),
        ("variants/utf16_train.csv", read_label_table, "the file is UTF-16"),
        ("variants/trailing_comma_sample_submission.csv", read_sample, "row 2: 4 values"),
        ("variants/trailing_commas_cell_scores.csv", read_grades, "row 2: 5 values"),
    ],
)
def test_tables_as_spreadsheets_and_scripts_left_them(file, reader, message):
    if not CASE.is_dir():
        pytest.skip(f"no {CASE.parent.name} in the folder shared/data/cases")
    with pytest.raises(ValueError, match=f"{file}, row 2: .*|{message}") as caught:
        reader(CASE / file)
    assert message.split("\\")[0] in str(caught.value)
