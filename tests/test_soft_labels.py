import numpy as np
import pandas as pd
import pytest

from hpa_utils import tables
from hpa_utils.training import soft_labels as soft_module
from hpa_utils.training.soft_labels import SOFT_COLUMNS, SoftLabelConfig, make_soft_labels


def tables_of(labels: dict, evidence: dict):
    """Field, cell and score table. `evidence`: image → cells, each {class: score}; the field's own score is 1."""
    vectors = [np.isin(np.arange(19), classes).astype(np.int8) for classes in labels.values()]
    fields = pd.DataFrame({"image_id": list(labels), "labels": vectors})
    keys = [(image, number) for image, cells in evidence.items() for number in range(1, len(cells) + 1)]
    cells = pd.DataFrame(keys, columns=["image_id", "cell_id"])
    scores = np.zeros((len(cells), 19))
    for row, given in enumerate(cell for found in evidence.values() for cell in found):
        scores[row, list(given)] = list(given.values())
    table = pd.DataFrame(scores, columns=[f"p{number:02d}" for number in range(19)])
    table = pd.concat([cells, table, pd.DataFrame(1.0, cells.index, [f"f{k:02d}" for k in range(19)])], axis=1)
    return fields, cells, table


BY_SCORE = SoftLabelConfig(by="threshold", thresholds=(0.8, 0.6, 0.4, 0.2))


def soft_of(labels, evidence, config=BY_SCORE):
    fields, cells, scores = tables_of(labels, evidence)
    return make_soft_labels(scores, cells, fields, config)[SOFT_COLUMNS].to_numpy()


def test_scores_become_levels_and_negative_is_what_the_largest_leaves():
    soft = soft_of({"a": [3]}, {"a": [{3: 0.9}, {3: 0.7}, {3: 0.5}, {3: 0.3}, {3: 0.1}]})
    assert soft[:, 3].tolist() == [1, 0.75, 0.5, 0.25, 0]
    assert soft[:, 18].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert not np.delete(soft, [3, 18], axis=1).any()


def test_other_labels_of_the_field_have_a_floor_but_not_in_a_cell_judged_negative():
    soft = soft_of({"a": [3, 7]}, {"a": [{3: 0.9, 7: 0.1}, {3: 0.1, 7: 0.1}]})
    assert soft[0, [3, 7, 18]].tolist() == [1, 0.25, 0]
    assert soft[1, [3, 7, 18]].tolist() == [0, 0, 1]


def test_the_floor_is_lifted_after_negative_is_derived():
    config = SoftLabelConfig(by="threshold", thresholds=(0.8, 0.6, 0.4, 0.2), floor=0.4)
    assert soft_of({"a": [3]}, {"a": [{3: 0.3}]}, config)[0, [3, 18]] == pytest.approx([0.4, 0.75])


def test_a_class_that_the_field_does_not_carry_is_0_and_negative_fields_stay_negative():
    soft = soft_of({"a": [3], "b": [18]}, {"a": [{3: 0.9, 5: 0.99}], "b": [{3: 0.9, 18: 0.01}]})
    assert soft[0, 5] == 0
    assert soft[1].tolist() == [0] * 18 + [1]


def test_a_low_score_of_the_field_lowers_its_cells():
    fields, cells, scores = tables_of({"a": [3]}, {"a": [{3: 0.9}]})
    soft = make_soft_labels(scores.assign(f03=0.5), cells, fields, BY_SCORE)
    assert soft["s03"].tolist() == [0.5]


def test_ranks_are_taken_within_the_fields_of_a_class_and_matched_to_its_rate():
    evidence = {"a": [{3: score / 20, 4: 0.5} for score in range(1, 13)], "b": [{3: 0.99}] * 5}
    labels = {"a": [3], "b": [4]}
    soft = soft_of(labels, evidence, SoftLabelConfig(rate=0.5, absent=0.5))[:12, 3]
    assert soft.tolist() == [0] * 3 + [0.25] * 3 + [0.5] * 2 + [0.75] * 2 + [1] * 2
    matched = soft_of(labels, evidence, SoftLabelConfig(rate=0.1, match_graded=True))[:12, 3]
    assert (matched >= 0.5).sum() == 7  # people saw class 3 in 59 % of the cells: 7 of 12


def test_cells_without_a_score_inherit_and_fields_without_labels_are_left_out():
    fields, cells, scores = tables_of({"a": [3, 7], "b": [0]}, {"a": [{3: 0.9}, {}], "b": [{}]})
    fields.loc[1, "labels"][:] = -1
    soft = make_soft_labels(scores.iloc[[0]], cells, fields, BY_SCORE)
    assert soft["image_id"].tolist() == ["a", "a"]
    assert soft[["s03", "s07"]].to_numpy().tolist() == [[1, 0.25], [1, 1]]


def test_shares_of_positive_cells_stand_beside_the_graded_ones():
    fields, cells, scores = tables_of({"a": [3]}, {"a": [{3: 0.9}, {3: 0.5}, {3: 0.3}, {3: 0.1}]})
    shares = soft_module.positive_shares(make_soft_labels(scores, cells, fields, BY_SCORE), fields)
    assert shares.loc[3].tolist() == [4, 0.5, 0.59]
    assert shares.loc[0, "cells"] == 0 and shares.loc[0, ["share", "graded"]].isna().all()


def test_an_edited_table_is_written_read_and_checked(tmp_path):
    fields, cells, scores = tables_of({"a": [3]}, {"a": [{3: 0.9}, {3: 0.1}]})
    cells["rle"] = [b"1", b"2"]
    soft, path = make_soft_labels(scores, cells, fields, BY_SCORE), tmp_path / "soft_labels.parquet"
    soft_module.write_soft_labels(path, soft, cells)
    pd.testing.assert_frame_equal(soft_module.read_soft_labels(path, cells), soft)
    edits = [
        (soft.assign(s03=[1.0, 1.5]), r"row 1 \(image a, cell 2\): s03 is 1.5; expected 0…1"),
        (soft.assign(s07=["x", 0]), r"row 0 \(image a, cell 1\): s07 is x"),
        (soft.assign(cell_id=[1, 9]), "row 1: image a, cell 9 is not in the cell table"),
        (soft.assign(cell_id=[1, 1]), "row 1: image a, cell 1 stands there twice"),
        (soft.drop(columns="s18"), "has no column s18"),
    ]
    for edited, message in edits:
        with pytest.raises(ValueError, match=message):
            soft_module.write_soft_labels(path, edited, cells)
    tables.write_keyed(path, soft.assign(s03=2.0), tables.cells_fingerprint(cells))
    with pytest.raises(ValueError, match="row 0 .* s03 is 2.0"):
        soft_module.read_soft_labels(path, cells)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"by": "score"}, "soft_labels.by is 'score'; expected rank or threshold"),
        ({"rate": 1.2}, "soft_labels.rate is 1.2; expected 0…1"),
        ({"thresholds": (0.2, 0.4, 0.6, 0.8)}, "soft_labels.thresholds is .* four falling numbers"),
    ],
)
def test_senseless_settings_are_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message):
        SoftLabelConfig(**values)
