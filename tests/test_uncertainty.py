import numpy as np
import pytest
from conftest import box, detection_table, truth_table

from hpa_utils.scoring.metrics import match_detections, score_matches
from hpa_utils.scoring.report import bootstrap, compare

CELL, OTHER = box(2, 2, 10, 10), box(2, 18, 10, 10)


def fields(names, hit, miss=(), label=0):
    """Truth of one cell a field, and detections that hit it in the fields `hit` and miss it in `miss`."""
    truth = truth_table(*((name, label, CELL) for name in names))
    confidences = np.linspace(0.9, 0.1, len(hit) + len(miss))
    rows = [(name, label, confidence, CELL) for name, confidence in zip(hit, confidences)]
    rows += [(name, label, confidence, OTHER) for name, confidence in zip(miss, confidences[len(hit) :])]
    return match_detections(truth, detection_table(*rows))


def test_fields_that_are_all_alike_leave_no_doubt():
    interval = bootstrap(fields("abcdef", "abcdef"), rounds=40)
    assert interval["average_precision"]["0"] == {"estimate": 1, "low": 1, "high": 1, "rounds_without_truth": 0}
    mean = interval["mean_average_precision"]
    assert mean["low"] == mean["estimate"] == mean["high"] == pytest.approx(1 / 19)
    assert interval["mean_over_classes_with_truth"] == {"estimate": 1, "low": 1, "high": 1}
    assert (interval["rounds"], interval["fields"]) == (40, 6)


def test_the_interval_of_a_share_is_the_binomial_one():
    names = [f"{number:03d}" for number in range(100)]
    found = bootstrap(fields(names, names[:64]), rounds=2000, seed=1)["average_precision"]["0"]
    assert found["estimate"] == 0.64  # hits only: the score is the share of cells found
    assert [found["low"], found["high"]] == pytest.approx([0.54, 0.73], abs=0.015)


def test_fields_are_drawn_not_cells():
    truth = truth_table(*((name, 0, mask) for name in "ab" for mask in (CELL, OTHER)))
    matches = match_detections(truth, detection_table(("a", 0, 0.9, CELL), ("a", 0, 0.8, OTHER)))
    found = bootstrap(matches, rounds=200)["average_precision"]["0"]
    assert (found["low"], found["estimate"], found["high"]) == (0, 0.5, 1)  # both cells of a field, or neither


def test_a_class_without_truth_in_a_round_counts_0_in_the_mean_over_19_and_is_left_out_elsewhere():
    truth = truth_table(("a", 0, CELL), ("b", 1, CELL))
    matches = match_detections(truth, detection_table(("a", 0, 0.9, CELL), ("b", 1, 0.9, CELL)))
    found = bootstrap(matches, rounds=400)
    assert found["average_precision"]["2"] is None
    rounds = found["average_precision"]["0"].pop("rounds_without_truth")
    assert 60 < rounds < 140  # a quarter: b twice
    assert found["average_precision"]["0"] == {"estimate": 1, "low": 1, "high": 1}
    assert found["mean_average_precision"] == pytest.approx({"estimate": 2 / 19, "low": 1 / 19, "high": 2 / 19})
    assert found["mean_over_classes_with_truth"] == {"estimate": 1, "low": 1, "high": 1}


def test_the_same_seed_gives_the_same_interval():
    names = [f"{number:02d}" for number in range(40)]
    matches = fields(names, names[:20], names[20:])
    assert bootstrap(matches, 30, seed=3) == bootstrap(matches, 30, seed=3) != bootstrap(matches, 30, seed=4)


def test_a_submission_does_not_differ_from_itself():
    matches = fields("abcdef", "abc", "def")
    same = {"difference": 0, "low": 0, "high": 0, "share_above": 0.5}
    found = compare(matches, matches, rounds=30)
    assert found["average_precision"]["0"].items() >= same.items()
    assert found["mean_average_precision"].items() >= same.items()


def test_what_two_submissions_share_cancels_in_their_difference():
    names = [f"{number:02d}" for number in range(40)]
    first, second = fields(names, names[:20]), fields(names, names[:30])
    found = compare(first, second, rounds=500)["average_precision"]["0"]
    assert (found["first"], found["second"], found["difference"]) == (0.5, 0.75, 0.25)
    assert found["low"] > 0 and found["share_above"] == 1
    alone = bootstrap(first, rounds=500)["average_precision"]["0"]
    assert found["high"] - found["low"] < alone["high"] - alone["low"]
    back = compare(second, first, rounds=500)["average_precision"]["0"]
    assert (back["low"], back["high"]) == pytest.approx((-found["high"], -found["low"]))


def test_submissions_that_have_other_fields_are_compared_on_all_of_them():
    truth = truth_table(("a", 0, CELL), ("b", 0, CELL))
    first = match_detections(truth, detection_table(("c", 0, 0.9, CELL), ("a", 0, 0.8, CELL)))
    second = match_detections(truth, detection_table(("d", 0, 0.1, CELL), ("b", 0, 0.7, CELL), ("a", 0, 0.5, CELL)))
    found = compare(first, second, rounds=20)
    assert found["fields"] == 4
    for name, matches in (("first", first), ("second", second)):
        expected = score_matches(matches)["average_precision"]["0"]
        assert found["average_precision"]["0"][name] == pytest.approx(expected)


def test_submissions_matched_with_different_truths_are_not_compared():
    with pytest.raises(ValueError, match="different truths"):
        compare(fields("ab", "a"), fields("abc", "a"))


def test_no_rounds_are_refused():
    with pytest.raises(ValueError, match="rounds is 0"):
        bootstrap(fields("ab", "a"), rounds=0)
