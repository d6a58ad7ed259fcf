import base64
import zlib

import numpy as np
import pytest
from pycocotools import mask as coco

from hpa_utils import masks

SHAPES = [(7, 5), (1, 9), (40, 23)]


def random_masks():
    rng = np.random.default_rng(0)
    return [rng.random(shape) < share for shape in SHAPES for share in (0, 0.05, 0.5, 1)]


@pytest.mark.parametrize("mask", random_masks())
def test_text_decodes_to_the_mask(mask):
    assert (masks.decode_mask(masks.encode_mask(mask), *mask.shape) == mask).all()


def test_text_is_base64_of_zlib_of_pycocotools_counts():
    mask = np.zeros((4, 6), bool)
    mask[1:3, 2:5] = True
    counts = zlib.decompress(base64.b64decode(masks.encode_mask(mask)))
    assert (coco.decode({"size": [4, 6], "counts": counts}) == mask).all()


@pytest.mark.parametrize("mask", random_masks())
@pytest.mark.parametrize("corner", [(0, 0), (2, 3)])
def test_counts_of_the_box_are_those_of_the_full_mask(mask, corner):
    y0, x0 = corner
    full = np.zeros((mask.shape[0] + y0 + 1, mask.shape[1] + x0), bool)
    full[y0 : y0 + mask.shape[0], x0 : x0 + mask.shape[1]] = mask
    assert masks.box_counts(mask, y0, x0, *full.shape) == masks.encode_counts(full)


def test_a_run_over_the_foot_of_a_column_is_one_run():
    full = np.ones((3, 4), bool)
    assert masks.box_counts(full, 0, 0, 3, 4) == masks.encode_counts(full)


def test_counts_paint_their_labels():
    labels = np.array([[1, 1, 0], [0, 2, 2], [3, 0, 2]], np.uint16)
    counts = [masks.encode_counts(labels == number) for number in (1, 2, 3)]
    assert (masks.paint_labels(counts, [1, 2, 3], 3, 3) == labels).all()
    assert masks.paint_labels([], [], 3, 3).sum() == 0


def test_overlapping_masks_are_refused():
    counts = [masks.encode_counts(np.ones((2, 2), bool))] * 2
    with pytest.raises(ValueError, match="overlap"):
        masks.paint_labels(counts, [1, 2], 2, 2)


def test_a_mask_of_another_size_is_refused_before_it_is_decoded():
    text = masks.encode_mask(np.ones((4, 6), bool))
    with pytest.raises(ValueError, match="does not fit a field of 4 × 5 px"):
        masks.decode_mask(text, 4, 5)


@pytest.mark.parametrize("text", ["", "%%%", "aGVsbG8=", masks.encode_mask(np.eye(50, dtype=bool))[:-6]])
def test_damaged_text_is_refused(text):
    with pytest.raises(ValueError, match="base64 of zlib"):
        masks.decode_mask(text, 50, 50)


def test_damaged_counts_are_refused():
    text = masks.counts_to_text(b"\xff\x00zz")
    with pytest.raises(ValueError, match="does not fit"):
        masks.decode_mask(text, 50, 50)
