import numpy as np
import pytest

from hpa_utils.weak_labels import shown_shares, soft_labels

GOLGI, CYTOSOL, NEGATIVE = 7, 16, 18
HALF = np.full(18, 0.5)


def labels_of(*cells):
    """Inherited labels of cells: the classes of each one's field."""
    inherited = np.zeros((len(cells), 19), np.float32)
    for row, classes in zip(inherited, cells):
        row[list(classes)] = 1
    return inherited


def evidence_of(count, **logits):
    """Log odds of cells: 0, but for those of the named classes."""
    evidence = np.zeros((count, 19))
    for label, values in logits.items():
        evidence[:, int(label[1:])] = values
    return evidence


def test_log_odds_are_shifted_until_their_mean_is_the_share():
    soft = soft_labels(labels_of([GOLGI], [GOLGI]), evidence_of(2, _7=[5 + np.log(3), 5 - np.log(3)]), HALF)
    assert soft.dtype == np.float32
    assert soft[:, GOLGI] == pytest.approx([0.75, 0.25])
    assert not np.delete(soft, [GOLGI, NEGATIVE], axis=1).any()


@pytest.mark.parametrize("share", [0.07, 0.5, 0.87])
@pytest.mark.parametrize("certain", [1, 300])
def test_the_mean_is_the_share_however_sure_the_teacher_is(share, certain):
    evidence = certain * np.random.default_rng(0).normal(size=(100, 19))
    soft = soft_labels(labels_of(*[[GOLGI]] * 100), evidence, np.full(18, share))
    assert soft[:, GOLGI].mean() == pytest.approx(share, abs=1e-3)
    assert (np.diff(soft[np.argsort(evidence[:, GOLGI]), GOLGI]) >= 0).all()


def test_only_fields_with_the_label_count_and_a_class_that_a_field_lacks_is_0():
    soft = soft_labels(labels_of([GOLGI], [GOLGI], [CYTOSOL]), evidence_of(3, _7=[1, -1, 99]), HALF)
    assert soft[:2, GOLGI].sum() == pytest.approx(1) and soft[2, GOLGI] == 0
    assert soft[:2, CYTOSOL].tolist() == [0, 0]


def test_negative_is_the_chance_that_a_cell_shows_none_of_its_labels():
    evidence = evidence_of(2, _7=[0, 0], _16=[np.log(4), -np.log(4)])
    soft = soft_labels(labels_of(*[[GOLGI, CYTOSOL]] * 2), evidence, HALF)
    assert soft[:, NEGATIVE] == pytest.approx([0.5 * 0.2, 0.5 * 0.8])


def test_negative_fields_and_cells_without_evidence_keep_what_they_inherited():
    soft = soft_labels(labels_of([GOLGI], [GOLGI], [NEGATIVE]), evidence_of(3, _7=[np.nan, 0, 9]), HALF)
    assert soft[0, GOLGI] == 1 and soft[0, NEGATIVE] == 0
    assert soft[1, GOLGI] == pytest.approx(0.5)
    assert soft[2].tolist() == [0] * 18 + [1]


def test_shares_of_cells_that_show_a_class_stand_beside_the_graded_ones():
    inherited = labels_of(*[[3]] * 4, [CYTOSOL])
    soft = inherited.copy()
    soft[:4, 3] = 1, 0.5, 0.25, 0
    shares = shown_shares(inherited, soft)
    assert shares.loc[3].tolist() == [4, 0.5, 0.45] and shares.loc[CYTOSOL, ["cells", "share"]].tolist() == [1, 1]
    assert shares.loc[0, "cells"] == 0 and np.isnan(shares.loc[NEGATIVE, "graded"])
    assert shares.index.name == "class" and np.isnan(shares.loc[0, "share"])
