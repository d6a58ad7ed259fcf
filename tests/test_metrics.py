import json
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from conftest import box, detection_table, truth_table

from hpa_utils.scoring.metrics import average_precisions, match_detections, mean_average_precision, score_matches

CASES = json.loads((Path(__file__).parent / "data" / "evaluator_cases.json").read_text())


CELL, OTHER = box(2, 2, 10, 10), box(2, 18, 10, 10)


def ap(truth, detections, label=0, **options):
    return mean_average_precision(truth, detections, **options)["average_precision"][str(label)]


def test_one_cell_found_is_a_perfect_class_and_a_nineteenth_of_the_score():
    scores = mean_average_precision(truth_table(("a", 0, CELL)), detection_table(("a", 0, 0.5, CELL)))
    assert scores["average_precision"]["0"] == 1 and scores["average_precision"]["1"] is None
    assert scores["mean_average_precision"] == pytest.approx(1 / 19)
    assert scores["mean_over_classes_with_truth"] == 1


def test_a_second_hit_on_a_cell_is_a_false_positive():
    truth = truth_table(("a", 0, CELL), ("a", 0, OTHER))
    twice = detection_table(("a", 0, 0.9, CELL), ("a", 0, 0.8, CELL), ("a", 0, 0.7, OTHER))
    assert ap(truth, twice) == pytest.approx((1 + 2 / 3) / 2)


def test_a_missed_cell_costs_its_recall_also_in_a_field_without_predictions():
    truth = truth_table(("a", 0, CELL), ("b", 0, CELL))
    assert ap(truth, detection_table(("a", 0, 0.9, CELL))) == 0.5
    assert ap(truth, detection_table()) == 0


def test_a_wrong_detection_costs_only_where_it_ranks_above_a_hit():
    truth = truth_table(("a", 0, CELL))
    hit, miss = ("a", 0, 0.5, CELL), ("a", 0, 0.4, OTHER)
    assert ap(truth, detection_table(hit, miss)) == 1
    assert ap(truth, detection_table(hit, ("a", 0, 0.6, OTHER))) == 0.5


@pytest.mark.parametrize(("columns", "found"), [(6, True), (5, False)])
def test_the_threshold_is_an_iou_of_exactly_six_tenths(columns, found):
    truth, part = box(0, 0, 10, 10), box(0, 0, 10, columns)  # IoU .6 and .5
    assert ap(truth_table(("a", 0, truth)), detection_table(("a", 0, 0.5, part))) == float(found)


def test_a_detection_matches_only_the_truth_it_overlaps_most():
    near, far = box(0, 0, 10, 10), box(0, 2, 10, 10)
    truth = truth_table(("a", 0, near), ("a", 0, far))
    exact_twice = detection_table(("a", 0, 0.9, near), ("a", 0, 0.8, near))
    assert ap(truth, exact_twice) == 0.5  # the second overlaps `far` by 2/3, but `near` by 1, which is taken


def test_precision_is_made_monotone():
    truth = truth_table(("a", 0, CELL), ("a", 0, OTHER))
    detections = detection_table(("a", 0, 0.9, OTHER.T), ("a", 0, 0.8, CELL), ("a", 0, 0.7, OTHER))
    assert ap(truth, detections) == pytest.approx(2 / 3)  # the 1/2 after the first hit is raised


def test_a_class_absent_from_the_field_counts_against_a_detection_or_is_ignored():
    truth = truth_table(("a", 0, CELL), ("b", 1, CELL))
    detections = detection_table(("b", 0, 0.9, CELL), ("a", 0, 0.5, CELL))
    assert ap(truth, detections) == 0.5
    assert ap(truth, detections, absent="ignored") == 1


def test_equal_confidences_keep_the_order_of_the_file():
    truth = truth_table(("a", 0, CELL))
    hit, miss = ("a", 0, 0.5, CELL), ("a", 0, 0.5, OTHER)
    assert ap(truth, detection_table(hit, miss)) == 1
    assert ap(truth, detection_table(miss, hit)) == 0.5


def test_a_mask_of_the_transposed_size_hits_nothing():
    truth = truth_table(("a", 0, CELL))
    assert ap(truth, detection_table(("a", 0, 0.5, CELL.T))) == 0


def test_classes_are_ranked_by_themselves():
    truth = truth_table(("a", 0, CELL), ("a", 5, CELL))
    scores = mean_average_precision(truth, detection_table(("a", 0, 0.9, CELL), ("a", 5, 0.1, CELL)))
    assert scores["mean_average_precision"] == pytest.approx(2 / 19)


def test_unknown_treatment_of_absent_classes_is_refused():
    with pytest.raises(ValueError, match="false_positive, ignored"):
        mean_average_precision(truth_table(), detection_table(), absent="maybe")


def test_of_two_true_cells_alike_only_the_first_can_be_hit():
    truth = truth_table(("a", 0, CELL), ("a", 0, CELL))
    assert ap(truth, detection_table(("a", 0, 0.9, CELL), ("a", 0, 0.8, CELL))) == 0.5


def test_a_detection_without_a_pixel_is_none_and_a_true_cell_without_a_pixel_need_not_be_found():
    nothing = np.zeros((20, 30), bool)
    truth = truth_table(("a", 0, CELL), ("b", 0, nothing))
    assert ap(truth, detection_table(("a", 0, 0.9, nothing), ("a", 0, 0.5, CELL))) == 1


