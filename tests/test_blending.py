"""From scores to confidences: what each named choice does, and what no step may do."""

import dataclasses
import itertools

import numpy as np
import pandas as pd
import pytest

from hpa_utils import masks
from hpa_utils.inference import CELL_COLUMNS, FIELD_COLUMNS, BlendConfig, Calibration, blend
from hpa_utils.inference.blending import CHOICES
from hpa_utils.scoring import mean_average_precision

NEGATIVE = 18
PLAIN = BlendConfig(field="none", negative="predicted", others="kept", edge="none", outliers="none", calibration="none")


def scores_of(own, of_field, image_ids=None, cell_ids=None):
    """Predictions of cells whose 19 scores are the rows of `own` and `of_field`."""
    own, of_field = np.atleast_2d(own), np.atleast_2d(of_field)
    table = pd.DataFrame(np.c_[own, of_field].astype(np.float32), columns=CELL_COLUMNS + FIELD_COLUMNS)
    table.insert(0, "image_id", ["a"] * len(own) if image_ids is None else image_ids)
    table.insert(1, "cell_id", range(1, len(own) + 1) if cell_ids is None else cell_ids)
    return table


def one_cell(scores, fill=0.1):
    """19 scores: those given by class, `fill` for the others."""
    row = np.full(19, fill)
    row[list(scores)] = list(scores.values())
    return row


def measures(predictions, **columns):
    table = predictions[["image_id", "cell_id"]].assign(area=100, nucleus_area=20, edge_fraction=0.0)
    return table.assign(**columns)


def random_run(fields=5, cells=7, seed=0):
    rng = np.random.default_rng(seed)
    n = fields * cells
    image_ids = np.repeat([f"field-{k}" for k in range(fields)], cells)
    predictions = scores_of(rng.uniform(0.001, 0.999, (n, 19)), rng.uniform(0.001, 0.999, (n, 19)), image_ids)
    predictions["cell_id"] = np.tile(np.arange(1, cells + 1), fields)
    edge = np.where(rng.random(n) < 0.3, rng.random(n) / 2, 0)
    table = measures(
        predictions, edge_fraction=edge, area=rng.integers(20, 2000, n), nucleus_area=rng.integers(0, 3, n)
    )
    scale, shift = rng.uniform(0.5, 2, 19), rng.normal(size=19)
    return predictions, table, Calibration(1.3, 0.8, scale, shift, scale[::-1], -shift, edge_decay=2.0)


def test_by_default_a_confidence_is_the_product_of_cell_and_field_and_negative_the_cells_own():
    own = np.linspace(0.1, 0.9, 19)
    confidences = blend(scores_of(own, np.full(19, 0.5)))
    np.testing.assert_allclose(confidences[0, :NEGATIVE], own[:NEGATIVE] / 2, rtol=1e-6)
    assert confidences[0, NEGATIVE] == np.float32(0.9)


def test_without_any_step_confidences_are_the_cells_scores():
    own = np.linspace(0.05, 0.95, 19)
    confidences = blend(scores_of(own, np.full(19, 0.5)), None, PLAIN)
    assert confidences.dtype == np.float32 and confidences.shape == (1, 19)
    np.testing.assert_array_equal(confidences, own[None].astype(np.float32))


@pytest.mark.parametrize(
    ("choice", "expected"),
    [({"field": "product"}, 0.1), ({"field": "weighted"}, 0.29), ({"field": "sqrt_product"}, np.sqrt(0.1))]
    + [({"field": "weighted", "cell_weight": 0.5}, 0.35)],
)
def test_the_fields_score_is_mixed_into_all_classes_but_negative(choice, expected):
    table = scores_of(np.full(19, 0.2), np.full(19, 0.5))
    confidences = blend(table, None, dataclasses.replace(PLAIN, **choice))[0]
    np.testing.assert_allclose(confidences[:NEGATIVE], expected, rtol=1e-6)
    assert confidences[NEGATIVE] == np.float32(0.2)


@pytest.mark.parametrize(("own", "of_field", "expected"), [(0.2, 0.7, 0.7), (0.8, 0.7, 0.8)])
def test_negative_may_take_the_larger_of_cell_and_field(own, of_field, expected):
    table = scores_of(one_cell({NEGATIVE: own}), one_cell({NEGATIVE: of_field}))
    confidences = blend(table, None, dataclasses.replace(PLAIN, negative_field="larger"))[0]
    assert confidences[NEGATIVE] == np.float32(expected) and confidences[0] == np.float32(0.1)


@pytest.mark.parametrize(
    ("policy", "expected"),
    [("predicted", 0.3), ("one_minus_max", 0.4), ("none_of_others", 0.5 * 0.4 * 0.9**16)],
)
def test_negative_is_predicted_or_derived_from_the_other_classes(policy, expected):
    table = scores_of(one_cell({2: 0.5, 7: 0.6, NEGATIVE: 0.3}), np.full(19, 0.5))
    confidences = blend(table, None, dataclasses.replace(PLAIN, negative=policy))[0]
    assert confidences[NEGATIVE] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_array_equal(confidences[[2, 7]], np.float32([0.5, 0.6]))


