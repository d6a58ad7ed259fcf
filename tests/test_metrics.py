import numpy as np
import pandas as pd
import pytest

from hpa_utils import masks
from hpa_utils.scoring.metrics import average_precision, mean_average_precision


def box(y0, x0, height, width, shape=(20, 30)):
    mask = np.zeros(shape, bool)
    mask[y0 : y0 + height, x0 : x0 + width] = True
    return mask


def truth_table(*rows):
    """Rows of (image_id, label, mask)."""
    columns = ["image_id", "height", "width", "label", "counts"]
    return pd.DataFrame([(i, *m.shape, label, masks.encode_counts(m)) for i, label, m in rows], columns=columns)


def detection_table(*rows):
    """Rows of (image_id, label, confidence, mask)."""
    columns = ["image_id", "height", "width", "label", "confidence", "counts"]
    return pd.DataFrame([(i, *m.shape, label, c, masks.encode_counts(m)) for i, label, c, m in rows], columns=columns)


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
    assert average_precision(np.array([False, True, True]), 2) == pytest.approx(2 / 3)


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
