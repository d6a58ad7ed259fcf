"""Masks made elsewhere: as the segmenter of a run, and to compare cells with."""

import cv2
import numpy as np
import pytest
from conftest import field_with_cells

from hpa_utils.segmentation import ReferenceMasks
from hpa_utils.segmentation.masks_elsewhere import has_mask, hit_ious, iou_table, mask_sizes


def squares(*boxes, shape=(100, 128)):
    """Labels of squares given as (row, column, side), numbered from 1."""
    labels = np.zeros(shape, np.uint16)
    for number, (row, column, side) in enumerate(boxes, start=1):
        labels[row : row + side, column : column + side] = number
    return labels


@pytest.mark.parametrize("extension", [".png", ".npz"])
@pytest.mark.parametrize("scale", [1, 4, 0.5])
def test_masks_come_at_any_resolution_and_are_renumbered(tmp_path, extension, scale):
    masks = squares((8, 8, 40), (60, 20, 24), (20, 60, 32))
    size = round(128 / scale), round(100 / scale)
    stored = cv2.resize(masks * 300, size, interpolation=cv2.INTER_NEAREST)
    if extension == ".png":
        cv2.imwrite(str(tmp_path / "a.png"), stored)
    else:
        np.savez_compressed(tmp_path / "a.npz", stored.astype(np.int64))
    nuclei, cells = ReferenceMasks(tmp_path, 0.32).segment(np.zeros((100, 128, 4), np.uint8), "a")
    np.testing.assert_array_equal(cells, masks)
    assert cells.dtype == np.uint16 and not nuclei.any()


def test_the_nuclei_inside_given_cells_carry_their_numbers(tmp_path):
    small = np.zeros((24, 32), np.uint8)
    small[6:18, 2:14], small[6:18, 18:30] = 7, 3
    cv2.imwrite(str(tmp_path / "a.png"), small)
    nuclei, cells = ReferenceMasks(tmp_path, 0.32).segment(field_with_cells(), "a")
    assert cells.shape == (96, 128) and (cells[48, 96], cells[48, 32]) == (1, 2)  # 3 and 7, numbered anew
    assert set(np.unique(nuclei)) == {0, 1, 2} and (nuclei[nuclei > 0] == cells[nuclei > 0]).all()
    assert np.count_nonzero(nuclei == 1) == pytest.approx(np.pi * 9**2, rel=0.15)


def test_a_missing_folder_a_missing_mask_and_a_picture_are_named(tmp_path):
    field = np.zeros((10, 10, 4), np.uint8)
    with pytest.raises(FileNotFoundError, match="-p masks=DIR"):
        ReferenceMasks(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no mask a.png or .npz"):
        ReferenceMasks(tmp_path).segment(field, "a")
    for content in (np.zeros((10, 10, 3), np.uint8), None):
        (tmp_path / "a.png").write_bytes(b"no picture" if content is None else cv2.imencode(".png", content)[1])
        with pytest.raises(ValueError, match="mask of a .* no two-dimensional"):
            ReferenceMasks(tmp_path).segment(field, "a")


def test_a_folder_is_listed_with_the_sizes_of_its_masks(tmp_path):
    for name, size in (("a.png", 3), ("a.npz", 4), ("b.npz", 5), ("notes.txt", 6)):
        (tmp_path / name).write_bytes(bytes(size))
    assert mask_sizes(tmp_path) == {"a": {"a.npz": 4, "a.png": 3}, "b": {"b.npz": 5}}
    assert [has_mask(tmp_path, image_id) for image_id in ("a", "b", "notes")] == [True, True, False]


def test_the_same_masks_under_other_numbers_agree_fully():
    cells = squares((0, 0, 20), (40, 40, 30))
    assert hit_ious(cells, np.where(cells > 0, 9 - cells, 0)).tolist() == [1, 1]


def test_a_hit_needs_an_iou_of_at_least_the_threshold():
    reference, cells = squares((0, 0, 10)), squares()
    cells[:6, :10] = 1  # 60 of 100 px
    assert hit_ious(cells, reference).tolist() == [0.6]
    cells[5] = 0
    assert hit_ious(cells, reference).size == 0
    assert hit_ious(cells, reference, threshold=0.5).tolist() == [0.5]


def test_split_merged_missed_and_invented_cells_are_no_hits():
    reference = squares((0, 0, 20), (40, 0, 20), (80, 0, 20))
    assert hit_ious(squares((0, 0, 20), (40, 60, 20)), reference).tolist() == [1]
    assert hit_ious(squares((0, 0, 10), (0, 10, 10)), squares((0, 0, 20))).size == 0


def test_ious_of_all_pairs_and_empty_masks():
    table = iou_table(squares((0, 0, 10), (0, 20, 10)), squares((0, 5, 10)))
    np.testing.assert_allclose(table, [[50 / 150], [0]])
    assert hit_ious(squares(), squares()).size == 0
    with pytest.raises(ValueError, match="differ in size"):
        iou_table(squares(), squares(shape=(5, 5)))
