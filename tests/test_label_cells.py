"""From what hpacellseg's networks predict to numbered cells."""

import numpy as np
import pytest

from hpa_utils.segmentation import label_cells


def blank(height, width):
    """Predictions of an empty field: nothing anywhere."""
    return np.zeros((height, width, 3), np.uint8), np.zeros((height, width, 3), np.uint8)


def put(prediction, rows, columns, channel=2, value=250):
    prediction[slice(*rows), slice(*columns), channel] = value


def two_touching_cells():
    """Two cells of 200 × 200 px that meet at column 300, with a border predicted there, and their nuclei."""
    nuclei, cells = blank(400, 600)
    put(cells, (100, 300), (100, 292))
    put(cells, (100, 300), (308, 500))
    put(cells, (100, 300), (292, 308), channel=1)
    put(nuclei, (152, 248), (152, 248))
    put(nuclei, (152, 248), (352, 448))
    return nuclei, cells


def test_nothing_predicted_is_no_cell():
    nuclei, cells = label_cells(*blank(300, 200))
    assert nuclei.shape == cells.shape == (300, 200)
    assert nuclei.dtype == cells.dtype == np.uint16
    assert not nuclei.any() and not cells.any()


def test_two_touching_cells_share_the_predicted_border():
    nuclei, cells = label_cells(*two_touching_cells())
    assert cells.max() == 2
    assert set(np.unique(cells[110:290, 110:290])) == {cells[200, 200]}
    assert set(np.unique(cells[110:290, 310:490])) == {cells[200, 400]}
    assert (cells[110:290, 292:308] > 0).mean() > 0.85  # but for a line of two pixels, as with hpacellseg
    assert np.count_nonzero(cells) == pytest.approx(200 * 400, rel=0.03)
    assert nuclei[200, 200] == cells[200, 200] and nuclei[200, 400] == cells[200, 400]
    assert np.count_nonzero(nuclei) == pytest.approx(2 * 96 * 96, rel=0.05)


def test_touching_nuclei_are_parted_at_their_predicted_border():
    nuclei, cells = blank(400, 600)
    put(cells, (100, 300), (100, 500))
    put(nuclei, (150, 250), (200, 292))
    put(nuclei, (150, 250), (308, 400))
    put(nuclei, (140, 260), (292, 308), channel=1)
    assert label_cells(nuclei, cells)[1].max() == 2


@pytest.mark.parametrize(("cell_border", "count"), [(110, 2), (150, 1)])
def test_borders_are_added_in_eight_bits_as_upstream_does(cell_border, count):
    nuclei, cells = blank(400, 600)
    put(cells, (100, 300), (100, 500))
    put(nuclei, (150, 250), (200, 400))
    put(nuclei, (140, 260), (292, 308), value=110)
    put(nuclei, (140, 260), (292, 308), channel=1, value=140)
    put(cells, (140, 260), (292, 308), channel=1, value=cell_border)  # 140 + 150 is 34 in eight bits: no border
    assert label_cells(nuclei, cells)[1].max() == count


def test_a_cell_without_a_nucleus_and_a_nucleus_without_a_cell_are_dropped():
    nuclei, cells = two_touching_cells()
    nuclei[:, 300:] = 0
    put(cells, (330, 390), (10, 70))
    labelled = label_cells(nuclei, cells)
    assert labelled[1].max() == 1 and not labelled[1][330:].any()
    nuclei, cells = blank(200, 200)
    put(nuclei, (90, 100), (90, 100))
    assert label_cells(nuclei, cells)[1].max() == 0


@pytest.mark.parametrize(("side", "count"), [(40, 0), (90, 1)])
def test_nuclei_and_cells_below_their_size_are_dropped(side, count):
    nuclei, cells = blank(200, 200)  # 2500 px are the smallest nucleus, 5500 px the smallest cell
    put(nuclei, (50, 50 + side), (50, 50 + side))
    put(cells, (45, 55 + side), (45, 55 + side))
    assert label_cells(nuclei, cells)[1].max() == count


def test_sizes_are_in_micrometres():
    fine = label_cells(*two_touching_cells())[1]
    nuclei, cells = (prediction[::4, ::4] for prediction in two_touching_cells())
    coarse = label_cells(nuclei, cells, pixel_size=0.32)[1]
    assert coarse.shape == (100, 150) and coarse.max() == fine.max() == 2
    assert ((coarse > 0) == (fine[2::4, 2::4] > 0)).mean() > 0.98


def test_more_than_255_cells_keep_their_numbers():
    nuclei, cells = blank(20 * 40, 20 * 40)
    for row in range(0, 800, 40):
        for column in range(0, 800, 40):
            put(cells, (row + 4, row + 36), (column + 4, column + 36))
            put(nuclei, (row + 10, row + 30), (column + 10, column + 30))
    nuclei, cells = label_cells(nuclei, cells, pixel_size=0.32)
    np.testing.assert_array_equal(np.unique(cells), np.arange(401))
    np.testing.assert_array_equal(np.unique(nuclei), np.arange(401))
    assert (cells[nuclei > 0] == nuclei[nuclei > 0]).all()
