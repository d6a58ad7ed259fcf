"""What is fitted out of fold: known answers recovered, nothing changed without evidence, files that name themselves."""

import json

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit, logit

from hpa_utils.inference import (
    CELL_COLUMNS,
    FIELD_COLUMNS,
    Calibration,
    fit_calibration,
    mean_calibration,
    read_calibration,
    write_calibration,
)


def synthetic(n_fields=800, per_field=4, temperature=1.0, shift=0.0, decay=0.0, seed=0):
    """Scores of fields and cells whose logits are `temperature` times too large, or lack `shift`.

    Returns scores, cells (half of them cut by the border), fields with labels, and labels of the cells.
    """
    rng = np.random.default_rng(seed)
    n = n_fields * per_field
    of_field, of_cell = rng.normal(-1, 2, (n_fields, 19)), rng.normal(-1, 2, (n, 19))
    image_ids = [f"field-{k:04d}" for k in range(n_fields)]
    edge = np.where(rng.random(n) < 0.5, rng.uniform(0.1, 0.6, n), 0).astype(np.float32)
    labels = (rng.random((n_fields, 19)) < expit(of_field + shift)).astype(np.int8)
    own_labels = (rng.random((n, 19)) < expit(of_cell + shift) * np.exp(-decay * edge)[:, None]).astype(np.int8)
    keys = {"image_id": np.repeat(image_ids, per_field), "cell_id": np.tile(np.arange(1, per_field + 1), n_fields)}
    values = np.c_[expit(temperature * of_cell), np.repeat(expit(temperature * of_field), per_field, 0)]
    scores = pd.concat([pd.DataFrame(keys), pd.DataFrame(values, columns=CELL_COLUMNS + FIELD_COLUMNS)], axis=1)
    cells = pd.DataFrame({**keys, "edge_fraction": edge})
    return scores, cells, pd.DataFrame({"image_id": image_ids, "labels": list(labels)}), own_labels


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
def test_a_known_temperature_is_recovered(temperature):
    scores, cells, fields, labels = synthetic(temperature=temperature)
    found = fit_calibration(scores, cells.sample(frac=1, random_state=0), fields, labels)
    assert found.cell_temperature == pytest.approx(temperature, rel=0.05)
    assert found.field_temperature == pytest.approx(temperature, rel=0.05)
    np.testing.assert_allclose(found.cell_scale, 1 / temperature, rtol=0.3)
    assert (found.cells_from, found.n_fields) == ("cells", 800)


def test_a_known_scale_and_shift_of_each_class_are_recovered():
    shift = np.linspace(-1.5, 1.5, 19)
    scores, cells, fields, labels = synthetic(3000, 3, temperature=1.5, shift=shift)
    found = fit_calibration(scores, cells, fields, labels)
    for scale, moved in ((found.cell_scale, found.cell_shift), (found.field_scale, found.field_shift)):
        np.testing.assert_allclose(scale, 1 / 1.5, rtol=0.15)
        np.testing.assert_allclose(moved, shift, atol=0.2)


def test_labels_of_fields_alone_give_the_cells_one_temperature_and_no_shift():
    scores, cells, fields, _ = synthetic(200)
    for cell_labels in (None, np.full((len(scores), 19), -1)):
        found = fit_calibration(scores, cells, fields, cell_labels)
        assert found.cells_from == "fields" and set(found.cell_shift) == {0.0}
        np.testing.assert_allclose(found.cell_scale, 1 / found.cell_temperature)
        assert len(set(found.field_shift)) == 19


def test_a_class_that_nobody_graded_keeps_the_shared_temperature():
    scores, cells, fields, labels = synthetic(300, temperature=2.0)
    labels[:, 5:] = -1
    found = fit_calibration(scores, cells, fields, labels)
    np.testing.assert_allclose(found.cell_scale[5:], 1 / found.cell_temperature)
    assert set(found.cell_shift[5:]) == {0.0} and 0.0 not in found.cell_shift[:5]


def test_two_fields_hardly_change_anything():
    scores, cells, fields, _ = synthetic(2)
    found = fit_calibration(scores, cells, fields)
    assert np.abs(found.field_shift).max() < 1.5 and 0.3 < min(found.field_scale) and max(found.field_scale) < 3


def test_a_field_with_many_cells_weighs_as_much_as_one_with_few():
    few, _, fields, _ = synthetic(60, 2)
    early = few[few["image_id"] < "field-0030"]
    many = pd.concat([few, *(early.assign(cell_id=early["cell_id"] + 2 * k) for k in range(1, 5))], ignore_index=True)
    table = many[["image_id", "cell_id"]].assign(edge_fraction=0.0)
    first, second = fit_calibration(few, table, fields), fit_calibration(many, table, fields)
    assert second.cell_temperature == pytest.approx(first.cell_temperature, rel=1e-3)
    assert second.n_fields == first.n_fields == 60


