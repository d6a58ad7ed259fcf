import io

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hpa_utils import tables
from hpa_utils.crops import Bags, encode_crop
from hpa_utils.crops.bags import BAGS
from hpa_utils.plots import train as plots
from hpa_utils.scoring import ranking_scores

GOLGI, CYTOSOL = 7, 16
WIDTHS = {1: 2, 2: 6, 3: 10}  # of the three cells, px


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    """One field labelled Golgi, of three cells 8 px high, bright in green alone."""
    folder = tmp_path_factory.mktemp("bags")
    crops = [np.zeros((16, 16, 4), np.uint8) for _ in WIDTHS]
    for crop, width in zip(crops, WIDTHS.values()):
        crop[4:12, :width, 1] = 100
    row = {
        "image_id": "0123456789",
        "split": "train",
        "labels": (np.arange(19) == GOLGI).astype(np.int8),
        "percentiles": np.zeros(16, np.float32),
        "cell_ids": list(WIDTHS),
        "crops": [encode_crop(crop) for crop in crops],
        "scales": [0.3] * 3,
        "edge_fractions": [0.0] * 3,
    }
    with tables.part_writer(folder / "part-train-0000.parquet", BAGS, "key", plain=("crops",)) as writer:
        writer.write_table(pa.Table.from_pylist([row], schema=BAGS))
        writer.add_key_value_metadata({"cells_fingerprint": ""})
    return Bags(folder, "train")


def history(epochs, head=0, rounds=1, folds=1, **watched):
    rows = [
        {"round": number, "fold": fold, "epoch": epoch, "phase": "head" if epoch <= head else "deep"}
        for number in range(1, rounds + 1)
        for fold in range(folds)
        for epoch in range(1, epochs + 1)
    ]
    return pd.DataFrame(rows).assign(loss=1.0, cells_loss=0.6, field_loss=0.4, **watched)


def titles(figure):
    return [axis.get_title() for axis in figure.axes]


def drawn(figure):
    """The figure, drawn once: what cannot be laid out fails here."""
    figure.savefig(io.BytesIO(), format="png")
    return figure


def test_curves_without_validation_have_no_panel_of_it():
    assert titles(drawn(plots.learning_curves(history(1)))) == ["loss", "training loss of cells and field"]
    unscored = history(1, val_loss=np.nan, val_field_ap=None)
    assert len(drawn(plots.learning_curves(unscored)).axes) == 2


def test_curves_have_a_row_a_round_and_a_line_a_fold_and_shade_the_head_phase():
    watched = history(3, head=2, rounds=2, folds=3, val_loss=1.1, val_field_ap=0.5)
    figure = drawn(plots.learning_curves(watched))
    assert [title.partition(":")[0] for title in titles(figure)] == ["round 1"] * 3 + ["round 2"] * 3
    assert [len(axis.lines) for axis in figure.axes] == [6, 6, 3] * 2
    (shade,) = figure.axes[0].patches
    assert shade.get_x() == 0.5 and shade.get_x() + shade.get_width() == 2.5


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


def test_where_there_is_nothing_to_draw_the_figure_says_so(bags):
    nothing = [
        plots.class_scores(ranking_scores(np.zeros((0, 19)), np.zeros((0, 19))), "fields"),
        plots.reliability_diagram({"fields": pd.DataFrame(columns=["predicted", "share", "count"])}),
        plots.mistakes(bags, pd.DataFrame(columns=["image_id", "class", "probability", "labelled", "cell_id"])),
        plots.spindle_sheet(bags, pd.DataFrame(columns=["image_id", "cell_id", "score"])),
        plots.tried_rates(pd.DataFrame({"rate": [1e-6], "loss": [np.nan]})),
        plots.soft_label_shares(pd.DataFrame({"cells": [0], "share": [np.nan], "graded": [0.5]})),
    ]
    for figure in nothing:
        assert not drawn(figure).axes and figure.texts[0].get_text()


def test_reliability_shows_how_many_pairs_a_point_stands_for():
    table = pd.DataFrame({"predicted": [0.1, 0.9], "share": [0.0, 1.0], "count": [50, 3]})
    left, right = drawn(plots.reliability_diagram({"fields": table, "none": table.iloc[:0]})).axes
    assert left.lines[1].get_ydata().tolist() == [0, 1] and right.lines[0].get_ydata().tolist() == [50, 3]
    assert len(right.lines) == 1


def test_a_mistake_is_shown_by_its_own_cell_with_what_was_predicted_and_what_the_label_said(bags):
    rows = [("0123456789", CYTOSOL, 0.93, 0, 2), ("0123456789", GOLGI, 0.02, 1, 3)]
    table = pd.DataFrame(rows, columns=["image_id", "class", "probability", "labelled", "cell_id"])
    figure = drawn(plots.mistakes(bags, table))
    false_alarm, miss, below_first, below_second = figure.axes
    assert false_alarm.get_title() == "cytosol 0.93, not labelled\nlabels: Golgi\n01234567, cell 2"
    assert miss.get_title() == "Golgi 0.02, labelled\nlabels: Golgi\n01234567, cell 3"
    shown = [np.count_nonzero(axis.images[0].get_array()) for axis in (below_first, below_second)]
    assert shown == [8 * WIDTHS[2], 8 * WIDTHS[3]]


def test_at_most_twelve_mistakes_and_twenty_four_candidates_are_drawn(bags):
    one = {"image_id": "0123456789", "class": GOLGI, "probability": 0.02, "labelled": 1, "cell_id": 1, "score": 0.99}
    many = pd.DataFrame([one] * 30)
    for draw, count in ((plots.mistakes, 12), (plots.spindle_sheet, 24)):
        assert sum(bool(axis.images) for axis in draw(bags, many).axes) == 2 * count


def test_a_candidate_is_named_by_field_cell_and_score_and_its_protein_is_shown_apart(bags):
    candidates = pd.DataFrame({"image_id": ["0123456789"], "cell_id": [2], "score": [0.9912]})
    above, below = drawn(plots.spindle_sheet(bags, candidates)).axes
    assert above.get_title() == "01234567, cell 2\nscore 0.9912"
    assert above.images[0].get_array().max() == 0 and below.images[0].get_array().max() > 0  # green alone


def test_rates_are_drawn_as_far_as_the_loss_is_finite():
    table = pd.DataFrame({"rate": [1e-6, 1e-4, 1e-2], "loss": [1.0, 0.5, np.inf]})
    (axis,) = drawn(plots.tried_rates(table)).axes
    assert axis.get_xscale() == "log" and axis.lines[0].get_xdata().tolist() == [1e-6, 1e-4]


def test_soft_label_shares_have_marks_where_people_graded():
    table = pd.DataFrame({"cells": [10, 0, 4], "share": [0.6, np.nan, 0.5], "graded": [np.nan, 0.45, 0.49]})
    (axis,) = drawn(plots.soft_label_shares(table)).axes
    assert [label.get_text() for label in axis.get_yticklabels()] == ["nucleoplasm", "nucleoli"]
    assert [bar.get_width() for bar in axis.patches] == [0.6, 0.5]
    assert axis.lines[0].get_xdata().tolist() == [0.49] and axis.lines[0].get_ydata().tolist() == [1]
