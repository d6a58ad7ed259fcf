import numpy as np
import pytest
from conftest import box, detection_table, truth_table

from hpa_utils.scoring.diagnosis import NO_CELL, confusion, diagnose, found_shares, move_to_cells
from hpa_utils.scoring.metrics import match_detections, mean_average_precision

CELL, OTHER = box(0, 0, 10, 10), box(0, 20, 10, 10)
BAD = box(0, 0, 10, 5)  # half of CELL: IoU 0.5
NUCLEOLI, GOLGI, CYTOSOL = 2, 7, 16


def test_a_score_is_lost_to_masks_that_miss_and_to_labels_ranked_wrongly():
    truth = truth_table(("a", GOLGI, CELL), ("a", GOLGI, OTHER), ("a", CYTOSOL, OTHER))
    rows = [("a", GOLGI, 0.9, BAD), ("a", GOLGI, 0.8, OTHER), ("a", CYTOSOL, 0.9, BAD), ("a", CYTOSOL, 0.1, OTHER)]
    found = diagnose(truth, detection_table(*rows))
    scores = mean_average_precision(truth, detection_table(*rows))
    assert scores["average_precision"][str(GOLGI)] == 0.25 and scores["average_precision"][str(CYTOSOL)] == 0.5
    labels = found["perfect_labels"]
    assert labels["average_precision"][str(GOLGI)] == 0.5 and labels["average_precision"][str(CYTOSOL)] == 1
    assert labels["mean_average_precision"] == pytest.approx(1.5 / 19)
    masks = found["perfect_masks"]["average_precision"]
    assert masks[str(GOLGI)] == 1 and masks[str(CYTOSOL)] == 0.5  # the first is still no cytosol
    segmentation, classification = found["loss"]["segmentation"], found["loss"]["classification"]
    assert segmentation["average_precision"][str(GOLGI)] == 0.5
    assert segmentation["average_precision"][str(CYTOSOL)] == 0
    assert classification["average_precision"][str(GOLGI)] == 0.25
    assert classification["average_precision"][str(CYTOSOL)] == 0.5
    lost = segmentation["mean_over_classes_with_truth"] + classification["mean_over_classes_with_truth"]
    assert lost == pytest.approx(1 - scores["mean_over_classes_with_truth"])
    assert segmentation["average_precision"]["0"] is None


def test_a_perfect_submission_has_nothing_to_lose():
    truth = truth_table(("a", GOLGI, CELL), ("b", CYTOSOL, OTHER))
    found = diagnose(truth, detection_table(("a", GOLGI, 0.5, CELL), ("b", CYTOSOL, 0.5, OTHER)))
    for part in (found["loss"]["segmentation"], found["loss"]["classification"]):
        assert part["mean_over_classes_with_truth"] == 0
    assert np.sum(found["false_positives"]) == 0


def test_perfect_labels_find_a_cell_whatever_class_its_mask_was_predicted_in():
    truth = truth_table(("a", GOLGI, CELL), ("a", CYTOSOL, CELL), ("b", GOLGI, CELL))
    shares = found_shares(truth, detection_table(("a", 0, 0.1, CELL), ("a", 1, 0.1, CELL), ("b", 0, 0.1, BAD)))
    assert shares[GOLGI] == 0.5 and shares[CYTOSOL] == 1 and np.isnan(shares[0])


def moved(truth, *rows):
    table = move_to_cells(truth, detection_table(*rows))
    counts = {mask: name for name, mask in zip(("cell", "other"), truth_table(("", 0, CELL), ("", 0, OTHER))["counts"])}
    cells = [counts[own] for own in table["counts"]]
    return list(zip(table["image_id"], table["label"], table["confidence"], cells))


def test_a_true_cell_takes_the_confidences_of_the_mask_that_overlaps_it_most():
    truth = truth_table(("a", GOLGI, CELL), ("a", CYTOSOL, CELL))  # one cell of two labels
    rows = [("a", 0, 0.1, BAD), ("a", 1, 0.2, BAD), ("a", 0, 0.9, box(0, 5, 10, 4)), ("a", 1, 0.8, OTHER)]
    assert moved(truth, *rows) == [("a", 0, 0.1, "cell"), ("a", 1, 0.2, "cell")]


def test_a_true_cell_that_no_mask_touches_takes_those_of_the_nearest_mask_of_its_field():
    truth = truth_table(("a", GOLGI, CELL), ("a", GOLGI, OTHER), ("b", GOLGI, CELL))
    rows = [("a", 0, 0.1, box(15, 0, 5, 5)), ("a", 0, 0.9, box(15, 22, 5, 5))]
    assert moved(truth, *rows) == [("a", 0, 0.1, "cell"), ("a", 0, 0.9, "other")]  # b has no mask: not found


def test_a_mask_of_two_cells_gives_its_confidences_to_both():
    truth = truth_table(("a", GOLGI, CELL), ("a", GOLGI, OTHER))
    assert moved(truth, ("a", GOLGI, 0.7, CELL | OTHER)) == [("a", GOLGI, 0.7, "cell"), ("a", GOLGI, 0.7, "other")]


def confused(truth, *rows):
    detections = detection_table(*rows)
    return confusion(truth, detections, match_detections(truth, detections))


def test_a_false_positive_counts_for_the_classes_its_cell_shows():
    truth = truth_table(("a", GOLGI, CELL), ("b", NUCLEOLI, OTHER), ("b", CYTOSOL, OTHER), ("c", GOLGI, OTHER))
    rows = [("b", GOLGI, 0.9, OTHER), ("c", GOLGI, 0.8, CELL), ("a", GOLGI, 0.7, CELL)]
    table = confused(truth, *rows)
    expected = np.zeros((19, 20))
    expected[GOLGI, [NUCLEOLI, CYTOSOL]], expected[GOLGI, NO_CELL] = 0.5, 1  # c has no cell there
    np.testing.assert_array_equal(table, expected)


def test_only_as_many_false_positives_are_told_as_the_class_has_cells_and_second_hits_are_its_own():
    truth = truth_table(("a", GOLGI, CELL), ("a", GOLGI, OTHER), ("b", CYTOSOL, CELL))
    rows = [("a", GOLGI, 0.9, CELL), ("a", GOLGI, 0.8, CELL), ("b", GOLGI, 0.7, CELL), ("b", NUCLEOLI, 0.9, CELL)]
    table = confused(truth, *rows)
    assert table[GOLGI, GOLGI] == 1 and table.sum() == 1


def test_no_detections_lose_everything_to_segmentation():
    truth = truth_table(("a", GOLGI, CELL))
    found = diagnose(truth, detection_table())
    assert found["loss"]["segmentation"]["mean_over_classes_with_truth"] == 1
    assert found["loss"]["classification"]["mean_over_classes_with_truth"] == 0
    assert found["perfect_masks"]["mean_over_classes_with_truth"] == 0
