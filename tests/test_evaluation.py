import numpy as np
import pandas as pd
import pytest
from conftest import box, truth_table

from hpa_utils import masks
from hpa_utils.scoring import confident_mistakes, held_out_scores, ranking_scores, truth_labels
from hpa_utils.tables import CELL_COLUMNS

NUCLEOLI, GOLGI, CYTOSOL, NEGATIVE = 2, 7, 16, 18


def cell_table(*rows):
    """Rows of (image_id, mask); the cells are numbered from 1 within all of them."""
    rows = [(image_id, number, masks.encode_counts(mask)) for number, (image_id, mask) in enumerate(rows, start=1)]
    return pd.DataFrame(rows, columns=["image_id", "cell_id", "rle"])


def field_sizes(*image_ids):
    return pd.DataFrame({"image_id": image_ids, "height": 20, "width": 30})


def vector(*numbers):
    labels = np.zeros(19, np.int8)
    labels[list(numbers)] = 1
    return labels


def score_table(fields):
    """`fields`: image_id → [probabilities by class of each cell, …]; 0.5 for all others."""
    rows = []
    for image_id, cells in fields.items():
        for number, own in enumerate(cells, start=1):
            row = dict.fromkeys(CELL_COLUMNS, 0.5) | {CELL_COLUMNS[label]: value for label, value in own.items()}
            rows.append({"image_id": image_id, "cell_id": number, **row})
    return pd.DataFrame(rows).astype(dict.fromkeys(CELL_COLUMNS, np.float32))


CELL, OTHER = box(2, 2, 10, 10), box(2, 18, 10, 10)


def test_a_ranking_is_scored_beside_chance():
    labels, probabilities = np.zeros((4, 19), int), np.zeros((4, 19))
    labels[:2, 3] = 1
    probabilities[:, 3] = [0.9, 0.2, 0.5, 0.1]  # one of the four pairs is the wrong way round
    scores = ranking_scores(labels, probabilities)
    assert scores["average_precision"]["3"] == pytest.approx((1 + 2 / 3) / 2)
    assert scores["roc_auc"]["3"] == 0.75 and scores["chance"]["3"] == 0.5
    assert scores["mean_average_precision"] == scores["average_precision"]["3"]
    assert scores["mean_roc_auc"] == 0.75 and scores["mean_chance"] == 0.5


def test_classes_that_all_or_none_have_are_not_scored():
    labels = np.zeros((4, 19), int)
    labels[:2, 3], labels[:, 7] = 1, 1
    scores = ranking_scores(labels, np.random.default_rng(0).random((4, 19)))
    for measure in ("average_precision", "roc_auc", "chance"):
        assert [label for label, value in scores[measure].items() if value is not None] == ["3"]


def test_rows_whose_label_is_unknown_are_left_out_for_that_class_alone():
    labels, probabilities = np.zeros((4, 19), int), np.zeros((4, 19))
    labels[:, 3], labels[:, 5] = [1, 0, 0, -1], [1, 0, 0, 1]
    probabilities[:, 3] = probabilities[:, 5] = [0.8, 0.2, 0.1, 0.0]
    scores = ranking_scores(labels, probabilities)
    assert scores["average_precision"]["3"] == 1 and scores["chance"]["3"] == pytest.approx(1 / 3)
    assert scores["average_precision"]["5"] == pytest.approx((1 + 1 / 2) / 2) and scores["chance"]["5"] == 0.5


def test_no_rows_no_scores():
    scores = ranking_scores(np.zeros((0, 19), int), np.zeros((0, 19)))
    assert scores["mean_average_precision"] is scores["mean_roc_auc"] is scores["mean_chance"] is None
    assert set(scores["average_precision"].values()) == {None}


def test_held_out_scores_rank_fields_by_the_mean_of_their_cells_and_cells_by_what_people_saw():
    fields = pd.DataFrame({"image_id": ["b", "a"], "labels": [vector(GOLGI), vector()]})
    oof = score_table({"a": [{GOLGI: 0.1}, {GOLGI: 0.7}], "b": [{GOLGI: 0.6}]})
    seen = np.full((3, 19), -1)
    assert list(held_out_scores(oof, cell_table(), fields, None, seen)) == ["fields"]
    seen[:, GOLGI] = [0, 1, 0]
    scores = held_out_scores(oof, cell_table(), fields, None, seen)
    assert scores["fields"]["roc_auc"][str(GOLGI)] == 1  # 0.6 above (0.1 + 0.7) / 2
    assert scores["cells, by people"]["roc_auc"][str(GOLGI)] == 1
    assert held_out_scores(oof[:0], cell_table(), fields, None, seen[:0]) == {}


