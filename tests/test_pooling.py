import keras
import numpy as np
import pytest

from hpa_utils.labels import NEGATIVE
from hpa_utils.model.pooling import POOLINGS, FieldPooling, FillPadding

PADDING = 1e3  # what comes of padding may be anything


def pool(pooling, cells, negative="min", scores=None, padding=1):
    """Pooled logits (19,) of one bag; `cells` are the logits of every class, one number a cell."""
    logits = np.full((1, len(cells) + padding, 19), PADDING, np.float32)
    logits[0, : len(cells)] = np.array(cells)[:, None]
    valid = np.array([[1.0] * len(cells) + [0.0] * padding], np.float32)
    if pooling == "attention":
        given = np.full((1, len(cells) + padding, 18), PADDING, np.float32)
        given[0, : len(cells)] = np.array(scores or [0.0] * len(cells))[:, None]
        scores = given
    return np.asarray(FieldPooling(pooling, negative)(logits, valid, scores))[0]


@pytest.mark.parametrize(
    ("pooling", "expected"),
    [
        ("mean", 1.0),  # of 0 and 2
        ("max", 2.0),
        ("log_sum_exp", np.log((1 + np.exp(2)) / 2)),
        ("noisy_or", np.log(2 * (1 + np.exp(2)) - 1)),  # odds 1/∏(1 − p) − 1, and 1 − p is 1/2 and 1/(1 + e²)
        ("attention", 1.0),  # equal scores
    ],
)
def test_two_cells_are_pooled_by_hand_and_padding_is_ignored(pooling, expected):
    np.testing.assert_allclose(pool(pooling, [0.0, 2.0])[:NEGATIVE], expected, rtol=1e-6)
    np.testing.assert_allclose(pool(pooling, [2.0, 0.0], padding=3)[:NEGATIVE], expected, rtol=1e-6)


def test_attention_weighs_cells_by_the_softmax_of_their_scores():
    pooled = pool("attention", [0.0, 2.0], scores=[np.log(3.0), 0.0])  # weights 3/4 and 1/4
    np.testing.assert_allclose(pooled[:NEGATIVE], 0.5, rtol=1e-6)


@pytest.mark.parametrize("negative", ["min", "product", "none"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_bag_of_one_cell_has_that_cells_logits(pooling, negative):
    for logit in (-40.0, -3.0, 0.0, 0.5, 50.0):
        np.testing.assert_allclose(pool(pooling, [logit], negative), logit, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("pooling", sorted(set(POOLINGS) - {"noisy_or"}))
def test_alike_cells_are_pooled_to_what_each_is_whatever_their_number(pooling):
    np.testing.assert_allclose(pool(pooling, [1.5] * 7), 1.5, rtol=1e-5)


def test_negative_is_the_lowest_logit_or_that_of_the_product_of_probabilities():
    assert pool("max", [5.0, -2.0])[NEGATIVE] == -2
    assert pool("max", [5.0, -2.0], "none")[NEGATIVE] == -2
    product = 0.5 / (1 + np.exp(-2.0))  # probabilities of the logits 0 and 2
    expected = np.log(product / (1 - product))
    np.testing.assert_allclose(pool("mean", [0.0, 2.0], "product")[NEGATIVE], expected, rtol=1e-5)


@pytest.mark.parametrize("negative", ["min", "product", "none"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooled_logits_are_finite_for_extreme_cells_half_precision_and_nothing_but_padding(pooling, negative):
    assert np.isfinite(pool(pooling, [-9e3, 9e3], negative)).all()
    assert (pool(pooling, [], negative) == 0).all()
    logits = np.full((1, 500, 19), 300, np.float16)  # their sum is beyond float16
    scores = np.zeros((1, 500, 18), np.float16) if pooling == "attention" else None
    pooled = FieldPooling(pooling, negative)(logits, np.ones((1, 500), np.float16), scores)
    assert "float32" in str(pooled.dtype) and np.isfinite(np.asarray(pooled)).all()


def step(pooling, negative, features):
    """How a step of the field's loss changes each class's weight in a head over one feature (1, K, 1)."""
    cells, valid = keras.Input((None, 1)), keras.Input((None,))
    scores = [keras.layers.Dense(18)(cells)] if pooling == "attention" else []
    head = keras.layers.Dense(19, use_bias=False, kernel_initializer="ones")
    model = keras.Model([cells, valid], FieldPooling(pooling, negative)(head(cells), valid, *scores))
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True), run_eagerly=True)
    features = np.array(features, np.float32)[None, :, None]
    model.train_on_batch([features, np.ones((1, features.shape[1]), np.float32)], np.zeros((1, 19), np.float32))
    return np.asarray(head.kernel)[0] - 1


@pytest.mark.parametrize(("negative", "learns"), [("min", True), ("product", True), ("none", False)])
def test_class_18_learns_from_the_fields_loss_unless_left_out(negative, learns):
    change = step("mean", negative, [1.0, 2.0])
    assert (change[:NEGATIVE] < 0).all() and (change[NEGATIVE] != 0) == learns


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_step_on_extreme_cells_leaves_finite_weights(pooling):
    for features in ([-9e3, 9e3], [-9e3, -9e3], [-70.0, 60.0], [0.0, 0.0]):
        assert np.isfinite(step(pooling, "product", features)).all()


def test_unknown_poolings_are_named():
    with pytest.raises(ValueError, match="pooling is 'median'"):
        FieldPooling("median")
    with pytest.raises(ValueError, match="negative is 'max'"):
        FieldPooling("mean", "max")


def test_padding_is_filled_with_the_bags_cells_in_turn():
    crops = np.arange(8, dtype=np.float32).reshape(2, 4, 1, 1, 1)
    valid = np.array([[1, 1, 0, 0], [0, 1, 0, 0]], np.float32)
    filled = np.asarray(FillPadding()(crops, valid))[..., 0, 0, 0]
    assert filled.tolist() == [[0, 1, 0, 1], [5, 5, 5, 5]]
