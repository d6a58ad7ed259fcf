"""What is measured of each cell, and the fields that look wrong."""

import numpy as np
import pandas as pd
import pytest
from conftest import field_with_cells, write_field

from hpa_utils import masks, tables
from hpa_utils.dataset import open_dataset
from hpa_utils.segmentation import measure


def rows_of(cells, nuclei, red=0, blue=0):
    field = np.zeros((*cells.shape, 4), np.uint8)
    field[..., 0], field[..., 2] = red, blue
    return measure.cell_rows("a", "train", cells.astype(np.uint16), nuclei.astype(np.uint16), field)


def disk(radius):
    grid = np.arange(-radius - 2, radius + 3)
    return (grid**2 + grid[:, None] ** 2 <= radius**2).astype(np.uint16)


def test_cells_are_measured():
    cells, nuclei, blue = np.zeros((3, 6, 8), np.uint8)
    cells[:2, :3] = 1
    cells[2:5, 4:7] = 2
    nuclei[0, 0], nuclei[3, 4:6] = 1, 2
    blue[0, 0], blue[3, 4:6] = 200, (90, 110)
    corner, inside = rows_of(cells, nuclei, blue=blue)
    assert [corner[key] for key in ("cell_id", "y0", "x0", "y1", "x1")] == [1, 0, 0, 2, 3]
    assert (corner["area"], inside["area"], inside["nucleus_area"]) == (6, 9, 2)
    assert (corner["nucleus_blue_mean"], inside["nucleus_blue_mean"], inside["nucleus_blue_std"]) == (200, 100, 10)
    assert corner["edge_fraction"] == pytest.approx(4 / 6)  # all six pixels are outline, four of them at the border
    assert corner["nucleus_edge_fraction"] == 1 and inside["edge_fraction"] == 0
    assert (masks.decode_counts(inside["rle"], 6, 8) == (cells == 2)).all()


def test_no_cells_no_rows():
    assert rows_of(np.zeros((6, 8)), np.zeros((6, 8))) == []


def test_a_cell_that_fills_the_field_and_one_in_its_hole():
    cells = np.ones((5, 4))
    cells[2, 1] = 2
    whole, hole = rows_of(cells, np.zeros((5, 4)))
    assert [whole[key] for key in ("y0", "x0", "y1", "x1", "area")] == [0, 0, 5, 4, 19]
    assert whole["edge_fraction"] == pytest.approx(14 / 17)  # the hole adds three pixels that are not at the border
    assert [masks.decode_counts(row["rle"], 5, 4).sum() for row in (whole, hole)] == [19, 1]


def test_a_nucleus_may_be_missing():
    cells, nuclei = np.zeros((2, 6, 8), np.uint8)
    cells[1:3, 1:3], cells[4:, 6:] = 1, 2
    nuclei[1, 1:3] = 1
    with_nucleus, without = rows_of(cells, nuclei, red=10, blue=100)
    assert [with_nucleus[name] for name in ("nucleus_area", "nucleus_blue_mean", "nucleus_red_ratio")] == [2, 100, 1]
    names = ("nucleus_area", "nucleus_blue_mean", "nucleus_blue_std", "nucleus_edge_fraction", "nucleus_red_ratio")
    assert [without[name] for name in names] == [0] * 5


def test_a_disk_is_round_at_any_size_and_a_bar_or_a_star_is_not():
    for radius in (10, 60):
        (row,) = rows_of(disk(radius), disk(radius))
        assert row["roundness"] == pytest.approx(1, abs=0.02)
    (bar,) = rows_of(np.ones((50, 200)), np.ones((50, 200)))
    assert bar["roundness"] == pytest.approx(4 * np.pi * 10000 / 500**2, rel=0.03)  # the outline is 2 × (50 + 200) long
    star = np.zeros((41, 41))
    star[18:23], star[:, 18:23] = 1, 1
    assert rows_of(star, star)[0]["roundness"] < 0.5


def test_red_is_measured_in_the_nucleus_and_where_it_is_brightest():
    cells, nuclei, red = np.ones((10, 10)), np.zeros((10, 10)), np.full((10, 10), 10)
    nuclei[0, :4] = 1
    (even,) = rows_of(cells, nuclei, red)
    assert (even["nucleus_red_ratio"], even["red_focus"]) == (1, pytest.approx(0.05))
    red[0, :4] = 110  # 4 of 100 pixels; the fifth of the brightest five has 10: (4 × 110 + 10) of 1400
    (focused,) = rows_of(cells, nuclei, red)
    assert focused["red_focus"] == pytest.approx(450 / 1400)
    assert focused["nucleus_red_ratio"] == pytest.approx(110 / 14)
    assert [rows_of(cells, nuclei)[0][name] for name in ("nucleus_red_ratio", "red_focus")] == [0, 0]


