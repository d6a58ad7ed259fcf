import pytest
from conftest import box, detection_table, truth_table

from hpa_utils.scoring import diagnose, mean_average_precision

CELL, OTHER = box(0, 0, 10, 10), box(0, 20, 10, 10)
BAD = box(0, 0, 10, 5)  # half of CELL: IoU 0.5
GOLGI, CYTOSOL = 7, 16


def test_a_score_is_lost_to_masks_that_miss_and_to_labels_ranked_wrongly():
    truth = truth_table(("a", GOLGI, CELL), ("a", GOLGI, OTHER), ("a", CYTOSOL, OTHER))
    rows = [("a", GOLGI, 0.9, BAD), ("a", GOLGI, 0.8, OTHER), ("a", CYTOSOL, 0.9, BAD), ("a", CYTOSOL, 0.1, OTHER)]
    found = diagnose(truth, detection_table(*rows))
    scores = mean_average_precision(truth, detection_table(*rows))
    assert scores["average_precision"][str(GOLGI)] == 0.25 and scores["average_precision"][str(CYTOSOL)] == 0.5
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


def test_a_cell_that_a_mask_overlaps_is_lost_to_classification_whatever_class_the_mask_was_predicted_in():
    truth = truth_table(("a", GOLGI, CELL), ("a", CYTOSOL, CELL), ("b", GOLGI, CELL))
    detections = detection_table(("a", 0, 0.1, CELL), ("a", 1, 0.1, CELL), ("b", 0, 0.1, BAD))
    loss = {name: part["average_precision"] for name, part in diagnose(truth, detections)["loss"].items()}
    assert loss["segmentation"][str(GOLGI)] == 0.5 and loss["segmentation"][str(CYTOSOL)] == 0
    assert loss["classification"][str(GOLGI)] == 0.5 and loss["classification"][str(CYTOSOL)] == 1
    assert loss["segmentation"]["0"] is None


def test_no_detections_lose_everything_to_segmentation():
    truth = truth_table(("a", GOLGI, CELL))
    found = diagnose(truth, detection_table())
    assert found["loss"]["segmentation"]["mean_over_classes_with_truth"] == 1
    assert found["loss"]["classification"]["mean_over_classes_with_truth"] == 0
