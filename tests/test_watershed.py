"""Cells by the watershed: synthetic scenes whose answer is known by hand, and four real fields."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from scipy.ndimage import find_objects

from hpa_utils.images import read_field
from hpa_utils.segmentation import WatershedSegmenter
from hpa_utils.segmentation.masks_elsewhere import hit_ious

FIELDS = Path(__file__).parents[2] / "shared" / "data" / "hpa_fields"
RED, GREEN, BLUE, YELLOW = range(4)


def black(height_um, width_um, pixel):
    return np.zeros((round(height_um / pixel), round(width_um / pixel), 4), np.uint8)


def ellipse(field, channels, centre, axes, pixel, value=150):
    """Draw a filled ellipse; centre (row, column) and half axes in µm."""
    rows, columns = np.ogrid[: field.shape[0], : field.shape[1]]
    rows, columns = (rows + 0.5) * pixel - centre[0], (columns + 0.5) * pixel - centre[1]
    inside = (rows / axes[0]) ** 2 + (columns / axes[1]) ** 2 <= 1
    for channel in channels:
        field[..., channel][inside] = np.maximum(field[..., channel][inside], value)


def cell(field, centre, pixel, value=150, radius=15.0, nucleus=7.0):
    ellipse(field, (RED, YELLOW), centre, (radius, radius), pixel, value)
    ellipse(field, (BLUE,), centre, (nucleus, nucleus), pixel, value)


def at(labels, centre, pixel):
    return labels[int(centre[0] / pixel), int(centre[1] / pixel)]


@pytest.mark.parametrize("shape", [(2048, 2048), (512, 512), (100, 37)])
@pytest.mark.parametrize("value", [0, 255])
def test_a_field_of_one_colour_has_no_cells(shape, value):
    nuclei, cells = WatershedSegmenter().segment(np.full((*shape, 4), value, np.uint8))
    assert nuclei.shape == cells.shape == shape
    assert nuclei.dtype == cells.dtype == np.uint16
    assert not nuclei.any() and not cells.any()


def test_camera_noise_alone_has_no_cells():
    noise = np.random.default_rng(0).normal(12, 5, (512, 512, 4)).clip(0, 255).astype(np.uint8)
    assert WatershedSegmenter(0.32)(noise).max() == 0


@pytest.mark.parametrize("value", [12, 60, 255])
def test_one_cell_has_its_area_whether_dim_or_saturated(value):
    field = black(60, 60, 0.08)
    cell(field, (30, 30), 0.08, value)
    nuclei, cells = WatershedSegmenter().segment(field)
    assert cells.max() == 1
    assert np.count_nonzero(cells) * 0.08**2 == pytest.approx(np.pi * 15**2, rel=0.12)
    assert np.count_nonzero(nuclei) * 0.08**2 == pytest.approx(np.pi * 7**2, rel=0.12)


@pytest.mark.parametrize(("membrane", "count"), [(True, 2), (False, 1)])
@pytest.mark.parametrize("apart", [15.0, 17.0])
def test_two_round_nuclei_side_by_side_are_two_cells_where_a_membrane_runs_between(apart, membrane, count):
    field = black(60, 60, 0.32)
    ellipse(field, (RED, YELLOW), (30, 30), (20, 25), 0.32)
    if membrane:
        field[:, 92:96, [RED, YELLOW]] //= 3
    for column in (30 - apart / 2, 30 + apart / 2):
        ellipse(field, (BLUE,), (30, column), (8, 8), 0.32)
    nuclei, cells = WatershedSegmenter(0.32).segment(field)
    assert cells.max() == count
    assert (at(cells, (30, 15), 0.32) != at(cells, (30, 45), 0.32)) == membrane
    assert nuclei[94, 60] and nuclei[94, 130]  # both nuclei are there


def test_nuclei_of_a_few_grey_levels_stay_whole_where_the_background_is_black():
    field, rng = black(60, 60, 0.32), np.random.default_rng(0)
    cell(field, (30, 30), 0.32)
    dim = field[..., BLUE] > 0
    field[..., BLUE] = np.where(dim, rng.normal(5, 2, dim.shape).clip(0), 0)
    nuclei, cells = WatershedSegmenter(0.32).segment(field)
    assert cells.max() == 1
    assert np.count_nonzero(nuclei) * 0.32**2 == pytest.approx(np.pi * 7**2, rel=0.12)


def test_two_touching_cells_with_a_notch_between_them_are_two():
    field = black(60, 60, 0.32)
    for column in (20, 38):
        cell(field, (30, column), 0.32, radius=11, nucleus=8)
    assert WatershedSegmenter(0.32)(field).max() == 2


@pytest.mark.parametrize("lobes", [[((30, 30), (5, 14))], [((30, 26), (7, 9)), ((33, 36), (6, 8))]])
def test_a_long_nucleus_and_a_lobed_nucleus_stay_one(lobes):
    field = black(60, 60, 0.32)
    ellipse(field, (RED, YELLOW), (30, 30), (18, 22), 0.32)
    for centre, axes in lobes:
        ellipse(field, (BLUE,), centre, axes, 0.32)
    assert WatershedSegmenter(0.32)(field).max() == 1


def test_cells_part_at_the_dark_gap_and_not_half_way_between_the_nuclei():
    field = black(60, 100, 0.32)
    ellipse(field, (RED, YELLOW), (30, 36), (12, 34), 0.32)
    ellipse(field, (RED, YELLOW), (30, 85), (12, 13), 0.32)
    for column in (15, 85):
        ellipse(field, (BLUE,), (30, column), (7, 7), 0.32)
    cells = WatershedSegmenter(0.32)(field)
    assert cells.max() == 2
    assert at(cells, (30, 65), 0.32) == at(cells, (30, 15), 0.32)
    assert at(cells, (30, 74), 0.32) == at(cells, (30, 85), 0.32)


def test_what_has_no_nucleus_or_is_too_small_is_no_cell():
    field = black(80, 80, 0.32)
    cell(field, (25, 25), 0.32)
    ellipse(field, (RED, YELLOW), (60, 60), (12, 12), 0.32)  # no nucleus
    cell(field, (60, 20), 0.32, radius=2.5, nucleus=1.5)  # debris
    cells = WatershedSegmenter(0.32)(field)
    assert cells.max() == 1
    assert at(cells, (25, 25), 0.32) == 1


def test_the_protein_shows_the_cell_where_microtubules_and_er_are_black():
    field = black(60, 60, 0.32)
    ellipse(field, (GREEN,), (30, 30), (15, 15), 0.32)
    ellipse(field, (BLUE,), (30, 30), (7, 7), 0.32)
    cells = WatershedSegmenter(0.32)(field)
    assert np.count_nonzero(cells) * 0.32**2 == pytest.approx(np.pi * 15**2, rel=0.12)


def test_a_field_that_is_not_square_keeps_its_orientation():
    field = black(80, 160, 0.08)
    cell(field, (20, 40), 0.08)
    cell(field, (60, 120), 0.08)
    cells = WatershedSegmenter()(field)
    assert cells.shape == (1000, 2000) and cells.max() == 2
    assert at(cells, (20, 40), 0.08) and at(cells, (60, 120), 0.08) and not at(cells, (60, 40), 0.08)


def scene(pixel):
    field = black(160, 130, pixel)
    for row in range(20, 160, 40):
        for column in range(20, 130, 30):
            cell(field, (row, column), pixel, radius=13 + row / 40, nucleus=5 + column / 40)
    return field


def test_the_same_scene_at_another_scale_has_the_same_cells():
    fine, coarse = WatershedSegmenter(0.08)(scene(0.08)), WatershedSegmenter(0.32)(scene(0.32))
    assert fine.max() == coarse.max() == 16
    fine, coarse = np.sort(np.bincount(fine.ravel())[1:]), np.sort(np.bincount(coarse.ravel())[1:])
    np.testing.assert_allclose(fine * 0.08**2, coarse * 0.32**2, rtol=0.05)


def check_numbers(nuclei, cells):
    """Numbers 1…n without gaps; every cell holds a nucleus of its number and is of one piece."""
    count = cells.max()
    np.testing.assert_array_equal(np.unique(cells[cells > 0]), np.arange(1, count + 1))
    np.testing.assert_array_equal(np.unique(nuclei[nuclei > 0]), np.arange(1, count + 1))
    assert (cells[nuclei > 0] == nuclei[nuclei > 0]).all()
    for number, box in enumerate(find_objects(cells), start=1):
        assert cv2.connectedComponents((cells[box] == number).astype(np.uint8))[0] == 2


def test_four_hundred_cells_are_numbered_without_gaps():
    tile = black(32, 32, 0.32)
    cell(tile, (16, 16), 0.32)
    nuclei, cells = WatershedSegmenter(0.32).segment(np.tile(tile, (20, 20, 1)))
    assert cells.max() == 400
    check_numbers(nuclei, cells)


def test_map_gives_what_calling_gives():
    segmenter = WatershedSegmenter(0.32)
    fields = [scene(0.32), black(60, 60, 0.32)]
    mapped = segmenter.map(iter(fields))
    assert iter(mapped) is mapped
    for field, cells in zip(fields, mapped, strict=True):
        np.testing.assert_array_equal(cells, segmenter(field))


@pytest.mark.skipif(not FIELDS.is_dir(), reason=f"the four real fields are not at {FIELDS}")
def test_cells_of_real_fields_agree_with_hpacellseg():
    hits = predicted = true = 0
    for path in sorted((FIELDS / "masks").glob("*.png")):
        nuclei, cells = WatershedSegmenter().segment(read_field(FIELDS / "images", path.stem))
        check_numbers(nuclei, cells)
        truth = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        hits += len(hit_ious(cells, truth))
        predicted, true = predicted + cells.max(), true + truth.max()
    assert 2 * hits / (predicted + true) > 0.88
