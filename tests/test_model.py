import keras
import numpy as np
import pytest

from hpa_utils.labels import NEGATIVE
from hpa_utils.model import (
    AugmentationConfig,
    FieldNormalisation,
    ModelConfig,
    build_backbone,
    build_bag_model,
    cell_model,
    estimate_batch_norm,
    pool_fields,
    summary,
    unfreeze,
)

SIZE = 32


def bag_model(weights="none", augmentation=None, **options):
    keras.utils.set_random_seed(0)
    backbone, _ = build_backbone("lite0", SIZE, weights)
    model = build_bag_model(backbone, SIZE, ModelConfig(**options), augmentation)
    if model.get_layer("pooling").pooling == "attention":  # its weights are zero at first: all cells alike
        layer = model.get_layer("attention_weight")
        layer.set_weights([np.random.default_rng(0).normal(size=weight.shape) for weight in layer.weights])
    return model


def bags(number=2, cells=3, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "cells": rng.integers(0, 256, (number, cells, SIZE, SIZE, 4), np.uint8),
        "percentiles": np.tile([0, 5, 100, 200], (number, 4, 1)).astype(np.float32),
        "valid": np.ones((number, cells), np.float32),
    }


def call(model, inputs, **options):
    return {name: np.asarray(value) for name, value in model(inputs, **options).items()}


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"backbone": "b9"}, "model.backbone is 'b9'; expected one of lite0, b0"),
        ({"pooling": "median"}, "model.pooling is 'median'"),
        ({"negative": "max"}, "model.negative is 'max'"),
        ({"reference": "cell"}, "model.reference is 'cell'"),
        ({"protein": ""}, "model.protein is ''"),
        ({"batch_norm": "off"}, "model.batch_norm is 'off'"),
        ({"weights": ""}, "model.weights is empty"),
        ({"dropout": 1.0}, "model.dropout is 1.0"),
    ],
)
def test_a_wrong_choice_is_named_with_its_section(options, field):
    with pytest.raises(ValueError, match=field):
        ModelConfig(**options)


@pytest.mark.parametrize(
    ("reference", "protein", "expected"),
    [
        ("percentiles", "fixed", [127.5, 60, 127.5, 127.5]),
        ("percentiles", "percentiles", [127.5, 127.5, 127.5, 127.5]),
        ("fixed", "fixed", [60, 60, 60, 60]),
        ("fixed", "percentiles", [60, 127.5, 60, 60]),
    ],
)
def test_normalisation_stretches_what_it_is_told_to_and_keeps_the_mask(reference, protein, expected):
    percentiles = np.tile([10, 20, 80, 110], (1, 4, 1)).astype(np.float32)
    crops = np.full((1, 1, 2, 2, 4), 60, np.uint8)
    crops[0, 0, 0, 0] = 0  # masked out
    out = np.asarray(FieldNormalisation(reference, protein)(crops, percentiles))
    np.testing.assert_allclose(out[0, 0, 1, 1], expected)
    assert (out[0, 0, 0, 0] == 0).all()


