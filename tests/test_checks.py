"""Checks of what comes in: arrays that would give no cells or empty masks; settings, each known and of its type."""

import numpy as np
import pytest

from hpa_utils import checks, crops, images, inference, masks
from hpa_utils.checks import check_settings, parse_json
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
    "turn": lambda: inference.turn(SCALED[None], 1),
    "encode_mask of probabilities": lambda: masks.encode_mask(np.full((4, 5), 0.7)),
    "encode_mask of labels": lambda: masks.encode_mask(np.arange(20).reshape(4, 5)),
    "encode_mask of several masks": lambda: masks.encode_mask(np.ones((2, 4, 5), bool)),
    "box_counts of grey": lambda: masks.box_counts(np.full((4, 5), 255, np.uint8), 0, 0, 9, 9),
}
KINDS = {"pixel_size_um": float, "n_folds": int, "name": str}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_other_types_are_refused(call):
    with pytest.raises(TypeError, match="found .*; expected "):
        call()


def test_the_message_says_what_came_and_what_to_do():
    with pytest.raises(TypeError, match="^field: found float32 of 20 × 30 × 4; expected uint8 .* scale them to 0…255"):
        checks.check_pixels(SCALED, "field")
    with pytest.raises(TypeError, match="^mask: found list; expected bool .*probabilities > 0.5"):
        checks.check_mask([[True]])


def test_a_mask_may_be_of_the_integers_0_and_1():
    assert masks.encode_mask(np.eye(5, dtype=np.uint8)) == masks.encode_mask(np.eye(5, dtype=bool))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_settings_are_read_whatever_wrote_them(tmp_path, encoding):
    path = tmp_path / "dataset.json"
    path.write_text('{"pixel_size_um": 1, "name": "Zürich"}', encoding=encoding)
    assert check_settings(parse_json(path), KINDS, path) == {"pixel_size_um": 1, "name": "Zürich"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"pixel_size": 0.32}', "unknown key pixel_size; did you mean pixel_size_um?"),
        ('{"Pixel_Size_UM": 0.32}', "unknown key Pixel_Size_UM; did you mean pixel_size_um?"),
        ('{"x": 0.32}', "unknown key x; known are pixel_size_um, n_folds, name"),
        ('{"pixel_size_um": "0.32"}', 'pixel_size_um is "0.32"; expected a number'),
        ('{"pixel_size_um": true}', "pixel_size_um is true; expected a number"),
        ('{"pixel_size_um": null}', "pixel_size_um is null; expected a number"),
        ('{"n_folds": 64.5}', "n_folds is 64.5; expected a whole number"),
        ('{"n_folds": true}', "n_folds is true; expected a whole number"),
        ('{"name": 3}', "name is 3; expected text"),
        ("[0.32]", 'found [0.32]; expected an object, {"pixel_size_um": …'),
        ("null", "found null; expected an object"),
        ("{pixel_size_um: 0.32}", "is no JSON file in UTF-8"),
        ("", "is no JSON file in UTF-8"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, message):
    path = tmp_path / "dataset.json"
    path.write_text(text)
    with pytest.raises(ValueError) as caught:
        check_settings(parse_json(path), KINDS, path)
    assert str(caught.value).startswith(str(path)) and message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_key_that_is_needed_must_be_there():
    with pytest.raises(ValueError, match="crops: no key name; expected text"):
        check_settings({"n_folds": 3}, KINDS, "crops", required=["name"])