@pytest.mark.parametrize("decay", [0.0, 2.0])
def test_a_known_edge_decay_is_recovered(decay):
    scores, cells, fields, labels = synthetic(1500, decay=decay)
    assert fit_calibration(scores, cells, fields, labels).edge_decay == pytest.approx(decay, abs=0.25)


def test_cells_at_the_border_that_show_more_than_they_score_are_not_raised():
    scores, cells, fields, labels = synthetic(800, decay=-0.5)
    assert fit_calibration(scores, cells, fields, labels).edge_decay == pytest.approx(0, abs=1e-3)


def test_without_cells_at_the_border_no_decay_is_fitted():
    scores, cells, fields, labels = synthetic(50)
    assert fit_calibration(scores, cells.assign(edge_fraction=0.0), fields, labels).edge_decay is None


def test_without_scores_or_labels_nothing_is_changed():
    scores, cells, fields, _ = synthetic(5)
    unknown = fields.assign(labels=[np.full(19, -1, np.int8)] * 5)
    assert fit_calibration(scores.iloc[:0], cells, fields) == fit_calibration(scores, cells, unknown) == Calibration()
    values = scores[CELL_COLUMNS].to_numpy()
    for method in ("temperature", "platt"):
        np.testing.assert_allclose(Calibration().of_cells(values, method), values, rtol=1e-12)


def test_maps_are_those_of_their_name_and_increasing():
    found = Calibration(2.0, 0.5, np.full(19, 3.0), np.arange(19.0), field_shift=-np.arange(19.0))
    values = np.linspace(0.01, 0.99, 50)[:, None].repeat(19, 1)
    np.testing.assert_allclose(found.of_cells(values, "temperature"), expit(logit(values) / 2))
    np.testing.assert_allclose(found.of_cells(values, "platt"), expit(3 * logit(values) + np.arange(19)))
    np.testing.assert_allclose(found.of_fields(values, "temperature"), expit(logit(values) * 2))
    np.testing.assert_allclose(found.of_fields(values, "platt"), expit(logit(values) - np.arange(19)))
    assert (np.diff(found.of_cells(values, "platt"), axis=0) > 0).all()


def test_a_model_folder_keeps_its_calibration(tmp_path, capsys):
    scores, cells, fields, labels = synthetic(60)
    found = fit_calibration(scores, cells, fields, labels)
    write_calibration(tmp_path, found)
    assert [path.name for path in tmp_path.iterdir()] == ["calibration.json"]
    assert read_calibration(tmp_path) == found and capsys.readouterr().out == ""


def test_a_model_folder_without_calibration_changes_nothing_and_says_so(tmp_path, capsys):
    assert read_calibration(tmp_path) == Calibration()
    assert "calibration.json does not exist: scores are taken as they are" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"cell_scale": [0.0] * 19}, "calibration.cell_scale is .*; expected 19 numbers above 0"),
        ({"field_shift": [0.0] * 18}, "calibration.field_shift is .*; expected 19 numbers"),
        ({"cell_temperature": -1}, "calibration.cell_temperature is -1; expected a number above 0"),
        ({"edge_decay": -0.1}, "calibration.edge_decay is -0.1; expected 0 or more"),
        ({"isotonic": 1}, "isotonic"),
    ],
)
def test_a_calibration_file_that_was_spoilt_is_named(tmp_path, change, message):
    write_calibration(tmp_path, Calibration())
    path = tmp_path / "calibration.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=rf"calibration\.json is no calibration as 04_train writes it: .*{message}"):
        read_calibration(tmp_path)


def test_several_models_have_the_mean_of_their_parameters():
    first = Calibration(1.0, 4.0, cell_shift=np.zeros(19), edge_decay=1.0, cells_from="cells", n_fields=10)
    second = Calibration(4.0, 1.0, cell_shift=np.ones(19), edge_decay=3.0, cells_from="cells", n_fields=20)
    mean = mean_calibration([first, second])
    assert (mean.cell_temperature, mean.field_temperature) == pytest.approx((2.0, 2.0))
    assert mean.cell_shift == (0.5,) * 19 and mean.edge_decay == 2.0
    assert mean_calibration([first, Calibration()]).edge_decay == 1.0
    assert mean_calibration([Calibration()]).edge_decay is mean_calibration([Calibration()] * 2).edge_decay is None
