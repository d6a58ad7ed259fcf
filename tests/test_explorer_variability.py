"""Fields ranked by how much their cells disagree."""

import itertools

import numpy as np
import pytest
from made_crops import write_crop_part

from hpa_explorer import mean_difference, rank_fields
from hpa_explorer.plots import variable_fields


def ranked(fields, **cell_ids):
    """`rank_fields` of class 3 alone; `fields`: ID → probabilities of its cells 1…n, the other classes 0."""
    ids = [image_id for image_id, values in fields.items() for _ in values]
    numbers = [n for image_id, values in fields.items() for n in cell_ids.get(image_id, range(1, len(values) + 1))]
    confidences = np.zeros((len(ids), 19))
    confidences[:, 3] = [value for values in fields.values() for value in values]
    table = rank_fields(confidences, ids, numbers)
    return table[table["label"] == 3].reset_index(drop=True)


def test_the_mean_difference_is_that_of_all_pairs():
    # 0, 1, 1: pairs 1, 1, 0; 0.2, 0.4, 0.9: pairs 0.2, 0.7, 0.5
    np.testing.assert_allclose(mean_difference(np.array([[1, 0.4], [0, 0.9], [1, 0.2]])), [2 / 3, 1.4 / 3])
    values = np.random.default_rng(0).random((9, 4))
    pairs = np.mean([np.abs(one - other) for one, other in itertools.combinations(values, 2)], axis=0)
    np.testing.assert_allclose(mean_difference(values), pairs)


def test_equal_cells_differ_by_exactly_nothing_and_one_cell_by_nothing_known():
    assert (mean_difference(np.full((7, 2), 0.1, np.float32)) == 0).all()
    assert np.isnan(mean_difference(np.ones((1, 2)))).all()


def test_fields_come_in_the_order_of_their_disagreement_with_their_extreme_cells():
    table = ranked({"a": [0.5, 0.5, 0.6], "b": [0.9, 0.0, 0.9, 0.0], "c": [0.2, 0.8, 0.5]})
    assert table["image_id"].tolist() == ["b", "c", "a"]
    assert table["rank"].tolist() == [1, 2, 3]
    np.testing.assert_allclose(table["disagreement"], [0.6, 0.4, 0.2 / 3])
    assert table["n_cells"].tolist() == [4, 3, 3]
    assert table["highest"].tolist() == [1, 2, 3]
    assert table["lowest"].tolist() == [2, 1, 1]


def test_every_class_ranks_the_fields_for_itself():
    confidences = np.zeros((6, 19))
    confidences[[0, 3], [2, 5]] = 1
    table = rank_fields(confidences, list("aaabbb"), [1, 2, 3, 1, 2, 3])
    assert len(table) == 2 * 19
    assert table[table["label"] == 2]["image_id"].tolist() == ["a", "b"]
    assert table[table["label"] == 5]["image_id"].tolist() == ["b", "a"]


def test_fields_of_fewer_than_three_predicted_cells_are_left_out():
    assert ranked({"a": [0, 1], "b": [0, np.nan, 1], "c": [0, 1, np.nan, 0]})["image_id"].tolist() == ["c"]


def test_equals_are_ordered_by_cells_then_by_id_and_extremes_by_number_wherever_the_rows_stand():
    fields = {"b": [0.5] * 3, "a": [0.5] * 3, "c": [0.5] * 4}
    table = ranked(fields, b=[9, 4, 7])
    assert table["image_id"].tolist() == ["c", "a", "b"]
    assert table[["highest", "lowest"]].iloc[2].tolist() == [4, 4]


def test_no_fields_give_an_empty_table():
    for count in (0, 2):
        table = rank_fields(np.zeros((count, 19)), ["a"] * count, list(range(count)))
        assert list(table) == ["label", "rank", "image_id", "disagreement", "n_cells", "highest", "lowest"]
        assert len(table) == 0


def test_columns_that_do_not_go_together_are_refused():
    with pytest.raises(ValueError, match=r"confidences \(2, 19\), 3 image_ids and 2 cell_ids"):
        rank_fields(np.zeros((2, 19)), list("aaa"), [1, 2])


def test_a_strip_shows_the_cells_from_the_most_to_the_least_probable(tmp_path):
    levels = {"a": (50, 100, 200, 250), "b": (30, 30, 30)}
    fields = {name: np.stack([np.full((16, 16, 4), level, np.uint8) for level in own]) for name, own in levels.items()}
    crops = write_crop_part(tmp_path, fields, "part-test-0000.parquet")
    confidences = np.zeros((7, 19))
    confidences[:3, 3] = 0.2, 0.9, 0.4
    confidences[3] = np.nan  # not predicted
    table = rank_fields(confidences, crops.image_ids[crops.field], crops.cell_id)
    figure = variable_fields(crops, table[(table["label"] == 3) & (table["rank"] == 1)], confidences, columns=2)
    assert [axis.get_title() for axis in figure.axes] == ["0.90", "0.20"]
    assert "a, 3 cells\nmean difference 0.47" in figure.axes[0].texts[0].get_text()
    # of one brightness: the brightest cell drawn becomes white, the other half as bright
    assert [int(axis.images[0].get_array().max()) for axis in figure.axes] == [255, 127]
    assert "no field to show" in variable_fields(crops, table[:0], confidences).texts[0].get_text()