def test_a_cell_takes_all_labels_of_the_true_cell_it_overlaps_most():
    near, far = box(0, 0, 10, 10), box(0, 3, 10, 10)
    truth = truth_table(("a", GOLGI, far), ("a", NUCLEOLI, near), ("a", CYTOSOL, near))
    cells = cell_table(("a", box(0, 1, 10, 10)))  # IoU 9/11 with near, 8/12 with far
    labels = truth_labels(truth, cells, field_sizes("a"))
    assert labels.dtype == np.int8
    np.testing.assert_array_equal(labels, [vector(NUCLEOLI, CYTOSOL)])


@pytest.mark.parametrize(("columns", "expected"), [(6, vector(GOLGI)), (5, np.full(19, -1))])
def test_a_partner_has_an_iou_of_six_tenths_or_more(columns, expected):
    truth = truth_table(("a", GOLGI, box(0, 0, 10, 10)))
    cells = cell_table(("a", box(0, 0, 10, columns)))
    np.testing.assert_array_equal(truth_labels(truth, cells, field_sizes("a")), [expected])


def test_cells_keep_their_order_and_are_unknown_in_fields_without_truth():
    truth = truth_table(("b", GOLGI, CELL), ("a", NUCLEOLI, CELL), ("a", CYTOSOL, OTHER))
    cells = cell_table(("a", OTHER), ("c", CELL), ("b", CELL), ("a", CELL), ("b", OTHER))
    cells.index = [7, 7, 3, 1, 0]
    unknown = np.full(19, -1)
    expected = [vector(CYTOSOL), unknown, vector(GOLGI), vector(NUCLEOLI), unknown]
    np.testing.assert_array_equal(truth_labels(truth, cells, field_sizes("a", "b", "c")), expected)


def test_truth_of_another_size_says_nothing_of_a_cell():
    truth = truth_table(("a", GOLGI, CELL.T))
    assert (truth_labels(truth, cell_table(("a", CELL)), field_sizes("a")) == -1).all()


def test_no_truth_and_no_cells_are_no_labels():
    assert (truth_labels(truth_table(), cell_table(("a", CELL)), field_sizes("a")) == -1).all()
    assert truth_labels(truth_table(("a", 0, CELL)), cell_table(), field_sizes("a")).shape == (0, 19)


def test_confident_mistakes_are_half_false_alarms_half_misses_the_most_wrong_first():
    fields = pd.DataFrame({"image_id": ["a", "b", "c"], "labels": [vector(GOLGI), vector(NUCLEOLI), vector(GOLGI)]})
    scores = score_table(
        {
            "b": [{GOLGI: 0.2, NUCLEOLI: 0.4}, {GOLGI: 0.8, NUCLEOLI: 0.3}, {GOLGI: 0.3, NUCLEOLI: 0.3}],
            "a": [{GOLGI: 0.1, CYTOSOL: 0.95}, {GOLGI: 0.15, CYTOSOL: 0.2}],
        }
    )
    table = confident_mistakes(fields, scores, 4)
    expected = [
        ("a", CYTOSOL, 0.95, 0, 1),
        ("a", GOLGI, 0.15, 1, 2),
        ("b", GOLGI, 0.8, 0, 2),
        ("b", NUCLEOLI, 0.4, 1, 1),
    ]
    assert table.columns.tolist() == ["image_id", "class", "probability", "labelled", "cell_id"]
    assert table.round(4).to_records(index=False).tolist() == [pytest.approx(row) for row in expected]


def test_a_field_is_as_negative_as_its_least_negative_cell():
    fields = pd.DataFrame({"image_id": ["a"], "labels": [vector(NEGATIVE)]})
    table = confident_mistakes(fields, score_table({"a": [{NEGATIVE: 0.9}, {NEGATIVE: 0.1}]}), 3)
    row = table[table["class"] == NEGATIVE].iloc[0]
    assert row["cell_id"] == 2 and row["probability"] == pytest.approx(0.1) and row["labelled"] == 1


def test_a_class_that_is_unknown_for_a_field_is_no_mistake():
    fields = pd.DataFrame({"image_id": ["a"], "labels": [np.full(19, -1, np.int8)]})
    assert confident_mistakes(fields, score_table({"a": [{}]}), 4).empty
