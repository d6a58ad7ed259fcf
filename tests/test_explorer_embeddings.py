"""Cells as vectors: what the head sees, kept in a table, mapped, compared."""

import importlib.util

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hpa_explorer import embed_bags, embeddings, map_cells, nearest_cells, read_embeddings, write_embeddings
from hpa_explorer.plots import cell_map, neighbours_strip
from hpa_utils import tables
from hpa_utils.crops import Bags, encode_crop
from hpa_utils.crops.bags import BAGS
from hpa_utils.model import ModelConfig, build_backbone, build_bag_model
from hpa_utils.model.pooling import POOLINGS

SIZE = 16
CELLS = pd.DataFrame({"image_id": list("aaabb"), "cell_id": [1, 2, 3, 1, 2], "rle": [b"1", b"2", b"3", b"4", b"5"]})


def bag_model(pooling="mean"):
    """A bag model whose backbone gives the four channels themselves: a vector is their means, then their maxima."""
    given = keras.Input((SIZE, SIZE, 4))
    backbone = keras.Model(given, keras.layers.Rescaling(1.0)(given), name="backbone")
    return build_bag_model(backbone, SIZE, ModelConfig(pooling=pooling))


def crop_of(level, spot):
    """A crop of one level in all channels, but for one green pixel."""
    crop = np.full((SIZE, SIZE, 4), level, np.uint8)
    crop[3, 5, 1] = spot
    return crop


@pytest.fixture
def bags(tmp_path):
    """Bags of 3 and 2 cells, of levels 10, 20 … 50 with a spot of 5 more, and one of no cells."""
    levels = {"a": [10, 20, 30], "b": [40, 50], "c": []}
    path = tmp_path / "bags" / "part-test-0000.parquet"
    with tables.part_writer(path, BAGS, "key") as writer:
        for image_id, of_bag in levels.items():
            bag = {"image_id": image_id, "split": "test", "labels": [-1] * 19, "percentiles": [0.0, 1, 200, 255] * 4}
            bag |= {"cell_ids": list(range(1, len(of_bag) + 1))}
            bag |= {"crops": [encode_crop(crop_of(level, level + 5)) for level in of_bag]}
            bag |= {"scales": [0.3] * len(of_bag), "edge_fractions": [0.0] * len(of_bag)}
            writer.write_table(pa.Table.from_pylist([bag], schema=BAGS))
        writer.add_key_value_metadata({"cells_fingerprint": ""})
    return Bags(path.parent, "test")


def expected(level):
    """Means of red, green, blue, yellow, then their maxima."""
    return [level, level + 5 / SIZE**2, level, level, level, level + 5, level, level]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_vector_is_what_the_head_sees_whatever_the_pooling(bags, pooling):
    table = embed_bags(bag_model(pooling), bags, [1, 2, 0], SIZE, batch=2)
    assert table["image_id"].tolist() == ["b", "b", "a", "a", "a"]
    assert table["cell_id"].tolist() == [1, 2, 1, 2, 3]
    assert list(table.columns[2:]) == [f"e{number:04d}" for number in range(8)]
    assert (table.dtypes.iloc[2:] == np.float32).all()
    np.testing.assert_allclose(table.iloc[:, 2:], [expected(level) for level in (40, 50, 10, 20, 30)], rtol=1e-6)


def test_a_real_backbone_gives_the_mean_and_the_highest_of_each_feature(bags):
    table = embed_bags(build_bag_model(build_backbone("lite0", 32, "none")[0], 32), bags, [], 32)
    assert table.shape == (0, 2 + 2 * 1280)


@pytest.mark.parametrize("numbers", [[], [2]])
def test_no_cells_give_an_empty_table_that_is_written_and_read(bags, tmp_path, numbers):
    table = embed_bags(bag_model(), bags, numbers, SIZE)
    assert table.shape == (0, 10) and table["e0007"].dtype == np.float32
    assert write_embeddings(tmp_path / "e.parquet", bag_model(), bags, numbers, SIZE, CELLS) == 0
    vectors, rows = read_embeddings(tmp_path / "e.parquet", CELLS)
    assert vectors.shape == (0, 8) and rows.shape == (0,)


