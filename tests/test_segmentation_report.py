"""The report on a segmentation: the fields that look wrong."""

import numpy as np
import pandas as pd
import pytest
from conftest import field_with_cells, write_field

from hpa_utils import tables
from hpa_utils.dataset import open_dataset
from hpa_utils.segmentation import measure, report


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
    found = report.suspects(*tables_of(labelled)).set_index("image_id")
    assert set(found.index) == {"empty", "giant", "tiny", "crowded"}
    assert found.index[0] == "empty" and found["score"].is_monotonic_decreasing
    reasons = {"empty": "no cells", "giant": "giant cell", "tiny": "unusual cell area", "crowded": "unusual number"}
    assert all(reason in found.loc[image_id, "why"] for image_id, reason in reasons.items())


def test_alike_fields_do_not_look_wrong():
    assert report.suspects(*tables_of({str(number): squares(*USUAL) for number in range(6)})).empty


def test_fields_without_any_cell_are_reported_too():
    fields, cells = tables_of({"a": squares(*USUAL), "b": squares(), "c": squares()})
    fields, cells = fields[fields["image_id"] != "a"], cells.iloc[:0]
    assert report.suspects(fields, cells)["why"].tolist() == ["no cells", "no cells"]


def test_areas_are_in_square_micrometres():
    fields, cells = tables_of({"a": squares((0, 0, 20), (40, 40, 10))})
    assert (
        report.areas_um2(fields, cells).tolist()
        == report.areas_um2(fields, cells, "nucleus_area").tolist()
        == [100, 25]
    )


def test_a_field_comes_back_with_the_labels_of_its_cells(tmp_path):
    picture, labels = np.full((100, 100, 4), 7, np.uint8), squares(*USUAL)
    write_field(tmp_path, "a", picture)
    fields, cells = tables_of({"a": labels, "b": squares((5, 5, 5))})
    row = next(fields.itertuples())
    found = report.field_and_labels(open_dataset(tmp_path), cells, row)
    for ours, expected in zip(found, (picture, labels), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_nuclei_of_another_size_show_that_the_pixel_size_is_missing(tmp_path):
    write_field(tmp_path, "a", field_with_cells())  # at 0.32 µm/px, with nuclei of 9 px radius
    write_field(tmp_path, "b", np.zeros((96, 128, 4), np.uint8))
    (tmp_path / "c_blue.png").write_bytes(b"torn")
    for pixel_size in (0.08, 0.32):
        (tmp_path / "dataset.json").write_text(f'{{"pixel_size_um": {pixel_size}}}')
        found = report.usual_nucleus(open_dataset(tmp_path), "test")
        assert found == pytest.approx(np.pi * 9**2 * pixel_size**2, rel=0.15)


def test_a_large_field_shows_its_nuclei_too(tmp_path):
    write_field(tmp_path, "a", np.kron(field_with_cells(512, 512), np.ones((4, 4, 1), np.uint8)))  # as of 0.08 µm/px
    assert report.usual_nucleus(open_dataset(tmp_path), "test") == pytest.approx(np.pi * 9**2 * 0.32**2, rel=0.15)
