"""The report on a segmentation: agreement with masks made elsewhere, and the fields that look wrong."""

import cv2
import numpy as np
import pandas as pd
import pytest

from hpa_utils import tables
from hpa_utils.segmentation import ReferenceMasks, measure, report
from hpa_utils.segmentation.agreement import Agreement, match_masks


def squares(*boxes, shape=(100, 100)):
    """Labels of squares given as (row, column, side), numbered from 1."""
    labels = np.zeros(shape, np.uint16)
    for number, (row, column, side) in enumerate(boxes, start=1):
        labels[row : row + side, column : column + side] = number
    return labels


def test_the_same_masks_under_other_numbers_agree_fully():
    cells = squares((0, 0, 20), (40, 40, 30))
    found = match_masks(cells, np.where(cells > 0, 9 - cells, 0))
    assert (found.hits, found.cells, found.reference) == (2, 2, 2)
    assert found.f1 == 1 and found.mean_iou == 1


def test_a_hit_needs_an_iou_of_at_least_the_threshold():
    reference = squares((0, 0, 10))
    cells = np.zeros_like(reference)
    cells[:6, :10] = 1  # 60 of 100 px
    assert match_masks(cells, reference).hits == 1
    cells[5] = 0
    assert match_masks(cells, reference).hits == 0
    assert match_masks(cells, reference, threshold=0.5).mean_iou == 0.5


def test_split_merged_missed_and_invented_cells_lower_f1():
    reference = squares((0, 0, 20), (40, 0, 20), (80, 0, 20))
    cells = squares((0, 0, 20), (40, 60, 20))
    found = match_masks(cells, reference)
    assert found.f1 == pytest.approx(2 * 1 / (2 + 3))
    assert (found + Agreement(hits=3, cells=3, reference=3, iou_sum=2.4)).f1 == pytest.approx(2 * 4 / 11)
    assert (found + Agreement(hits=3, cells=3, reference=3, iou_sum=2.4)).mean_iou == pytest.approx(3.4 / 4)


def test_at_a_low_threshold_one_reference_is_still_hit_once():
    cells = squares((0, 0, 10), (0, 10, 10))
    assert match_masks(cells, squares((0, 0, 20)), threshold=0.2).hits == 1


def test_empty_masks_agree_and_masks_of_other_sizes_are_refused():
    empty = np.zeros((10, 10), np.uint16)
    assert match_masks(empty, empty).f1 == 1
    assert match_masks(squares((0, 0, 9), shape=(10, 10)), empty).f1 == 0
    with pytest.raises(ValueError, match="differ in size"):
        match_masks(empty, empty[:5])


@pytest.mark.parametrize("extension", [".png", ".npz"])
@pytest.mark.parametrize(("scale", "name"), [(1, "full"), (4, "quarter"), (0.5, "double")])
def test_masks_made_elsewhere_come_at_any_resolution_and_are_renumbered(tmp_path, extension, scale, name):
    masks = squares((8, 8, 40), (60, 20, 24), (20, 60, 32), shape=(100, 128))
    size = round(128 / scale), round(100 / scale)
    stored = cv2.resize(masks * 300, size, interpolation=cv2.INTER_NEAREST)
    if extension == ".png":
        cv2.imwrite(str(tmp_path / "a.png"), stored)
    else:
        np.savez_compressed(tmp_path / "a.npz", stored.astype(np.int64))
    field = np.zeros((100, 128, 4), np.uint8)
    nuclei, cells = ReferenceMasks(tmp_path, 0.32).segment(field, "a")
    np.testing.assert_array_equal(cells, masks)
    assert cells.dtype == np.uint16 and not nuclei.any()


def test_the_nuclei_inside_given_cells_carry_their_numbers(tmp_path):
    masks = squares((10, 10, 80), shape=(100, 128))
    cv2.imwrite(str(tmp_path / "a.png"), masks * 7)
    field = np.zeros((100, 128, 4), np.uint8)
    field[30:60, 30:60, 2] = 200
    nuclei, cells = ReferenceMasks(tmp_path, 0.32).segment(field, "a")
    assert set(np.unique(nuclei)) == {0, 1} and np.count_nonzero(nuclei) == pytest.approx(900, rel=0.1)


def test_a_missing_folder_a_missing_mask_and_a_picture_are_named(tmp_path):
    field = np.zeros((10, 10, 4), np.uint8)
    with pytest.raises(FileNotFoundError, match="-p masks=DIR"):
        ReferenceMasks(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no mask a.png or .npz"):
        ReferenceMasks(tmp_path).segment(field, "a")
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((10, 10, 3), np.uint8))
    with pytest.raises(ValueError, match="mask of a .* no two-dimensional"):
        ReferenceMasks(tmp_path).segment(field, "a")


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
    assert report.summary(fields, cells).loc["test", "without cells"] == 2


def test_the_summary_counts_in_micrometres():
    table = report.summary(
        *tables_of({"a": squares((0, 0, 20), (40, 40, 20)), "b": squares((40, 40, 20)), "c": squares()})
    )
    row = table.loc["test"]
    assert (row["fields"], row["cells"], row["without cells"], row["cells a field (median)"]) == (3, 3, 1, 1)
    assert row["cell µm² (median)"] == 100 and row["border cells"] == pytest.approx(0.33)


def test_cells_are_compared_with_the_masks_that_there_are(tmp_path):
    fields, cells = tables_of({"a": squares(*USUAL), "b": squares(*USUAL[:2]), "c": squares(*USUAL)})
    cv2.imwrite(str(tmp_path / "a.png"), squares(*USUAL))
    cv2.imwrite(str(tmp_path / "b.png"), squares(*USUAL))
    table, total = report.compare_with_masks(fields, cells, tmp_path)
    assert table["image_id"].tolist() == ["b", "a"]
    assert (total.hits, total.cells, total.reference) == (6, 6, 8) and total.mean_iou == 1
    assert len(report.compare_with_masks(fields, cells, tmp_path, limit=1)[0]) == 1
    assert report.compare_with_masks(fields, cells, tmp_path / "none")[0].empty


def test_a_damaged_mask_is_left_out_of_the_comparison(tmp_path):
    fields, cells = tables_of({"a": squares(*USUAL), "b": squares(*USUAL)})
    cv2.imwrite(str(tmp_path / "a.png"), squares(*USUAL))
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.warns(UserWarning, match="mask of b"):
        table, _ = report.compare_with_masks(fields, cells, tmp_path)
    assert table["image_id"].tolist() == ["a"]