def test_vectors_are_written_group_by_group_and_read_with_their_rows_of_the_cell_table(bags, tmp_path, monkeypatch):
    monkeypatch.setattr(embeddings, "GROUP", 2)
    path = tmp_path / "e.parquet"
    assert write_embeddings(path, bag_model(), bags, [1, 0], SIZE, CELLS, batch=2) == 5
    assert [pq.ParquetFile(path).metadata.row_group(group).num_rows for group in range(3)] == [2, 2, 1]
    vectors, rows = read_embeddings(path, CELLS)
    assert rows.tolist() == [3, 4, 0, 1, 2]
    np.testing.assert_allclose(vectors, [expected(level) for level in (40, 50, 10, 20, 30)], rtol=1e-6)
    assert [found.name for found in tmp_path.glob("*.parquet")] == ["e.parquet"]


def test_vectors_of_other_cells_are_refused(bags, tmp_path):
    write_embeddings(tmp_path / "e.parquet", bag_model(), bags, [0], SIZE, CELLS)
    with pytest.raises(ValueError, match="e.parquet belongs to another cell table"):
        read_embeddings(tmp_path / "e.parquet", CELLS.assign(rle=b"6"))


def test_a_failed_writing_leaves_no_file(bags, tmp_path):
    with pytest.raises(ValueError, match="bag of field a: the crop of cell 1 is"):
        write_embeddings(tmp_path / "out" / "e.parquet", bag_model(), bags, [0], 2 * SIZE, CELLS)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("count", [0, 1, 2, 3, 40])
def test_a_map_has_a_place_for_every_cell(count):
    vectors = np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32)
    places, name = map_cells(vectors)
    installed = importlib.util.find_spec("umap") is not None
    assert places.shape == (count, 2) and np.isfinite(places).all()
    assert name == ("UMAP" if installed and count > 15 else "PCA")
    np.testing.assert_array_equal(places, map_cells(vectors)[0])


def test_cells_that_point_the_same_way_share_a_place():
    places, _ = map_cells(np.array([[1, 0, 0], [0, 1, 0], [2, 0, 0], [0, 0, 5]], np.float32))
    np.testing.assert_allclose(places[0], places[2], atol=1e-6)
    others = [np.linalg.norm(places[0] - places[row]) for row in (1, 3)]
    assert min(others) > 0.5


def test_the_nearest_cells_are_those_of_the_smallest_angle_and_never_the_cell_itself():
    vectors = np.array([[1, 0], [0, 3], [5, 5], [9, 0], [-1, 0], [0, 0]], np.float32)
    rows, similarities = nearest_cells(vectors, 0, 4)
    assert rows.tolist() == [3, 2, 1, 5]
    np.testing.assert_allclose(similarities, [1, np.sqrt(0.5), 0, 0], atol=1e-6)
    assert nearest_cells(vectors, 0)[0].tolist() == [3, 2, 1, 5, 4]
    assert nearest_cells(vectors[:1], 0)[0].tolist() == []
    with pytest.raises(IndexError, match="row 6 of 6 cells"):
        nearest_cells(vectors, 6)


def test_the_map_is_drawn_by_class_by_truth_and_by_field():
    places = np.random.default_rng(0).normal(size=(5, 2))
    scores = np.full((5, 19), np.nan)
    scores[:3] = 0.1
    scores[:3, 7] = 0.9
    truth = np.full((5, 19), -1)
    truth[0] = np.arange(19) == 4
    figure = cell_map(places, "PCA", scores, CELLS, truth, chosen=1)
    keys = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes]
    assert keys == [["Golgi (3)"], ["nuclear speckles (1)"], ["a (3)", "b (2)"]]


def test_cells_without_a_prediction_or_no_cells_at_all_can_be_drawn(bags):
    blank = np.full((5, 19), np.nan)
    assert cell_map(np.zeros((5, 2)), "PCA", blank, CELLS).axes[0].get_legend() is None
    assert "no cells to map" in cell_map(np.zeros((0, 2)), "PCA", blank[:0], CELLS[:0]).texts[0].get_text()
    figure = neighbours_strip(bags, CELLS.iloc[[3, 0]], np.array([0.5]), blank)
    assert "similarity 0.500\nnot predicted" in figure.axes[1].get_title()
