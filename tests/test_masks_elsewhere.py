"""Masks made elsewhere: as the segmenter of a run, and to compare cells with."""

import cv2
import numpy as np
import pytest
from conftest import field_with_cells
from PIL import Image

from hpa_utils.segmentation import ReferenceMasks
from hpa_utils.segmentation.masks_elsewhere import has_mask, hit_ious, iou_table, mask_sizes, read_labels


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


def test_a_missing_folder_and_a_missing_mask_are_named(tmp_path):
    field = np.zeros((10, 10, 4), np.uint8)
    with pytest.raises(FileNotFoundError, match="none does not exist; set `masks`"):
        ReferenceMasks(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no mask a.png or .npz"):
        ReferenceMasks(tmp_path).segment(field, "a")
    (tmp_path / "a.png").symlink_to("nowhere.png")
    with pytest.raises(FileNotFoundError, match="no mask a.png .*; its link is dead: point it at its file"):
        read_labels(tmp_path, "a", (10, 10))


SIX = squares(*((row, column, 30) for row in (10, 55) for column in (4, 44, 84)))


@pytest.mark.parametrize(
    "labels",
    [
        np.where(SIX, SIX.astype(int), -1),
        np.where(SIX, SIX.astype(np.float32), np.nan),
        SIX.astype(np.float64),
        SIX.astype(np.int64) * 70_000,
    ],
    ids=["background -1", "background NaN", "whole floats", "more than 65,535"],
)
def test_labels_are_recognised_whatever_their_type_and_background(tmp_path, labels):
    np.savez_compressed(tmp_path / "a.npz", labels)
    np.testing.assert_array_equal(read_labels(tmp_path, "a", SIX.shape), SIX)


def test_of_a_png_with_a_palette_the_indices_are_read_and_vocs_outlines_are_background(tmp_path):
    outlined = np.where(cv2.dilate(SIX, np.ones((3, 3))) > SIX, 255, SIX).astype(np.uint8)
    image = Image.fromarray(outlined)
    image.putpalette(np.random.default_rng(0).integers(0, 255, 768).tolist())
    image.save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_labels(tmp_path, "a", SIX.shape), SIX)


def larger(labels, interpolation):
    return cv2.resize(labels.astype(np.float32), None, fx=2, fy=2, interpolation=interpolation)


NO_CELLS = {
    "labels from 0, background -1": (SIX.astype(int) - 1, "several labels below 1; number the background 0"),
    "background 255": (np.where(SIX, SIX, 255), "besides 0 touches all four sides; number the background 0"),
    "foreground": ((SIX > 0) * 255, r"labels \(1\) lie in 6 pieces; give each cell a number of its own"),
    "labels that wrapped": (SIX % 3 + (SIX > 0), r"labels \(3\) lie in 6 pieces"),
    "probabilities": ((SIX > 0) * 0.7, "no whole numbers"),
    "infinite background": (np.where(SIX, SIX, np.inf), "no whole numbers"),
    "averaged": (larger(SIX * 40, cv2.INTER_LINEAR).round(), "specks or lines.*; resize masks by the nearest pixel"),
    "compressed": (cv2.imdecode(cv2.imencode(".jpg", SIX * 40)[1], -1), "specks or lines.* without loss"),
    "outlines": ((cv2.dilate(SIX, np.ones((3, 3))) > SIX) * 1, "specks or lines"),
    "a number a pixel": (np.arange(12_800).reshape(SIX.shape), "specks or lines"),
    "another form": (SIX[:, :64], "mask of 100 × 64 px does not fit a field of 100 × 128 px"),
    "colours": (np.dstack([SIX] * 3), r"holds uint16 of 100 × 128 × 3; save labels as one plane \(H, W\)"),
    "nothing": (np.zeros((0, 0), int), "holds int64 of 0 × 0"),
    "text": (np.array(["a"]), "save labels as one plane"),
}


@pytest.mark.parametrize("labels, message", NO_CELLS.values(), ids=NO_CELLS)
def test_what_numbers_no_single_cells_is_refused_with_cause_and_remedy(tmp_path, labels, message):
    np.savez_compressed(tmp_path / "a.npz", labels)
    with pytest.raises(ValueError, match=message):
        read_labels(tmp_path, "a", SIX.shape)


@pytest.mark.parametrize("name", ["a.png", "a.npz"])
def test_damaged_masks_are_named(tmp_path, name):
    np.savez(tmp_path / "a.npz", SIX) if name == "a.npz" else cv2.imwrite(str(tmp_path / name), SIX)
    whole = (tmp_path / name).read_bytes()
    for damaged in (whole[: len(whole) // 2], b"no mask", b""):
        (tmp_path / name).write_bytes(damaged)
        with pytest.raises(ValueError, match=f"mask {name} in .* cannot be used: "):
            read_labels(tmp_path, "a", SIX.shape)


def test_cells_that_share_a_number_are_seen_by_their_nuclei(tmp_path):
    field, right = np.hstack([field_with_cells()] * 2), np.zeros((96, 256), np.uint8)
    right[30:66, 78:114] = 1  # one of the four cells
    touching, elsewhere = np.zeros((2, 96, 256), np.uint8)
    touching[20:76, 10:250], elsewhere[:12] = 1, 1
    cv2.imwrite(str(tmp_path / "a.png"), right)
    assert ReferenceMasks(tmp_path, 0.32).segment(field, "a")[1].max() == 1
    cv2.imwrite(str(tmp_path / "a.png"), touching)
    with pytest.raises(ValueError, match="mask a: 4 nuclei share its labels"):
        ReferenceMasks(tmp_path, 0.32).segment(field, "a")
    cv2.imwrite(str(tmp_path / "a.png"), elsewhere)
    with pytest.raises(ValueError, match="mask a: its cells hold no nucleus of the field"):
        ReferenceMasks(tmp_path, 0.32).segment(field, "a")


def test_a_folder_is_listed_with_the_sizes_of_its_masks(tmp_path):
    for name, size in (("a.png", 3), ("a.npz", 4), ("b.npz", 5), ("notes.txt", 6)):
        (tmp_path / name).write_bytes(bytes(size))
    (tmp_path / "c.png").symlink_to("nowhere.png")
    assert mask_sizes(tmp_path) == {"a": {"a.npz": 4, "a.png": 3}, "b": {"b.npz": 5}}
    with pytest.warns(UserWarning, match="1 links in .* are dead, such as c.png; point them at their files"):
        ReferenceMasks(tmp_path)
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
    with pytest.raises(TypeError, match="reference: found uint16 of 5 × 5; expected integers of 100 × 128"):
        iou_table(squares(), squares(shape=(5, 5)))
