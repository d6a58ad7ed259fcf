from types import SimpleNamespace

import jupytext
import numpy as np
import pandas as pd
import pytest

from hpa_utils import tables, weak_labels
from hpa_utils.running.notebooks import SOURCES
from hpa_utils.weak_labels import mark_spindles, shown_shares, soft_labels, spindle_cells
from hpa_utils.weak_labels.cell_labels import mitosis_score

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


def cell_table(n_fields=4, per_field=6):
    """Interphase cells of several fields, all alike but for a little noise."""
    rng = np.random.default_rng(0)
    n = n_fields * per_field
    usual = {"nucleus_area": 2000, "nucleus_blue_mean": 80, "roundness": 0.7, "nucleus_red_ratio": 0.4}
    usual |= {"red_focus": 0.2}
    table = pd.DataFrame({name: value * rng.normal(1, 0.05, n) for name, value in usual.items()})
    table["image_id"] = np.repeat([f"field-{number}" for number in range(n_fields)], per_field)
    table["cell_id"], table["edge_fraction"] = np.tile(np.arange(1, per_field + 1), n_fields), 0.0
    return table


def divide(table, *rows):
    """The table with cells in mitosis at the given rows."""
    changed = {"nucleus_area": 600, "nucleus_blue_mean": 140, "roundness": 0.95, "nucleus_red_ratio": 1.5}
    for name, value in (changed | {"red_focus": 0.3}).items():
        table.loc[list(rows), name] = value
    return table


def field_table(labelled, n_fields=4):
    labels = np.zeros((n_fields, 19), int)
    labels[labelled, 11] = 1
    return pd.DataFrame({"image_id": [f"field-{number}" for number in range(n_fields)], "labels": list(labels)})


def test_a_dividing_cell_scores_highest_and_scores_are_shares_of_the_cells():
    score = mitosis_score(divide(cell_table(), 8))
    assert score.dtype == np.float32 and score.argmax() == 8
    assert sorted(score) == pytest.approx((np.arange(24) + 0.5) / 24)


def test_a_bright_field_is_no_field_of_dividing_cells():
    table = divide(cell_table(), 8)
    table.loc[table["image_id"] == "field-2", "nucleus_blue_mean"] *= 2.5
    score = mitosis_score(table)
    assert score.argmax() == 8 and 0.2 < score[12:18].mean() < 0.8


def test_what_the_border_cut_off_is_not_taken_for_small_and_round():
    table = cell_table()
    table.loc[5, ["nucleus_area", "roundness"]] = 100, 0.95
    whole = mitosis_score(table)[5]
    table.loc[5, "edge_fraction"] = 0.3
    assert mitosis_score(table)[5] < whole


def test_without_a_nucleus_or_without_cells():
    table = divide(cell_table(), 8)
    table.loc[8, ["nucleus_area", "nucleus_blue_mean"]] = 0
    assert mitosis_score(table)[8] == 0 and (np.delete(mitosis_score(table), 8) > 0).all()
    assert mitosis_score(table.iloc[:0]).shape == (0,)
    assert mitosis_score(table.iloc[:1]).tolist() == [0.5]


def test_fields_labelled_11_have_cells_that_carry_it_and_likely_ones_elsewhere_are_ignored():
    table = divide(cell_table(), 8, 9, 20)  # two in field-1, one in field-3
    carrying, ignored = spindle_cells(table, field_table([0, 1]), likely=0.88)
    assert set(zip(carrying["image_id"][1:], carrying["cell_id"][1:])) == {("field-1", 3), ("field-1", 4)}
    assert carrying["image_id"][0] == "field-0" and carrying["score"][0] < 0.88  # the best of a field without one
    assert ignored[["image_id", "cell_id"]].to_numpy().tolist() == [["field-3", 3]]


def test_no_more_than_so_many_cells_of_a_field_carry_it():
    carrying, ignored = spindle_cells(divide(cell_table(), 8, 9), field_table([1]), likely=0.9, most=1)
    assert len(carrying) == 1 and len(ignored) == 1 and set(ignored["image_id"]) == {"field-1"}


def test_without_the_label_none_carries_it():
    carrying, ignored = spindle_cells(divide(cell_table(), 8), field_table([]), likely=0.95)
    assert carrying.empty and len(ignored) == 1
    unknown = field_table([]).assign(labels=[np.full(19, -1)] * 4)
    assert spindle_cells(cell_table(), unknown)[0].empty


@pytest.mark.filterwarnings("error")
def test_a_whole_field_carries_its_label_and_has_no_nucleus_to_look_at():
    fields = field_table([1]).assign(split="train", height=512, width=512)
    cells = tables.whole_fields(fields)
    assert mitosis_score(cells).tolist() == [0, 0, 0, 0]
    carrying, ignored = spindle_cells(cells, fields)
    assert carrying["image_id"].tolist() == ["field-1"] and ignored.empty


def test_candidates_alone_carry_the_label_and_likely_cells_are_ignored():
    inherited = np.zeros((5, 19), np.float32)
    inherited[:3, [11, 16]] = 1  # three cells of a field with spindles, two of another
    targets = inherited * 0.75
    marked = mark_spindles(targets, inherited, np.array([1]), np.array([4]))
    assert marked[:, 11].tolist() == [-1, 1, -1, 0, -1]
    assert (marked[:, 16] == targets[:, 16]).all() and (targets[:3, 11] == 0.75).all()


def test_on_the_page_of_04_a_grade_comes_before_a_candidate():
    (page,) = [cell.source for cell in jupytext.read(SOURCES / "04_train.py").cells if "def cell_labels" in cell.source]
    none = np.zeros(0, int)
    given = {"np": np, "weak_labels": weak_labels, "inherited": labels_of([11], [11]), "carrying": np.array([0])}
    given |= {"cells": SimpleNamespace(find=lambda table: none), "similar": none, "graded_rows": np.array([0, 1])}
    given["grades"] = pd.DataFrame({"label": [11, 11], "score": [0.25, 0.75]})
    exec(page.partition("\n\n\nbefore = ")[0], given)  # without what calls it
    assert given["cell_labels"]()[:, 11].tolist() == [0.25, 0.75]
    given["use_cell_grades"] = False
    assert given["cell_labels"]()[:, 11].tolist() == [1, -1]