def squares(*boxes, shape=(100, 100)):
    """Labels of squares given as (row, column, side), numbered from 1."""
    labels = np.zeros(shape, np.uint16)
    for number, (row, column, side) in enumerate(boxes, start=1):
        labels[row : row + side, column : column + side] = number
    return labels


def tables_of(labelled: dict) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Field and cell table of labels by image ID, at 0.5 µm/px."""
    field_rows, cell_rows = [], []
    for image_id, cells in labelled.items():
        blank = np.zeros((*cells.shape, 4), np.uint8)
        rows = measure.cell_rows(image_id, "test", cells, cells, blank)
        field_rows.append(tables.field_row(image_id, "test", blank, len(rows), np.full(19, -1), 0.5))
        cell_rows += rows
    field_rows.append(tables.error_row("broken", "test", np.full(19, -1), 0.5, "no blue channel", ""))
    return pd.DataFrame(field_rows), pd.DataFrame(cell_rows)


USUAL = [(0, 0, 20), (30, 0, 22), (60, 0, 18), (0, 40, 20)]


def test_fields_that_look_wrong_are_ranked_with_the_reason():
    labelled = {f"usual-{number}": squares(*USUAL) for number in range(8)}
    labelled["empty"] = squares()
    labelled["giant"] = squares(*USUAL[:3], (0, 40, 58))
    labelled["tiny"] = squares(*((row, column, 7) for row, column, _ in USUAL))
    labelled["crowded"] = squares(*((row, column, 18) for row in range(0, 90, 20) for column in range(0, 90, 20)))
    found = measure.suspects(*tables_of(labelled)).set_index("image_id")
    assert set(found.index) == {"empty", "giant", "tiny", "crowded"}
    assert found.index[0] == "empty" and found["score"].is_monotonic_decreasing
    reasons = {"empty": "no cells", "giant": "giant cell", "tiny": "unusual cell area", "crowded": "unusual number"}
    assert all(reason in found.loc[image_id, "why"] for image_id, reason in reasons.items())


def test_alike_fields_do_not_look_wrong():
    assert measure.suspects(*tables_of({str(number): squares(*USUAL) for number in range(6)})).empty


def test_fields_without_any_cell_are_reported_too():
    fields, cells = tables_of({"a": squares(*USUAL), "b": squares(), "c": squares()})
    fields, cells = fields[fields["image_id"] != "a"], cells.iloc[:0]
    assert measure.suspects(fields, cells)["why"].tolist() == ["no cells", "no cells"]


def test_areas_are_in_square_micrometres():
    fields, cells = tables_of({"a": squares((0, 0, 20), (40, 40, 10))})
    assert (
        measure.areas_um2(fields, cells).tolist()
        == measure.areas_um2(fields, cells, "nucleus_area").tolist()
        == [100, 25]
    )


def test_a_field_comes_back_with_the_labels_of_its_cells(tmp_path):
    picture, labels = np.full((100, 100, 4), 7, np.uint8), squares(*USUAL)
    write_field(tmp_path, "a", picture)
    fields, cells = tables_of({"a": labels, "b": squares((5, 5, 5))})
    row = next(fields.itertuples())
    found = measure.field_and_labels(open_dataset(tmp_path), cells, row)
    for ours, expected in zip(found, (picture, labels), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_nuclei_of_another_size_show_that_the_pixel_size_is_missing(tmp_path):
    write_field(tmp_path, "a", field_with_cells())  # at 0.32 µm/px, with nuclei of 9 px radius
    write_field(tmp_path, "b", np.zeros((96, 128, 4), np.uint8))
    (tmp_path / "c_blue.png").write_bytes(b"torn")
    for pixel_size in (0.08, 0.32):
        (tmp_path / "dataset.json").write_text(f'{{"pixel_size_um": {pixel_size}}}')
        found = measure.usual_nucleus(open_dataset(tmp_path), "test")
        assert found == pytest.approx(np.pi * 9**2 * pixel_size**2, rel=0.15)


def test_a_large_field_shows_its_nuclei_too(tmp_path):
    write_field(tmp_path, "a", np.kron(field_with_cells(512, 512), np.ones((4, 4, 1), np.uint8)))  # as of 0.08 µm/px
    assert measure.usual_nucleus(open_dataset(tmp_path), "test") == pytest.approx(np.pi * 9**2 * 0.32**2, rel=0.15)
