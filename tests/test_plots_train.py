import io

import numpy as np
import pandas as pd
import pytest
from made_crops import write_crop_part

from hpa_utils.plots import train as plots
from hpa_utils.scoring import ranking_scores

GOLGI, CYTOSOL = 7, 16
FIELDS = pd.DataFrame({"image_id": ["0123456789"], "labels": [(np.arange(19) == GOLGI).astype(np.int8)]})


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """One field labelled Golgi, of three cells 8 px high and 2, 6 and 10 px wide, bright in green alone."""
    pictures = np.zeros((3, 16, 16, 4), np.uint8)
    for picture, width in zip(pictures, (2, 6, 10)):
        picture[4:12, :width, 1] = 100
    return write_crop_part(tmp_path_factory.mktemp("crops"), {"0123456789": pictures})


def history(epochs, head=0, **watched):
    phases = ["head"] * head + ["fine_tune"] * (epochs - head)
    return pd.DataFrame({"epoch": range(1, epochs + 1), "phase": phases, "loss": 1.0}).assign(**watched)


def titles(figure):
    return [axis.get_title() for axis in figure.axes]


def drawn(figure):
    """The figure, drawn once: what cannot be laid out fails here."""
    figure.savefig(io.BytesIO(), format="png")
    return figure


def test_curves_without_validation_have_no_panel_of_it():
    assert titles(drawn(plots.learning_curves(history(1)))) == ["Loss"]
    unscored = history(1, val_loss=np.nan, val_ap=np.nan)
    assert titles(drawn(plots.learning_curves(unscored))) == ["Loss"]


def test_curves_mark_the_best_epoch_and_name_the_phases():
    figure = drawn(plots.learning_curves(history(4, head=2, val_loss=1.1, val_ap=[0.1, 0.2, 0.6, 0.5]), planned=4))
    loss, score = figure.axes
    training, validation, best_here = loss.lines
    assert training.get_color() != validation.get_color() and best_here.get_xdata() == [3, 3]
    best = score.lines[1]
    assert best.get_xdata() == [3] and best.get_ydata() == [0.6]
    assert [(shade.get_x(), shade.get_width()) for shade in loss.patches] == [(0.5, 2), (2.5, 2)]
    assert [(text.get_text(), text.get_position()[0]) for text in loss.texts] == [("head", 0.6), ("fine tune", 2.6)]


def test_curves_say_how_much_better_the_best_epoch_was_and_when_training_stopped_early():
    worse = plots.learning_curves(history(4, val_loss=1.1, val_ap=[0.1, 0.2, 0.6, 0.5]), planned=9)
    assert worse.get_suptitle() == "Held-out cells: 0.500 at the end, 0.600 at best."
    assert "stopped early: epoch 4 of 9" in [text.get_text() for text in worse.legends[0].get_texts()]
    best = plots.learning_curves(history(2, val_loss=1.1, val_ap=[0.1, 0.2]), planned=2)
    assert best.get_suptitle() == "Held-out cells: 0.200 at the end, 0.200 at best."
    assert not [text for text in best.legends[0].get_texts() if "stopped" in text.get_text()]


def test_a_batch_is_shown_as_the_network_gets_it():
    images = np.full((20, 16, 16, 4), 300.0, np.float32)
    images[1] = 0
    labels = ["Golgi", "a label that is much too long to stand above a crop", *["cytosol"] * 18]
    figure = drawn(plots.batch_sheet(images, labels, np.full(20, 30.0), columns=8))
    shown = [axis for axis in figure.axes if axis.images]
    assert len(figure.axes) == 32 and len(shown) == 32  # sixteen crops, each twice
    assert shown[0].get_title() == "Golgi" and shown[1].get_title().endswith("…")
    assert (shown[8].images[0].get_array() == 255).all() and not shown[9].images[0].get_array().any()


def test_class_scores_show_the_classes_that_have_one_beside_chance_and_roc_auc_where_they_are_given():
    labels, probabilities = np.zeros((4, 19), int), np.zeros((4, 19))
    labels[0, GOLGI] = probabilities[0, GOLGI] = 1
    scores = ranking_scores(labels, probabilities)
    left, right = drawn(plots.class_scores(scores, "fields")).axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["Golgi"]
    assert left.patches[0].get_width() == 1 and left.lines[0].get_xdata() == [0.25]
    assert right.lines[1].get_xdata() == [1]
    (alone,) = drawn(plots.class_scores({"average_precision": scores["average_precision"]}, "cells")).axes
    assert not alone.lines


def test_where_there_is_nothing_to_draw_the_figure_says_so(crops):
    nothing = [
        plots.class_scores(ranking_scores(np.zeros((0, 19)), np.zeros((0, 19))), "fields"),
        plots.mistakes(crops, pd.DataFrame(columns=["image_id", "cell_id"]), FIELDS),
        plots.spindle_sheet(crops, pd.DataFrame(columns=["image_id", "cell_id"])),
        plots.soft_label_shares(pd.DataFrame({"cells": [0], "share": [np.nan], "graded": [0.5]})),
    ]
    for figure in nothing:
        assert not drawn(figure).axes and figure.texts[0].get_text()


def test_a_mistake_is_shown_by_its_own_cell_with_what_was_predicted_and_what_the_label_said(crops):
    rows = [("0123456789", CYTOSOL, 0.93, 0, 2), ("0123456789", GOLGI, 0.02, 1, 3)]
    table = pd.DataFrame(rows, columns=["image_id", "class", "probability", "labelled", "cell_id"])
    false_alarm, miss, below_first, below_second = drawn(plots.mistakes(crops, table, FIELDS)).axes
    assert false_alarm.get_title() == "false alarm: cytosol 0.93\nlabels: Golgi"
    assert miss.get_title() == "missed: Golgi 0.02\nlabels: Golgi"
    shown = [np.count_nonzero(axis.images[0].get_array()) for axis in (below_first, below_second)]
    assert shown == [8 * 6, 8 * 10]


def test_at_most_twelve_mistakes_and_sixteen_candidates_are_drawn(crops):
    one = {"image_id": "0123456789", "class": GOLGI, "probability": 0.02, "labelled": 1, "cell_id": 1, "score": 0.99}
    many = pd.DataFrame([one] * 30)
    for figure, count in ((plots.mistakes(crops, many, FIELDS), 12), (plots.spindle_sheet(crops, many), 16)):
        assert sum(bool(axis.images) for axis in figure.axes) == 2 * count


def test_a_candidate_is_named_by_field_and_cell_and_its_protein_is_shown_apart(crops):
    candidates = pd.DataFrame({"image_id": ["0123456789"], "cell_id": [2], "score": [0.9912]})
    above, below = drawn(plots.spindle_sheet(crops, candidates)).axes
    assert above.get_title() == "01234567, cell 2"
    assert above.images[0].get_array().max() == 0 and below.images[0].get_array().max() > 0  # green alone


def test_soft_label_shares_have_marks_where_people_graded():
    table = pd.DataFrame({"cells": [10, 0, 4], "share": [0.6, np.nan, 0.5], "graded": [np.nan, 0.45, 0.49]})
    (axis,) = drawn(plots.soft_label_shares(table)).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["nucleoplasm", "nucleoli"]
    assert [bar.get_width() for bar in axis.patches] == [0.6, 0.5]
    assert axis.lines[0].get_xdata().tolist() == [0.49] and axis.lines[0].get_ydata().tolist() == [1]