def test_a_saved_bag_model_predicts_the_same_and_padding_changes_nothing(tmp_path):
    model, inputs = bag_model("imagenet", pooling="attention", negative="product", reference="fixed"), bags()
    inputs["valid"][1, 2] = 0
    before = call(model, inputs)
    assert before["cells"].shape == (2, 3, 19) and before["field"].shape == (2, 19)
    inputs["cells"][1, 2] = 0
    np.testing.assert_allclose(call(model, inputs)["field"], before["field"], rtol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(call(loaded, inputs)["field"], before["field"], rtol=1e-5)


def test_a_saved_model_on_a_backbone_of_keras_predicts_the_same(tmp_path):
    backbone, _ = build_backbone("b0", SIZE, "none")
    model, inputs = build_bag_model(backbone, SIZE), bags()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    np.testing.assert_allclose(call(loaded, inputs)["cells"], call(model, inputs)["cells"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("pooling", ["noisy_or", "attention"])
def test_cells_seen_one_by_one_are_pooled_to_what_their_bag_gives(pooling):
    model, inputs = bag_model("imagenet", pooling=pooling), bags()
    inputs["valid"][1, 2] = 0
    expected = call(model, inputs)["field"]
    cells = [(bag, cell) for bag, count in enumerate((3, 2)) for cell in range(count)]
    one_by_one = {
        "cells": np.stack([inputs["cells"][bag, cell] for bag, cell in cells])[:, None],
        "percentiles": np.stack([inputs["percentiles"][bag] for bag, _ in cells]),
        "valid": np.ones((5, 1), np.float32),
    }
    outputs = {name: value[:, 0] for name, value in call(cell_model(model), one_by_one).items()}
    assert set(outputs) == {"cells", "attention"} if pooling == "attention" else {"cells"}
    np.testing.assert_allclose(pool_fields(model, outputs, [3, 2]), expected, rtol=1e-4, atol=1e-4)


def test_cells_are_dropped_from_the_pooled_logits_in_training_alone():
    model, inputs = bag_model("imagenet", AugmentationConfig(cell_drop=0.99)), bags(cells=4)
    trained, used = call(model, inputs, training=True), call(model, inputs)
    for cells, field in zip(trained["cells"], trained["field"]):
        assert np.isclose(cells, field).all(axis=1).sum() == 1  # one cell is left
    np.testing.assert_allclose(used["field"][:, :NEGATIVE], used["cells"].mean(axis=1)[:, :NEGATIVE], rtol=1e-4)


def test_fields_with_and_without_cells_are_pooled_by_mean_and_minimum_unless_told_otherwise():
    logits = np.zeros((3, 19), np.float32)
    logits[:, 4], logits[:, NEGATIVE] = [1, 3, 5], [5, -2, -9]
    pooled = pool_fields(bag_model(), {"cells": logits}, [2, 0, 1])
    assert pooled[:, 4].tolist() == [2, 0, 5] and pooled[:, NEGATIVE].tolist() == [-2, 0, -9]


def test_heads_and_pooled_logits_are_float32_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = bag_model(pooling="attention")
    finally:
        keras.config.set_dtype_policy("float32")
    assert "float16" in str(model.get_layer("backbone").output.dtype)
    assert {value.dtype for value in call(model, bags(), training=True).values()} == {np.dtype("float32")}
    names = ("normalisation", "average_and_max", "head", "attention_weight", "regroup", "attention", "pooling")
    assert {model.get_layer(name).compute_dtype for name in names} == {"float32"}


def test_batch_norm_uses_the_batchs_statistics_only_where_it_is_trained():
    model = bag_model()
    backbone = model.get_layer("backbone")

    def moved():
        before = [np.asarray(backbone.get_layer(name).moving_mean) for name in ("block1a_bn", "top_bn")]
        model(bags(), training=True)
        after = [np.asarray(backbone.get_layer(name).moving_mean) for name in ("block1a_bn", "top_bn")]
        return [bool((a != b).any()) for a, b in zip(before, after)]

    unfreeze(backbone, 1.0)
    assert moved() == [False, False]
    unfreeze(backbone, 1 / 18, batch_norm="trained")
    assert moved() == [False, True]


def test_estimated_statistics_are_those_of_all_cells_and_of_no_padding():
    model = bag_model(reference="fixed")
    backbone = model.get_layer("backbone")
    first, second = bags(seed=1), bags(seed=2)
    first["cells"][:, 2], first["valid"][:, 2] = first["cells"][:, 0], 0  # a blank is filled with the first cell
    expected = np.concatenate([batch["cells"].reshape(-1, SIZE, SIZE, 4) for batch in (first, second)])
    first["cells"][:, 2] = 0
    stem = keras.Model(backbone.input, backbone.get_layer("stem_conv").output)
    maps = np.asarray(stem(expected.astype(np.float32)))
    unfreeze(backbone, 0.0)
    assert estimate_batch_norm(model, [first, second]) == 2
    norm = backbone.get_layer("stem_bn")
    np.testing.assert_allclose(norm.moving_mean, maps.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(norm.moving_variance, maps.var(axis=(0, 1, 2)), rtol=1e-3)
    assert not backbone.trainable_weights and norm.momentum == 0.99
    with pytest.raises(ValueError, match="no batch"):
        estimate_batch_norm(model, [])


def test_the_summary_of_a_tiny_net_is_counted_by_hand(capsys):
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 1, use_bias=False, name="stem_conv")(inputs)  # 16 weights, 8 · 8 · 4 inputs and outputs
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2)(x))  # 10 weights, 4 inputs
    found = summary(model, bags_per_batch=2, cells_per_bag=5, ema=True)
    assert found == {
        "parameters": 26,
        "trainable": 26,
        "weights": 104,
        "gradients": 104,
        "optimizer": 208,
        "ema": 104,
        "activations": 10 * 4 * (256 + 4 + 2 * 256),
        "total": 104 + 104 + 208 + 104 + 10 * 4 * 772,
    }
    assert "26 parameters, 26 of them trained" in capsys.readouterr().out
    model.get_layer("stem_conv").trainable = False  # backpropagation stops above it
    frozen = summary(model, 2, 5)
    assert frozen["optimizer"] == 80 and frozen["activations"] == 10 * 4 * (4 + 2 * 256)


def test_training_needs_more_memory_for_more_cells_and_for_an_unfrozen_backbone():
    model = bag_model()
    unfreeze(model.get_layer("backbone"), 0.0)
    head = summary(model, 4, 8)
    unfreeze(model.get_layer("backbone"), 1.0)
    deep, double = summary(model, 4, 8), summary(model, 8, 8)
    assert head["trainable"] == 2 * 1280 * 19 + 19 and head["parameters"] == deep["parameters"]
    assert deep["activations"] > 3 * head["activations"] and double["activations"] == 2 * deep["activations"]
