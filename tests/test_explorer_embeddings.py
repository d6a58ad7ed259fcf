"""Cells as vectors: what the head sees, kept in a table, mapped, compared."""

import importlib.util

import keras
import numpy as np
import pandas as pd
import pytest
from made_crops import write_crop_part

from hpa_explorer import embed_cells, embedding_network, embeddings, map_cells, nearest_cells, write_embeddings
from hpa_explorer.plots import cell_map, neighbours_strip
from hpa_utils import model, tables

SIZE = 16
CELLS = pd.DataFrame({"image_id": list("aaabb"), "cell_id": [1, 2, 3, 1, 2], "rle": [b"1", b"2", b"3", b"4", b"5"]})
PERCENTILES = np.tile(np.float32([0, 1, 200, 255]), (2, 4, 1))


def network_of(backbone, size=SIZE, head="head"):
    """The network of notebook 04 on a backbone, percentiles without effect: they go from 0 to 255."""
    crop, percentiles = keras.Input((size, size, 4)), keras.Input((4, 4))
    features = backbone(model.FieldNormalisation()(crop, percentiles))
    pooled = [keras.layers.GlobalAveragePooling2D()(features), keras.layers.GlobalMaxPooling2D()(features)]
    pooled = keras.layers.Dropout(0.5)(keras.layers.Concatenate()(pooled))
    return keras.Model([crop, percentiles], keras.layers.Dense(19, name=head)(pooled))


def channel_network(head="head"):
    """A network whose features are the four channels: a vector is their means, then their maxima."""
    return network_of(keras.layers.Rescaling(1.0), head=head)


def crop_of(level, spot):
    """A crop of one level in all channels, but for one green pixel."""
    crop = np.full((SIZE, SIZE, 4), level, np.uint8)
    crop[3, 5, 1] = spot
    return crop


@pytest.fixture
def crops(tmp_path):
    """Crops of fields of 3 and 2 cells, of levels 10, 20 … 50 with a spot of 5 more."""
    levels = {"a": [10, 20, 30], "b": [40, 50]}
    fields = {name: np.stack([crop_of(level, level + 5) for level in own]) for name, own in levels.items()}
    return write_crop_part(tmp_path / "crops", fields, "part-test-0000.parquet")


def expected(level):
    """Means of red, green, blue, yellow, then their maxima."""
    return [level, level + 5 / SIZE**2, level, level, level, level + 5, level, level]


@pytest.mark.parametrize("head", ["head", "another"])
def test_a_vector_is_what_the_head_sees_whatever_its_name(crops, head):
    vectors = embed_cells(channel_network(head), crops, PERCENTILES, np.array([3, 4, 0, 1, 2]), batch_size=2)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, [expected(level) for level in (40, 50, 10, 20, 30)], rtol=1e-6)


def test_the_layer_called_head_is_the_head_whatever_follows_it():
    given = keras.Input((6,))
    hidden = keras.layers.Dense(5, name="head")(given)
    network = keras.Model(given, keras.layers.Dense(19)(hidden))
    assert embedding_network(network).output_shape == (None, 6)


def test_a_network_without_a_head_is_refused():
    given = keras.Input((SIZE, SIZE, 4))
    network = keras.Model(given, keras.layers.GlobalAveragePooling2D()(given), name="headless")
    with pytest.raises(ValueError, match="headless has no dense layer: call the layer that gives its logits 'head'"):
        embedding_network(network)


def test_many_cells_are_embedded_step_by_step(crops, monkeypatch):
    whole = embed_cells(channel_network(), crops, PERCENTILES, np.arange(5))
    monkeypatch.setattr(embeddings, "STEP", 2)
    np.testing.assert_allclose(embed_cells(channel_network(), crops, PERCENTILES, np.arange(5)), whole)


def test_a_real_backbone_gives_the_mean_and_the_highest_of_each_feature(crops):
    network = network_of(model.build_backbone("lite0", 32, "none")[0], 32)
    assert embed_cells(network, crops, PERCENTILES, []).shape == (0, 2 * 1280)


def test_vectors_are_written_with_their_cells_in_one_rename(tmp_path):
    fingerprint, vectors = tables.cells_fingerprint(CELLS), np.arange(8, dtype=np.float32).reshape(2, 4)
    write_embeddings(tmp_path / "e.parquet", CELLS.iloc[[3, 0]][["image_id", "cell_id"]], vectors, fingerprint)
    table = tables.read_keyed(tmp_path / "e.parquet", CELLS)
    assert table[["image_id", "cell_id"]].values.tolist() == [["b", 1], ["a", 1]]
    assert list(table.columns[2:]) == ["e0000", "e0001", "e0002", "e0003"]
    assert (table.dtypes.iloc[2:] == np.float32).all()
    np.testing.assert_array_equal(table.iloc[:, 2:], vectors)
    assert [found.name for found in tmp_path.iterdir()] == ["e.parquet"]


def test_no_cells_give_an_empty_table_that_is_written_and_read(tmp_path):
    keys, vectors = CELLS[["image_id", "cell_id"]][:0], np.zeros((0, 8), np.float32)
    write_embeddings(tmp_path / "e.parquet", keys, vectors, tables.cells_fingerprint(CELLS))
    assert tables.read_keyed(tmp_path / "e.parquet", CELLS).shape == (0, 10)


def test_vectors_of_other_cells_are_refused(tmp_path):
    keys, fingerprint = CELLS[["image_id", "cell_id"]], tables.cells_fingerprint(CELLS)
    write_embeddings(tmp_path / "e.parquet", keys, np.zeros((5, 2), np.float32), fingerprint)
    with pytest.raises(ValueError, match="e.parquet belongs to another cell table"):
        tables.read_keyed(tmp_path / "e.parquet", CELLS.assign(rle=b"6"))


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
    figure = cell_map(places, "PCA", scores, list("aaabb"), truth, chosen=1)
    keys = [[text.get_text() for text in axis.get_legend().get_texts()] for axis in figure.axes]
    assert keys == [["Golgi (3)"], ["nuclear speckles (1)"], ["a (3)", "b (2)"]]


def test_cells_without_a_prediction_or_no_cells_at_all_can_be_drawn(crops):
    blank = np.full((5, 19), np.nan)
    assert cell_map(np.zeros((5, 2)), "PCA", blank, list("aaabb")).axes[0].get_legend() is None
    assert "no cells to map" in cell_map(np.zeros((0, 2)), "PCA", blank[:0], []).texts[0].get_text()
    figure = neighbours_strip(crops, np.array([3, 0]), np.array([0.5]), blank)
    assert figure.axes[0].get_title() == "the cell\nnot predicted\nb, cell 1"
    assert figure.axes[1].get_title() == "similarity 0.500\nnot predicted\na, cell 1"
