import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from hpa_utils import tables
from hpa_utils.segmentation import measure


def two_cells():
    """A 6 × 8 field: cell 1 of 2 × 3 px in the corner, cell 2 of 3 × 3 px inside; nuclei of one pixel each."""
    cells = np.zeros((6, 8), np.uint16)
    cells[:2, :3] = 1
    cells[2:5, 4:7] = 2
    nuclei = np.zeros_like(cells)
    nuclei[0, 0], nuclei[3, 5] = 1, 2
    return cells, nuclei


@pytest.mark.parametrize(("n", "parts", "size"), [(1, 1, 1), (8, 1, 8), (9, 2, 8), (160, 16, 10), (21806, 110, 200)])
def test_parts_hold_8_to_200_fields_and_few_files(n, parts, size):
    plan = tables.plan_parts([f"{number:05d}" for number in range(n)])
    assert (len(plan), len(plan[0])) == (parts, size)
    assert [image_id for part in plan for image_id in part] == [f"{number:05d}" for number in range(n)]


def cell_table():
    cells, nuclei = two_cells()
    return pd.DataFrame(measure.cell_rows("a", "train", cells, nuclei, np.zeros((6, 8, 4), np.uint8)))


def test_a_part_comes_back_with_its_key(tmp_path):
    path = tmp_path / "part-train-0000.parquet"
    tables.write_part(path, cell_table().to_dict("records"), tables.CELLS, "key")
    assert tables.part_key(path) == "key"
    assert tables.read_parts(tmp_path)["rle"].tolist() == cell_table()["rle"].tolist()
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_part_without_rows_can_be_read_by_the_pyarrow_of_kaggle(tmp_path):
    """pyarrow 18 cannot read a file of no row groups: there is one of no rows."""
    empty, other = tmp_path / "part-train-0000.parquet", tmp_path / "part-train-0001.parquet"
    tables.write_part(empty, [], tables.CELLS, "key")
    tables.write_part(other, cell_table().to_dict("records"), tables.CELLS, "key")
    tables.write_keyed(tmp_path / "keyed" / "none.parquet", cell_table()[["image_id", "cell_id"]].iloc[:0], "")
    for path in (empty, tmp_path / "keyed" / "none.parquet"):
        assert pq.read_metadata(path).num_row_groups == 1
        assert len(pq.ParquetFile(path).read()) == len(tables.read_part(path, ["image_id"])) == 0
    assert tables.read_parts(tmp_path)["cell_id"].tolist() == [1, 2]
    found = [pd.read_parquet(path, filters=[("image_id", "==", "a")]) for path in (empty, other)]
    assert [len(table) for table in found] == [0, 2]


def test_a_part_that_is_not_whole_has_no_key(tmp_path):
    path = tmp_path / "part-train-0000.parquet"
    assert tables.part_key(path) == ""
    path.write_bytes(b"PAR1 half a file")
    assert tables.part_key(path) == ""


def test_a_failed_write_leaves_the_old_part(tmp_path):
    path = tmp_path / "part-train-0000.parquet"
    tables.write_part(path, [], tables.CELLS, "old")
    with pytest.raises((TypeError, ValueError)):
        tables.write_part(path, [{"area": "no number"}], tables.CELLS, "new")
    assert tables.part_key(path) == "old" and len(list(tmp_path.iterdir())) == 1


def test_the_fingerprint_knows_cells_by_their_masks_and_not_by_the_order_of_rows():
    table = cell_table()
    assert tables.cells_fingerprint(table) == tables.cells_fingerprint(table.iloc[::-1])
    moved = table.assign(rle=[table["rle"][1], table["rle"][0]])
    assert tables.cells_fingerprint(table) != tables.cells_fingerprint(moved)


def test_a_table_of_other_cells_is_refused(tmp_path):
    table = cell_table()
    scores = pd.DataFrame({"image_id": ["a", "a"], "cell_id": [1, 2], "p00": [0.1, 0.2]})
    tables.write_keyed(tmp_path / "oof.parquet", scores, tables.cells_fingerprint(table))
    pd.testing.assert_frame_equal(tables.read_keyed(tmp_path / "oof.parquet", table), scores)
    with pytest.raises(ValueError, match="another cell table"):
        tables.read_keyed(tmp_path / "oof.parquet", table.iloc[:1])


def test_all_fields_set_aside_stops_the_run_with_the_first_reason():
    rows = [tables.error_row(name, "train", np.zeros(19), 0.08, f"broken {name}", "") for name in "ab"]
    fields = pd.DataFrame(rows)
    assert [row["error"] for row in tables.failed_fields(fields)] == ["broken a", "broken b"]
    with pytest.raises(ValueError, match="all 2 train fields were set aside; the first: broken a"):
        tables.check_some_left(fields["split"], tables.failed_fields(fields))
    tables.check_some_left(["train"] * 3, tables.failed_fields(fields))
    late = fields.assign(error="OutOfTime: not begun")
    tables.check_some_left(late["split"], tables.failed_fields(late))
