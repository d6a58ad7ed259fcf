"""Maps of what a class hangs on, and the simulator's structures."""

import cv2
import keras
import numpy as np
import pytest

from hpa_explorer import explain_cells, plots
from hpa_simulator.fields import draw_field
from hpa_utils import model

SIZE = 32
BRIGHTNESS = np.tile([0, 1, 200, 255], (4, 1)).astype(np.float32)


def network_of(backbone, kernel=None, **normalisation):
    """The network of notebook 04 on a backbone; its head has this kernel and a bias of 1."""
    crop, percentiles = keras.Input((SIZE, SIZE, 4)), keras.Input((4, 4))
    features = backbone(model.FieldNormalisation(**normalisation)(crop, percentiles))
    pooled = [keras.layers.GlobalAveragePooling2D()(features), keras.layers.GlobalMaxPooling2D()(features)]
    head = keras.layers.Dense(19, name="head")
    network = keras.Model([crop, percentiles], head(keras.layers.Concatenate()(pooled)))
    if kernel is not None:
        head.set_weights([kernel, np.ones(19)])
    return network


def channel_network(**normalisation):
    """A network whose features are the channels: a linear head of their means (0…3) and their maxima (4…7).

    Class 0 is the mean of green, 1 that of green with its sign changed, 2 the maximum of green, 3 the mean of red.
    """
    kernel = np.zeros((8, 19))
    kernel[[1, 1, 5, 0], [0, 1, 2, 3]] = 1, -1, 1, 1
    return network_of(keras.layers.Rescaling(1.0), kernel, **normalisation)


def crops_of(count, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, SIZE, SIZE, 4), np.uint8)


def explain(crops, labels=None, network=None, **options):
    return explain_cells(
        network or channel_network(), crops, np.repeat(BRIGHTNESS[None], len(crops), 0), labels, **options
    )


def smooth(plane):
    return cv2.GaussianBlur(plane.astype(np.float32), (0, 0), SIZE / 24)


def test_each_pixel_of_a_mean_adds_its_own_share():
    crops = crops_of(2)
    maps = explain(crops, [0, 1])
    assert maps.shape == (2, 2, SIZE, SIZE) and maps.dtype == np.float32
    np.testing.assert_allclose(maps[0, 0], smooth(crops[0, ..., 1] / SIZE**2), rtol=1e-4)
    np.testing.assert_allclose(maps[:, 1], -maps[:, 0])


def test_all_of_a_maximum_is_due_to_the_brightest_pixel():
    crops = np.minimum(crops_of(1), 200)
    crops[0, 20, 5, 1] = 255
    [[found]] = explain(crops, [2])
    assert np.unravel_index(found.argmax(), found.shape) == (20, 5)
    assert found.sum() == pytest.approx(255, rel=1e-3)
    assert found[14:27, :12].sum() == pytest.approx(255, rel=1e-2)


def test_what_another_channel_tells_is_on_no_map():
    assert not explain(crops_of(1), [3]).any()