def test_negative_is_derived_before_the_field_is_mixed_in():
    table = scores_of(one_cell({2: 0.6}), np.full(19, 0.5))
    confidences = blend(table, None, BlendConfig(negative="one_minus_max", field="product"))[0]
    assert confidences[NEGATIVE] == pytest.approx(0.4, rel=1e-6) and confidences[2] == pytest.approx(0.3, rel=1e-6)


def test_the_others_are_multiplied_by_what_is_left_of_negative():
    table = scores_of(one_cell({2: 0.6, NEGATIVE: 0.25}), np.full(19, 0.5))
    confidences = blend(table, None, dataclasses.replace(PLAIN, others="times_not_negative"))[0]
    assert confidences[2] == pytest.approx(0.45, rel=1e-6) and confidences[NEGATIVE] == np.float32(0.25)


def test_a_cell_at_the_border_is_lowered_by_the_share_of_its_outline_there():
    table = scores_of(np.full((3, 19), 0.8), np.full((3, 19), 0.5))
    cells = measures(table, edge_fraction=[0.0, 0.25, 0.5]).sample(frac=1, random_state=0)
    for edge, calibration, decay in (
        ("fixed", Calibration(edge_decay=3.0), 2.0),
        ("fitted", Calibration(edge_decay=3.0), 3.0),
        ("fitted", Calibration(), 2.0),
        ("fitted", None, 2.0),
    ):
        config = dataclasses.replace(PLAIN, edge=edge, edge_decay=2.0)
        expected = 0.8 * np.exp(-decay * np.array([0, 0.25, 0.5]))
        np.testing.assert_allclose(blend(table, cells, config, calibration)[:, 4], expected, rtol=1e-6)


def test_outlying_cells_are_lowered_beside_the_median_of_their_field():
    table = scores_of(np.full((7, 19), 0.8), np.full((7, 19), 0.5), list("aaaaabb"), [1, 2, 3, 4, 5, 1, 2])
    cells = measures(table, area=[100, 110, 24, 90, 450, 1, 999], nucleus_area=[9, 0, 9, 9, 9, 9, 9])
    lowered = {}
    for choice in CHOICES["outliers"]:
        config = dataclasses.replace(PLAIN, outliers=choice, outlier_factor=0.5, outlier_size=4.0)
        values = blend(table, cells, config)
        assert set(np.unique(values)) <= {np.float32(0.4), np.float32(0.8)}
        lowered[choice] = np.flatnonzero(values[:, 0] == np.float32(0.4)).tolist()
    # field b has too few cells to say what is usual
    assert lowered == {"none": [], "size": [2, 4], "no_nucleus": [1], "both": [1, 2, 4]}


def test_calibrated_scores_enter_all_later_steps():
    table = scores_of(np.full(19, 0.5), np.full(19, 0.5))
    calibration = Calibration(cell_shift=np.full(19, np.log(3)), field_shift=np.full(19, -np.log(3)))
    config = BlendConfig(calibration="platt", negative="one_minus_max", field="product")
    confidences = blend(table, None, config, calibration)[0]
    np.testing.assert_allclose(confidences[:NEGATIVE], 0.75 * 0.25, rtol=1e-6)
    assert confidences[NEGATIVE] == pytest.approx(0.25, rel=1e-6)


def test_a_calibration_is_not_applied_unless_it_is_chosen():
    table, cells, calibration = random_run()
    np.testing.assert_array_equal(blend(table, cells, PLAIN, calibration), blend(table, cells, PLAIN))


@pytest.mark.parametrize("calibration", CHOICES["calibration"])
@pytest.mark.parametrize("negative", CHOICES["negative"])
def test_any_part_of_whole_fields_gets_what_it_gets_among_all(calibration, negative):
    table, cells, fitted = random_run()
    for mixed, others in itertools.product(CHOICES["field"], CHOICES["others"]):
        config = BlendConfig(calibration, negative, mixed, 0.7, "larger", others, "fitted", outliers="both")
        whole = blend(table, cells, config, fitted)
        assert whole.dtype == np.float32 and (whole > 0).all() and (whole <= 1).all()
        for image_ids in (["field-3"], ["field-4", "field-1"]):
            rows = table["image_id"].isin(image_ids).to_numpy()
            part = blend(table[rows], cells.sample(frac=1, random_state=1), config, fitted)
            np.testing.assert_array_equal(part, whole[rows])


