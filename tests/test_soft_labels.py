import numpy as np
import pytest

from hpa_utils.weak_labels import shown_shares, soft_labels

GOLGI, CYTOSOL, NEGATIVE = 7, 16, 18


def labels_of(*cells):
    """Inherited labels of cells: the classes of each one's field."""
    inherited = np.zeros((len(cells), 19), np.float32)
    for row, classes in zip(inherited, cells):
        row[list(classes)] = 1
    return inherited


def evidence_of(count, **scores):
    """Scores of cells: 0.5, but for those of the named classes."""
    evidence = np.full((count, 19), 0.5)
    for label, values in scores.items():
        evidence[:, int(label[1:])] = values
    return evidence


def test_the_rank_of_the_evidence_gives_five_levels():
    evidence = evidence_of(12, _7=np.arange(12) / 20)
    soft = soft_labels(labels_of(*[[GOLGI]] * 12), evidence, rate=0.5, absent=0.5, floor=0.0)
    assert soft.dtype == np.float32
    assert soft[:, GOLGI].tolist() == [0] * 3 + [0.25] * 3 + [0.5] * 2 + [0.75] * 2 + [1] * 2
    assert not np.delete(soft, GOLGI, axis=1).any()


@pytest.mark.parametrize("rate", [0.1, 0.6, 0.9])
def test_the_rate_is_the_share_of_cells_that_show_the_label(rate):
    soft = soft_labels(labels_of(*[[GOLGI]] * 100), np.random.default_rng(0).random((100, 19)), rate=rate)
    assert (soft[:, GOLGI] >= 0.5).mean() == pytest.approx(rate)


def test_a_label_of_the_field_has_a_floor_and_a_class_it_lacks_is_0():
    soft = soft_labels(labels_of([GOLGI], [GOLGI], [CYTOSOL]), evidence_of(3, _7=[0.9, 0.1, 0.99]), floor=0.25)
    assert soft[:, GOLGI].tolist() == [0.75, 0.25, 0]  # of two cells the better shows it; other fields do not count
    assert soft[:2, CYTOSOL].tolist() == [0, 0]


def test_equal_evidence_gives_equal_labels():
    assert len(set(soft_labels(labels_of(*[[GOLGI]] * 4), evidence_of(4))[:, GOLGI])) == 1


def test_negative_fields_and_cells_without_evidence_keep_what_they_inherited():
    evidence = evidence_of(3, _7=[np.nan, 0.2, 0.8], _18=[0.1, 0.1, 0.9])
    soft = soft_labels(labels_of([GOLGI], [GOLGI], [NEGATIVE]), evidence)
    assert soft[0, GOLGI] == 1 and soft[2].tolist() == [0] * 18 + [1]


def test_shares_of_cells_that_show_a_class_stand_beside_the_graded_ones():
    inherited = labels_of(*[[3]] * 4, [CYTOSOL])
    soft = inherited.copy()
    soft[:4, 3] = 1, 0.5, 0.25, 0
    shares = shown_shares(inherited, soft)
    assert shares.loc[3].tolist() == [4, 0.5, 0.59] and shares.loc[CYTOSOL, ["cells", "share"]].tolist() == [1, 1]
    assert shares.loc[0, "cells"] == 0 and shares.loc[[0, CYTOSOL], "graded"].isna().all()
    assert shares.index.name == "class" and np.isnan(shares.loc[0, "share"])