def test_a_field_in_which_nothing_is_true_counts_against_its_detections():
    truth, detections = truth_table(("a", 0, CELL)), detection_table(("b", 0, 0.9, CELL), ("a", 0, 0.5, CELL))
    assert ap(truth, detections) == 0.5
    assert ap(truth, detections, absent="ignored") == 1


def test_fields_higher_than_wide_are_scored_as_well():
    tall = box(15, 3, 12, 6, shape=(40, 12))
    assert ap(truth_table(("a", 0, tall)), detection_table(("a", 0, 0.5, tall))) == 1


def test_nothing_to_find_and_nothing_found_score_nothing():
    scores = mean_average_precision(truth_table(), detection_table())
    assert scores["mean_average_precision"] == scores["mean_over_classes_with_truth"] == 0
    assert set(scores["average_precision"].values()) == {None}


def case_tables(case):
    """Truth and detections of a case of ``evaluator_cases.json``, whose masks are lists of boxes."""

    def painted(height, width, boxes):
        mask = np.zeros((height, width), bool)
        for y0, x0, rows, columns in boxes:
            mask[y0 : y0 + rows, x0 : x0 + columns] = True
        return mask

    truth = [(field, label, painted(h, w, boxes)) for field, h, w, label, boxes in case["truth"]]
    found = [(field, label, c, painted(h, w, boxes)) for field, h, w, label, c, boxes in case["detections"]]
    return truth_table(*truth), detection_table(*found)


@pytest.mark.parametrize("absent", ["false_positive", "ignored"])
@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_the_score_is_that_of_the_tf_object_detection_api(case, absent):
    scores = mean_average_precision(*case_tables(case), absent)
    for label, expected in enumerate(case[absent]):
        found, ties = scores["average_precision"][str(label)], scores["tie_range"]["average_precision"][str(label)]
        if expected is None:
            assert found is None and ties is None
        else:  # it breaks ties as its sort happens to
            assert ties[0] - 1e-9 <= expected <= ties[1] + 1e-9
            assert "ties" in case["name"] or found == ties[0] == ties[1] == pytest.approx(expected, abs=1e-9)


def test_the_tie_range_is_the_worst_and_the_best_of_all_orders_of_equal_confidences():
    rows = [("a", 0, 0.9, OTHER), ("a", 0, 0.5, CELL), ("b", 0, 0.5, OTHER), ("c", 0, 0.5, OTHER), ("b", 0, 0.4, CELL)]
    truth = truth_table(("a", 0, CELL), ("b", 0, CELL), ("c", 0, OTHER))
    orders = [rows[:1] + list(tied) + rows[-1:] for tied in permutations(rows[1:-1])]
    found = [ap(truth, detection_table(*order)) for order in orders]
    ties = mean_average_precision(truth, detection_table(*rows))["tie_range"]
    assert ties["average_precision"]["0"] == pytest.approx([min(found), max(found)])
    assert min(found) < max(found)
    assert ties["mean_average_precision"] == pytest.approx([min(found) / 19, max(found) / 19])
    assert ties["mean_over_classes_with_truth"] == ties["average_precision"]["0"]


def test_a_second_hit_of_equal_confidence_may_rank_before_the_first_at_worst():
    truth = truth_table(("a", 0, CELL))
    twice = detection_table(("a", 0, 0.5, CELL), ("a", 0, 0.5, CELL))
    scores = mean_average_precision(truth, twice)
    assert scores["average_precision"]["0"] == 1  # in any one order of both
    assert scores["tie_range"]["average_precision"]["0"] == [0.5, 1]


def test_weights_of_fields_are_as_if_fields_were_there_so_often():
    truth = truth_table(("a", 0, CELL), ("a", 0, OTHER), ("b", 0, CELL), ("c", 0, CELL), ("c", 1, CELL))
    rows = [("c", 0, 0.95, OTHER), ("a", 0, 0.9, CELL), ("b", 0, 0.8, OTHER), ("b", 0, 0.7, CELL), ("a", 0, 0.6, OTHER)]
    matches = match_detections(truth, detection_table(*rows))
    assert matches.image_ids.tolist() == ["a", "b", "c"]
    (weighted,) = average_precisions(matches, np.array([[1.0, 3.0, 0.0]]))
    copies = [("d", *row[1:]) for row in rows if row[0] == "b"] + [("e", *row[1:]) for row in rows if row[0] == "b"]
    truth = truth_table(("a", 0, CELL), ("a", 0, OTHER), ("b", 0, CELL), ("d", 0, CELL), ("e", 0, CELL))
    kept = sorted((row for row in rows + copies if row[0] != "c"), key=lambda row: -row[2])
    expected = mean_average_precision(truth, detection_table(*kept))
    assert weighted[0] == pytest.approx(expected["average_precision"]["0"]) and np.isnan(weighted[1])


def test_detections_are_ranked_anew_by_other_confidences():
    truth = truth_table(("a", 0, CELL), ("a", 1, OTHER))
    rows = [("a", 0, 0.9, CELL), ("a", 0, 0.8, OTHER), ("a", 0, 0.7, CELL), ("a", 1, 0.5, OTHER)]
    other = np.array([0.1, 0.6, 0.6, 0.2])
    matches = match_detections(truth, detection_table(*rows)).reranked(other)
    expected = match_detections(truth, detection_table(*rows).assign(confidence=other))
    for name in ("label", "field", "confidence", "row", "cell", "hit"):
        np.testing.assert_array_equal(getattr(matches, name), getattr(expected, name))
    assert score_matches(matches)["average_precision"]["0"] == 0.5
