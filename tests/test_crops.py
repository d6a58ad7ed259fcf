import dataclasses

import cv2
import numpy as np
import pytest

from hpa_utils.crops import CropConfig, cut_cell, decode_crop, encode_crop
from hpa_utils.crops.cut import choose_cells


def touching_cells():
    """A 40 × 60 field of 1 µm pixels: cell 1 left, cell 2 touching it on the right; every pixel 10, 20, 30, 40."""
    cells = np.zeros((40, 60), np.uint16)
    cells[10:30, 10:30] = 1
    cells[10:30, 30:50] = 2
    field = np.tile(np.array([10, 20, 30, 40], np.uint8), (40, 60, 1))
    return field, cells


def test_the_cell_and_its_margin_are_kept_and_its_neighbour_is_not():
    field, cells = touching_cells()
    crop, scale = cut_cell(field, cells, 1, (10, 10, 30, 30), 1.0, CropConfig(size=64, margin_um=3))
    kept = crop[..., 0] > 0
    rows, columns = np.flatnonzero(kept.any(axis=1)), np.flatnonzero(kept[32])
    assert scale == 1.0  # smaller than the crop: pixels are kept as they are
    assert rows[-1] - rows[0] + 1 == 20 + 2 * 3
    assert columns[-1] - columns[0] + 1 == 20 + 3  # no margin where the neighbour is
    assert (crop[kept] == [10, 20, 30, 40]).all() and (crop[~kept] == 0).all()


def test_large_cells_are_shrunk_by_averaging_and_keep_their_aspect():
    field = np.zeros((200, 200, 4), np.uint8)
    field[::2] = 100
    cells = np.zeros((200, 200), np.uint16)
    cells[40:140, 80:120] = 1
    crop, scale = cut_cell(field, cells, 1, (40, 80, 140, 120), 0.08, CropConfig(size=50, margin_um=0))
    assert crop.shape == (50, 50, 4) and crop.dtype == np.uint8 and scale == pytest.approx(0.16)
    assert (crop[:, 15:35] == 50).all() and (crop[:, :15] == 0).all() and (crop[:, 35:] == 0).all()


def test_a_cell_at_the_border_is_padded_with_nothing():
    field, cells = touching_cells()
    crop, _ = cut_cell(field[10:], cells[10:], 1, (0, 10, 20, 30), 1.0, CropConfig(size=32, margin_um=3))
    assert crop.shape == (32, 32, 4)
    assert (crop[..., 0] > 0).sum() == np.count_nonzero(crop[..., 3])


def test_a_crop_is_an_rgba_png_in_the_order_of_the_channels():
    crop = np.random.default_rng(0).integers(0, 256, (16, 16, 4), np.uint8)
    png = encode_crop(crop)
    assert (decode_crop(png) == crop).all()
    assert (cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)[..., [2, 1, 0, 3]] == crop).all()


def test_a_kept_neighbour_fills_the_square_and_padding_makes_room():
    field, cells = touching_cells()
    config = CropConfig(size=32, margin_um=0, padding_um=6, neighbours="kept")
    crop, scale = cut_cell(field, cells, 1, (10, 10, 30, 30), 1.0, config)
    assert crop.all() and scale == 1.0  # rows 4…36 and columns 4…36 lie in the field, neighbour and all
    masked, _ = cut_cell(field, cells, 1, (10, 10, 30, 30), 1.0, dataclasses.replace(config, neighbours="masked"))
    assert (masked[..., 0] > 0).sum() == 20 * 20 and masked[6:26, 6:26].all()


def test_a_fixed_scale_shrinks_enlarges_and_cuts_off():
    field, cells = touching_cells()

    def cut(um_per_px):
        config = CropConfig(size=20, margin_um=0, scale="fixed", um_per_px=um_per_px)
        crop, scale = cut_cell(field, cells, 1, (10, 10, 30, 30), 1.0, config)
        assert crop.shape == (20, 20, 4) and scale == pytest.approx(um_per_px)
        return crop[..., 0]

    assert (cut(2.0) > 0).sum() == 10 * 10 and (cut(2.0)[5:15, 5:15] == 10).all()
    assert (cut(0.5) == 10).all()  # twice as large, the rim cut off
    assert (cut(1.0) == 10).all()


def test_a_cap_keeps_the_same_cells_every_time_and_other_ones_in_other_fields():
    cells = np.arange(1, 41)
    chosen = choose_cells(cells, "field-a", 10)
    assert len(chosen) == 10 and (np.diff(chosen) > 0).all()
    assert (choose_cells(cells, "field-a", 10) == chosen).all()
    assert (choose_cells(cells, "field-b", 10) != chosen).any()
    assert (choose_cells(cells, "field-a", 0) == cells).all() and (choose_cells(cells[:3], "x", 10) == [1, 2, 3]).all()


SENSELESS = {"size": 8, "margin_um": -1, "padding_um": 30, "neighbours": "some", "scale": "free", "um_per_px": 0}


@pytest.mark.parametrize(("name", "value"), [*SENSELESS.items(), ("size", 2000), ("cells_per_field", -1)])
def test_senseless_crops_are_refused(name, value):
    with pytest.raises(ValueError, match=f"crops.{name}"):
        CropConfig(**{name: value})
