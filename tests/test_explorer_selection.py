"""Which fields, cells and classes are looked at closely."""

import numpy as np
import pandas as pd
import pytest

from hpa_explorer import choose_fields, find_cell, probable_classes, richest_field

FIELDS = pd.DataFrame({"image_id": list("abcdef"), "error": ["", "", "torn", "", "", ""]})
CELLS = pd.DataFrame({"image_id": ["a", "a", "b", "b", "b"], "cell_id": [1, 2, 1, 2, 3]})


def test_fields_are_drawn_by_the_seed_and_stay_in_order():
    chosen = choose_fields(FIELDS, 3, seed=0)["image_id"].tolist()
    assert len(chosen) == 3 and chosen == sorted(chosen) and "c" not in chosen
    assert chosen == choose_fields(FIELDS, 3, seed=0)["image_id"].tolist()
    assert choose_fields(FIELDS, 99, seed=1)["image_id"].tolist() == list("abdef")
    assert choose_fields(FIELDS[:0], 5, seed=0).empty


def test_the_field_asked_for_comes_first():
    chosen = choose_fields(FIELDS, 3, seed=0, first="e")["image_id"].tolist()
    assert chosen[0] == "e" and len(chosen) == 3 and chosen[1:] == sorted(chosen[1:])
    with pytest.raises(ValueError, match="no field 'c' among the 5"):
        choose_fields(FIELDS, 3, seed=0, first="c")


def test_the_richest_field_shows_most_classes():
    confidences = np.zeros((5, 19))
    confidences[range(5), [0, 7, 3, 3, 3]] = 0.5
    assert richest_field(FIELDS, CELLS, confidences) == "a"
    confidences[0] = np.nan  # then one class each, but b has more cells
    assert richest_field(FIELDS, CELLS, confidences) == "b"
    assert richest_field(FIELDS[3:], CELLS, confidences) == ""
    assert richest_field(FIELDS, CELLS[:0], confidences[:0]) == ""


def test_a_cell_is_found_by_its_number_or_as_the_surest_of_its_field():
    confidences = np.full((5, 19), 0.1)
    confidences[3, 7], confidences[2] = 0.9, np.nan
    assert find_cell(CELLS, "b", 1, confidences) == 2
    assert find_cell(CELLS, "b", 0, confidences) == 3
    with pytest.raises(ValueError, match="field 'b' has 3 cells here, none of them numbered 4"):
        find_cell(CELLS, "b", 4, confidences)
    with pytest.raises(ValueError, match="field 'z' has 0 cells"):
        find_cell(CELLS, "z", 0, confidences)


def test_the_most_probable_classes_are_those_of_the_surest_cells():
    confidences = np.zeros((2, 19))
    confidences[0, 3], confidences[1, [3, 8]] = 0.2, (0.1, 0.7)
    assert probable_classes(confidences, 5) == [8, 3] and probable_classes(confidences, 1) == [8]
    assert probable_classes(np.full((2, 19), np.nan), 5) == probable_classes(confidences[:0], 5) == []
