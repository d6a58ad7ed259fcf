"""Figures of predictions: what is right, what is wrong, and with what it is confused."""

import numpy as np
import pytest
from made_crops import plain_crops, write_crop_part

from hpa_utils.plots import inference as plots
from hpa_utils.plots import segmentation
from hpa_utils.scoring.metrics import Matches

NUCLEOPLASM, GOLGI, CYTOSOL = 0, 7, 16


def rows(*cells):
    """Values (n, 19) of cells, each a dict of its classes'."""
    return np.array([[cell.get(label, 0) for label in range(19)] for cell in cells], float)


def test_a_cell_shows_its_probable_classes_or_else_the_most_probable_one():
    own = rows({GOLGI: 0.6, CYTOSOL: 0.5, NUCLEOPLASM: 0.4}, {GOLGI: 0.1, CYTOSOL: 0.2}, {})
    shown = [np.flatnonzero(row).tolist() for row in plots.shown_classes(own)]
    assert shown == [[GOLGI, CYTOSOL], [CYTOSOL], []]


def test_a_true_class_is_confused_with_the_wrong_ones_among_as_many_predicted_classes():
    truth = rows({GOLGI: 1}, {GOLGI: 1, CYTOSOL: 1}, {NUCLEOPLASM: 1}).astype(int)
    truth = np.concatenate([truth, np.full((1, 19), -1)])  # a cell that is at no true cell's place
    own = rows({GOLGI: 0.9}, {CYTOSOL: 0.3, NUCLEOPLASM: 0.2, GOLGI: 0.1}, {CYTOSOL: 0.6}, {GOLGI: 1})
    counts = plots.confusions(truth, own)
    expected = np.zeros((19, 19))
    expected[GOLGI, GOLGI] = expected[GOLGI, NUCLEOPLASM] = expected[CYTOSOL, CYTOSOL] = 1
    expected[NUCLEOPLASM, CYTOSOL] = 1
    assert (counts == expected).all()


def test_the_most_confident_cells_come_first_and_are_marked_right_or_wrong(tmp_path):
    crops = write_crop_part(tmp_path, {"0123456789": plain_crops(3)})
    truth = rows({GOLGI: 1}, {}, {}).astype(int)
    truth[2] = -1
    confidences = rows({GOLGI: 0.9}, {GOLGI: 0.95}, {GOLGI: 0.1})
    figure = plots.most_confident(crops, np.arange(3), confidences, truth)
    first = [axis.get_title(loc="left") for axis in figure.axes].index("7 Golgi")
    shown = [axis.texts[-1].get_text() for axis in figure.axes[first : first + 3]]
    assert shown == ["✗ 0.95", "✓ 0.9", "0.1"]


def test_precision_and_recall_follow_the_hits_in_order_of_confidence():
    n_truth = np.zeros((19, 1), int)
    n_truth[GOLGI] = 4
    label, hit = np.full(3, GOLGI), np.array([True, False, True])
    order = np.arange(3)
    matches = Matches(np.array(["a"], object), n_truth, label, order * 0, 1.0 - order / 4, order, order, hit)
    figure = plots.precision_recall(matches, {str(label): 0.5 for label in range(19)})
    panels = {axis.get_title().split("\n")[0]: axis for axis in figure.axes}
    (curve,) = panels["7 Golgi"].lines
    assert curve.get_xdata().tolist() == [0.25, 0.25, 0.5]
    assert curve.get_ydata().tolist() == pytest.approx([1, 1 / 2, 2 / 3])
    assert not panels["16 cytosol"].lines and panels["16 cytosol"].get_title().endswith("no true cells")


def test_confidences_are_counted_by_class_on_a_log_axis():
    axis, _ = plots.confidence_histogram(rows({GOLGI: 0.5}, {GOLGI: 0.5}, {GOLGI: 0.001})).axes
    counts = axis.collections[0].get_array().reshape(19, -1)
    assert axis.get_xscale() == "log"
    assert counts[GOLGI].compressed().tolist() == [1, 2] and counts[CYTOSOL].compressed().tolist() == [3]


def test_a_field_is_shown_beside_its_cells_by_number_and_by_what_is_known_of_their_classes():
    field, cells = np.zeros((64, 64, 4), np.uint8), np.zeros((64, 64), np.uint16)
    cells[:32], cells[32:] = 1, 2
    predicted, unknown = rows({GOLGI: 1}, {GOLGI: 1, CYTOSOL: 1}), np.full((2, 19), -1)
    figure = segmentation.coloured_field(field, cells, {"predicted": predicted, "true": unknown}, "0123", 0.3)
    shown = [axis for axis in figure.axes if axis.images]
    assert [axis.get_title() for axis in shown] == ["0123", "protein channel", "one colour a cell", "predicted"]
    assert [text.get_text() for text in shown[3].texts] == ["7", "7\n16"]
    key = figure.axes[-1].get_legend()
    assert [text.get_text() for text in key.get_texts()] == ["7 Golgi", "16 cytosol"]
    alone = segmentation.coloured_field(field, cells, {"true": unknown}, "0123", 0.3)
    assert len(alone.axes) == 3
