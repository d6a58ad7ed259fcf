"""What is expected of a cell by its size, the border and the labels of its field."""

import numpy as np
import pytest

from hpa_utils.blending import GRADED, Prior, change_odds, company_odds, nothing_shown, shown_part
from hpa_utils.labels import parse_labels

HALF = Prior(np.full(18, 0.5), np.full(18, 0.5), np.zeros(18), power=1.0, border=1.0, nothing=0.5)


def labels(*texts):
    return np.stack([parse_labels(text) for text in texts]).astype(float)


def test_a_cell_of_half_size_shows_half_and_the_unit_of_area_does_not_matter():
    area, field, edge = np.array([50.0, 100.0, 150.0, 7.0]), np.array([4, 4, 4, 1]), np.zeros(4)
    part = shown_part(area, field, edge, HALF)
    assert part.shape == (4, 18)
    assert part[:, 0] == pytest.approx([1 / 2, 2 / 3, 3 / 4, 2 / 3])  # of the medians 100 and, alone in its field, 7
    assert shown_part(area / 16, field, edge, HALF) == pytest.approx(part)


def test_the_more_of_the_outline_is_on_the_border_the_less_is_shown():
    part = shown_part(np.ones(3), np.zeros(3, int), np.array([0, 0.25, 0.5]), HALF)
    assert part[:, 0] / part[0, 0] == pytest.approx(np.exp([0, -0.25, -0.5]))


def test_small_organelles_are_missed_in_more_than_fragments():
    part = shown_part(np.array([2.0, 4.0, 4.0]), np.zeros(3, int), np.zeros(3))
    for small in (7, 12, 15):
        assert part[0, small] / part[1, small] < part[0, 16] / part[1, 16] < 1


def test_a_label_that_stands_alone_is_likelier_than_one_in_company():
    odds = company_odds(labels("0", "0|16"), HALF)
    assert odds[0, 0] == pytest.approx(1)
    # half of the cells miss the other label: .5 / (1 − .5 · .5)
    assert odds[1, [0, 16]] == pytest.approx([2 / 3, 2 / 3])


def test_a_label_adds_its_log_odds_to_the_others_but_not_to_itself():
    prior = Prior(HALF.share, HALF.half_size, np.log(np.where(np.arange(18) == 16, 3.0, 1.0)), nothing=1.0)
    odds = company_odds(labels("16", "0|16"), prior)
    assert odds[0, 16] == pytest.approx(1)
    assert odds[1, [0, 16]] == pytest.approx([3, 1])


def test_a_label_that_is_only_likely_counts_in_part():
    sure, likely, absent = labels("0|16"), labels("0|16"), labels("0")
    likely[0, 16] = 0.5
    assert company_odds(sure)[0, 0] < company_odds(likely)[0, 0] < company_odds(absent)[0, 0]


def test_negative_is_what_the_labels_of_the_field_leave():
    of_fields = labels("0", "0|16", "18")
    assert nothing_shown(of_fields, 1.0, HALF) == pytest.approx([1 / 2, 1 / 4, 1])
    part = np.full((3, 18), 0.5)
    assert nothing_shown(of_fields, part, HALF) == pytest.approx([3 / 4, 9 / 16, 1])


def test_changed_odds_stay_probabilities_and_keep_their_order():
    assert change_odds(np.array([0, 0.5, 0.5, 1]), np.array([3, 1, 3, 0.1])) == pytest.approx([0, 0.5, 0.75, 1])
    values = np.geomspace(1e-30, 1, 50)
    assert (np.diff(change_odds(values, 0.2)) > 0).all()


def test_no_cells_have_no_chances():
    part = shown_part(np.zeros(0), np.zeros(0, int), np.zeros(0))
    assert part.shape == (0, 18)
    assert company_odds(np.zeros((0, 19))).shape == (0, 18)
    assert nothing_shown(np.zeros((0, 19)), part).shape == (0,)


def test_the_graded_figures_are_of_all_classes_but_negative():
    assert {len(values) for values in (GRADED.share, GRADED.half_size, GRADED.company)} == {18}
    assert (GRADED.share > 0).all() and (GRADED.share < 1).all()
