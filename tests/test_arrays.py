"""Arrays of another type than a function expects are refused, where they would give no cells or empty masks."""

import numpy as np
import pytest

from hpa_utils import arrays, crops, images, masks, prediction
from hpa_utils.segmentation import HPACellSegmenter, WatershedSegmenter, label_cells, measure

FIELD, LABELS = np.zeros((20, 30, 4), np.uint8), np.zeros((20, 30), np.uint16)
SCALED = FIELD.astype(np.float32)  # as after / 255
WHOLE = 0, 0, 20, 30

CALLS = {
    "the watershed": lambda: WatershedSegmenter().segment(SCALED),
    "hpacellseg": lambda: HPACellSegmenter(None, None).segment(SCALED),
    "hpacellseg's labelling": lambda: label_cells(SCALED[..., :3], FIELD[..., :3]),
    "field_percentiles": lambda: images.field_percentiles(SCALED),
    "cell_rows of a scaled field": lambda: measure.cell_rows("a", "test", LABELS, LABELS, SCALED),
    "cell_rows of another field": lambda: measure.cell_rows("a", "test", LABELS[1:], LABELS, FIELD),
    "cut_cell of a scaled field": lambda: crops.cut_cell(SCALED, LABELS, 1, WHOLE, 0.32, crops.CropConfig()),
    "cut_cell of a mask": lambda: crops.cut_cell(FIELD, LABELS > 0, 1, WHOLE, 0.32, crops.CropConfig()),
    "encode_crop": lambda: crops.encode_crop(SCALED),
    "turn": lambda: prediction.turn(SCALED[None], 1),
    "encode_mask of probabilities": lambda: masks.encode_mask(np.full((4, 5), 0.7)),
    "encode_mask of labels": lambda: masks.encode_mask(np.arange(20).reshape(4, 5)),
    "encode_mask of several masks": lambda: masks.encode_mask(np.ones((2, 4, 5), bool)),
    "box_counts of grey": lambda: masks.box_counts(np.full((4, 5), 255, np.uint8), 0, 0, 9, 9),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_other_types_are_refused(call):
    with pytest.raises(TypeError, match="found .*; expected "):
        call()


def test_the_message_says_what_came_and_what_to_do():
    with pytest.raises(TypeError, match="^field: found float32 of 20 × 30 × 4; expected uint8 .* scale them to 0…255"):
        arrays.check_pixels(SCALED, "field")
    with pytest.raises(TypeError, match="^mask: found list; expected bool .*probabilities > 0.5"):
        arrays.check_mask([[True]])


def test_a_mask_may_be_of_the_integers_0_and_1():
    assert masks.encode_mask(np.eye(5, dtype=np.uint8)) == masks.encode_mask(np.eye(5, dtype=bool))