def test_the_map_lies_in_the_quadrant_that_the_network_looks_at():
    given = keras.Input((SIZE, SIZE, 4))
    seen = keras.layers.Cropping2D(((0, SIZE // 2), (SIZE // 2, 0)))(given)  # above, on the right
    coarse = keras.layers.AveragePooling2D(8)(keras.layers.ReLU(6.0)(seen / 64))
    [[found]] = explain(crops_of(1), [7], network_of(keras.Model(given, coarse), np.ones((8, 19))))
    assert found[: SIZE // 2, SIZE // 2 :].sum() > 0.9 * found.sum() > 0  # all but what is smoothed over the edge


def test_a_maps_sum_is_what_the_protein_adds_to_the_logit():
    """Of a network of squares, x² of green and of red: the slope at the cell itself would say twice as much."""
    given = keras.Input((SIZE, SIZE, 4))
    kernel = np.zeros((8, 19))
    kernel[:2, 4] = 1
    crops = crops_of(2)
    squares = crops[..., 1].astype(float) ** 2 / SIZE**2
    found = explain(crops, [4], network_of(keras.Model(given, given * given), kernel))
    np.testing.assert_allclose(found[1, 0], smooth(squares[1]), rtol=1e-4)


def test_what_the_normalisation_does_to_green_is_part_of_what_is_explained():
    """Green stretched from 0…51 to 0…255: five times the mean; no more light than white for what is brighter."""
    crops, percentiles = crops_of(1), BRIGHTNESS[None].copy()
    percentiles[0, 1, 3] = 51
    crops[..., 1] = 20
    network = channel_network(protein="percentiles")
    np.testing.assert_allclose(explain_cells(network, crops, percentiles, [0]), 5 * 20 / SIZE**2, rtol=1e-5)
    crops[..., 1] = 102  # white from the middle of the path
    np.testing.assert_allclose(explain_cells(network, crops, percentiles, [0]), 255 / SIZE**2, rtol=1e-5)


def test_a_real_backbone_is_explained_where_the_cell_is():
    keras.utils.set_random_seed(0)
    network = network_of(model.build_backbone("lite0", SIZE, "none")[0])
    crops = crops_of(3)
    crops[:, :9] = 0
    maps = explain(crops, [5], network)
    assert maps[:, :, 9:].any((1, 2, 3)).all() and not maps[:, :, :3].any()


def test_the_batch_does_not_matter_and_all_classes_are_explained_unless_some_are_named():
    crops = crops_of(5)
    maps = explain(crops)
    assert maps.shape == (5, 19, SIZE, SIZE)
    np.testing.assert_allclose(explain(crops, [2, 0], batch_size=2), maps[:, [2, 0]], rtol=1e-5)


def test_no_cells_or_no_classes_give_no_maps():
    assert explain(crops_of(0), [3, 4]).shape == (0, 2, SIZE, SIZE)
    assert explain(crops_of(2), []).shape == (2, 0, SIZE, SIZE)


def test_unknown_classes_and_missing_percentiles_are_named():
    with pytest.raises(ValueError, match=r"labels are \[0, 19\]; expected some of 0…18"):
        explain(crops_of(1), [0, 19])
    with pytest.raises(ValueError, match="percentiles of 1 cells for 2 crops"):
        explain_cells(channel_network(), crops_of(2), BRIGHTNESS[None], [0])


def test_the_simulator_tells_the_structures_of_its_cells_without_drawing_otherwise():
    structures = {}
    plain, told = (draw_field(np.random.default_rng(3), 256, 0.32, [0, 13], structures=s) for s in (None, structures))
    np.testing.assert_array_equal(plain.image, told.image)
    np.testing.assert_array_equal(plain.masks, told.masks)
    assert set(structures) == {(cell + 1, label) for cell, label in np.argwhere(plain.shows)}
    for (cell, _), (window, light) in structures.items():
        own = plain.masks[window] == cell
        assert light.shape == own.shape and own.sum() == (plain.masks == cell).sum()
        assert light[own].sum() > 0.8 * light.sum()  # cells overlap their neighbours but a little


def test_the_simulator_tells_of_no_structure_that_a_field_does_not_show():
    structures = {}
    draw_field(np.random.default_rng(3), 256, 0.32, [18], structures=structures)
    assert structures == {}


def test_a_sheet_shows_each_cells_most_probable_classes_first():
    crops, scores = crops_of(2), np.zeros((2, 19))
    scores[0, [2, 0, 1]] = 0.9, 0.5, 0.1
    scores[1] = np.nan
    own = [0, 1, 2], scores, [4, 7], [20.0, 20.0], "field"
    figure = plots.explanations(crops, explain(crops, [0, 1, 2]), *own, most=2)
    titles = [axis.get_title() for axis in figure.axes]
    assert titles[:8:4] == ["cell 4", "cell 7"]
    assert titles[1:4] == ["protein channel", "nucleoli 0.90", "nucleoplasm 0.50"]
    assert titles[5:8] == ["protein channel", "nucleoplasm", "nuclear membrane"]
    assert "adds to the class's logit" in figure.axes[8].get_xlabel()
    empty = plots.explanations(crops[:0], np.zeros((0, 0, SIZE, SIZE)), [], scores[:0], [], [], "field")
    assert "no cells or classes" in empty.texts[0].get_text()


def test_a_map_is_laid_over_the_protein_as_strongly_as_it_is_far_from_0():
    maps = np.zeros((1, 1, SIZE, SIZE))
    maps[0, 0, 4:12, 4:12], maps[0, 0, 20:28, 4:12] = 1, -0.2
    figure = plots.explanations(crops_of(1), maps, [0], np.ones((1, 19)), [1], [20.0], "field")
    alpha = figure.axes[2].images[1].get_alpha()  # laid over the protein, which shines through
    assert 1 > alpha[8, 8] > 2 * alpha[24, 8] > 0 == alpha[15, 25]
