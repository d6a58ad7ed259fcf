import numpy as np
import pytest

from hpa_utils.labels import CLASS_NAMES, format_labels, parse_labels


def test_there_are_nineteen_classes_and_the_last_is_negative():
    assert len(CLASS_NAMES) == 19
    assert CLASS_NAMES[0] == "Nucleoplasm" and CLASS_NAMES[11] == "Mitotic spindle" and CLASS_NAMES[18] == "Negative"


def test_labels_become_a_vector():
    vector = parse_labels("16|0")
    assert vector.dtype == np.uint8 and vector.shape == (19,)
    assert np.flatnonzero(vector).tolist() == [0, 16]


def test_a_repeated_label_counts_once():
    assert parse_labels("2|2|5").sum() == 2


def test_negative_beside_others_is_kept_with_a_warning():
    with pytest.warns(UserWarning, match="Negative"):
        assert np.flatnonzero(parse_labels("18|3")).tolist() == [3, 18]


@pytest.mark.parametrize("text", ["19", "-1", "1.5", "a", "", "1||2", "0,16", "٣", "nan"])
def test_anything_but_class_numbers_is_refused(text):
    with pytest.raises(ValueError, match="no class number 0…18"):
        parse_labels(text)


def test_format_is_the_inverse():
    assert format_labels(parse_labels("16|0")) == "0|16"