def test_no_choice_makes_cells_equal_that_were_not():
    table, cells, fitted = random_run(fields=20, cells=20)
    before = blend(table, cells, PLAIN)
    choices = [[*CHOICES[name]] for name in ("calibration", "negative", "field", "others")]
    for calibration, negative, mixed, others in itertools.product(*choices):
        config = BlendConfig(calibration, negative, mixed, others=others, edge="fitted", outliers="both")
        values = blend(table, cells, config, fitted)
        for label in range(18):  # random scores, of which float32 holds all but a few
            assert len(np.unique(values[:, label])) >= len(np.unique(before[:, label])) - 2


def test_products_too_small_for_float32_keep_their_order_and_do_not_become_zero():
    small = 10.0 ** -np.arange(1, 38, 4)
    table = scores_of(np.repeat(small[:, None], 19, 1), np.repeat(small[:, None], 19, 1))
    for mixed in ("product", "sqrt_product"):
        values = blend(table, None, BlendConfig(field=mixed))
        assert (np.diff(values[:, 0]) < 0).all() and values.min() > 0
    np.testing.assert_allclose(blend(table, None, BlendConfig(field="product"))[:4, 0], small[:4] ** 2, rtol=1e-6)


def test_scores_of_exactly_zero_and_one_give_numbers_in_0_to_1():
    own = np.stack([np.zeros(19), np.ones(19), one_cell({3: 1.0}, 0.0)])
    table = scores_of(own, own)
    cells = measures(table, edge_fraction=[0.0, 1.0, 0.5])
    for calibration, negative, mixed in itertools.product(*(CHOICES[n] for n in ("calibration", "negative", "field"))):
        config = BlendConfig(calibration, negative, mixed, others="times_not_negative", edge="fitted", outliers="both")
        values = blend(table, cells, config, Calibration())
        assert ((values >= 0) & (values <= 1)).all()


def detections_and_truth(confidences):
    """A detection a cell and class, cells one under the other in fields of 20 × 8 px, and a random truth."""
    rows = [np.eye(20, dtype=bool)[k][:, None].repeat(8, 1) for k in range(20)]
    counts = [masks.encode_counts(mask) for mask in rows]
    image_ids = np.repeat([f"field-{k}" for k in range(len(confidences) // 20)], 20)
    table = pd.DataFrame({"image_id": image_ids, "height": 20, "width": 8, "counts": counts * (len(image_ids) // 20)})
    table = table.loc[table.index.repeat(19)].reset_index(drop=True)
    table = table.assign(label=np.tile(np.arange(19), len(image_ids)), confidence=confidences.ravel())
    shown = np.random.default_rng(1).random(len(table)) < table["confidence"]
    return table, table[shown].drop(columns="confidence").reset_index(drop=True)


@pytest.mark.parametrize("monotone", [np.sqrt, np.square, lambda c: c / (2 - c), lambda c: np.log1p(9 * c) / 3])
def test_an_increasing_map_after_the_last_step_changes_no_average_precision(monotone):
    table, cells, fitted = random_run(fields=10, cells=20)
    confidences = blend(table, cells, BlendConfig("platt", "one_minus_max", edge="fitted"), fitted).astype(np.float64)
    detections, truth = detections_and_truth(confidences)
    before = mean_average_precision(truth, detections)
    mapped = mean_average_precision(truth, detections.assign(confidence=monotone(confidences).ravel()))
    assert mapped == before and 0.1 < before["mean_average_precision"] < 0.9


def test_the_root_of_the_product_orders_cells_as_the_product_does():
    table, _, _ = random_run()
    product, root = (blend(table, None, dataclasses.replace(PLAIN, field=f)) for f in ("product", "sqrt_product"))
    np.testing.assert_array_equal(np.argsort(product, axis=0), np.argsort(root, axis=0))


def test_a_cell_that_the_table_does_not_have_is_named():
    table = scores_of(np.full((2, 19), 0.5), np.full((2, 19), 0.5))
    config = BlendConfig(edge="fixed")
    with pytest.raises(ValueError, match="cell 2 of field a is predicted"):
        blend(table, measures(table).iloc[:1], config)
    with pytest.raises(ValueError, match="needs the cell table: edge_fraction"):
        blend(table, None, config)


def test_an_unknown_choice_is_an_error_that_names_it():
    with pytest.raises(ValueError, match=r"blending.field is 'mean'; expected one of none, product, weighted"):
        BlendConfig(field="mean")
    for name in CHOICES:
        with pytest.raises(ValueError, match=f"blending.{name} is 'isotonic'"):
            BlendConfig(**{name: "isotonic"})


@pytest.mark.parametrize(
    ("name", "value"), [("cell_weight", 1.5), ("edge_decay", -1), ("outlier_factor", 0), ("outlier_size", "4")]
)
def test_a_number_out_of_range_is_an_error_that_names_it(name, value):
    with pytest.raises(ValueError, match=f"blending.{name} is {value!r}; expected a number"):
        BlendConfig(**{name: value})
