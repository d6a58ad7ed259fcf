"""Training on tiny bags: two phases, resuming, moving averages, early stopping, several devices, every choice."""

import dataclasses
import json
import os
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from hpa_utils import tables
from hpa_utils.crops import Bags, encode_crop
from hpa_utils.crops.bags import BAGS
from hpa_utils.model import AugmentationConfig, ModelConfig, efficientnet
from hpa_utils.training import (
    Recipe,
    TrainConfig,
    configure_recipe,
    first_labels,
    fit_bags,
    fit_round,
    fit_rounds,
    predict_out_of_fold,
)
from hpa_utils.training.losses import LabelLoss
from hpa_utils.training.progress import Saves
from hpa_utils.training.rates import try_rates
from hpa_utils.training.targets import make_targets, rare_weights
from hpa_utils.training.watching import mean_ap, watch

SIZE = 32
SHALLOW = (1, 3, 1, 1, 8), (1, 3, 2, 2, 8)  # stages of a network that is built and traced in no time


@pytest.fixture(autouse=True)
def shallow(monkeypatch):
    monkeypatch.setattr(efficientnet, "LITE0_STAGES", SHALLOW)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Bags of eight fields of three cells: even ones labelled 0 and bright in green, odd ones labelled 18 and dark."""
    folder, rng, rows = tmp_path_factory.mktemp("bags"), np.random.default_rng(0), []
    for number in range(8):
        label = 18 if number % 2 else 0
        crops = rng.integers(0, 30, (3, SIZE, SIZE, 4), np.uint8)
        crops[..., 1] += np.uint8(0 if number % 2 else 150)
        rows.append(
            {
                "image_id": f"field-{number}",
                "split": "train",
                "labels": (np.arange(19) == label).astype(np.int8),
                "percentiles": np.tile([0, 10, 100, 200], 4).astype(np.float32),
                "cell_ids": [1, 2, 3],
                "crops": [encode_crop(crop) for crop in crops],
                "scales": [0.3] * 3,
                "edge_fractions": [0.0] * 3,
            }
        )
    with tables.part_writer(folder / "part-train-0000.parquet", BAGS, "key", plain=("crops",)) as writer:
        for row in rows:
            writer.write_table(pa.Table.from_pylist([row], schema=BAGS))
        writer.add_key_value_metadata({"cells_fingerprint": ""})
    return folder


@pytest.fixture(scope="module")
def bags(folder):
    return Bags(folder, "train")


def recipe(**training):
    model = ModelConfig(**{"weights": "none", **training.pop("model", {})})
    augmentation = AugmentationConfig(**training.pop("augmentation", {}))
    given = {"cells_per_bag": 2, "bags_per_batch": 2, "head_epochs": 1, "epochs": 2, "rate": 1e-3, **training}
    return Recipe(model, augmentation, TrainConfig(**given))


def fit(bags, folder, made, **options):
    return fit_bags(bags, np.arange(6), np.array([6, 7]), SIZE, made, folder, **options)


def weights_of(model):
    return np.concatenate([np.ravel(value) for value in model.get_weights()])


def test_history_has_a_row_an_epoch_with_what_was_learned_and_watched(bags, tmp_path):
    model, history, loaded = fit(bags, tmp_path, recipe(ema=0.5))
    assert history["phase"].tolist() == ["head", "deep", "deep"] and history["epoch"].tolist() == [1, 2, 3]
    for name in ("loss", "cells_loss", "field_loss", "val_loss", "val_field_ap", "rate", "seconds"):
        assert np.isfinite(history[name]).all(), name
    assert loaded == {"name": "none", "sha256": ""} and model.name == "bag"
    assert list((tmp_path / "tensorboard" / "run").glob("events.*"))
    again, same, _ = fit(bags, tmp_path, recipe(ema=0.5))  # a finished run is taken as it is
    assert (weights_of(again) == weights_of(model)).all()
    pd.testing.assert_frame_equal(same, history)


class Cut(Exception):
    pass


def test_a_run_cut_at_any_step_ends_as_one_that_was_not(bags, tmp_path, monkeypatch):
    made = recipe(save_minutes=0, ema=0.9, epochs=1)
    whole, history, _ = fit(bags, tmp_path / "whole", made)
    write = Saves.write
    for writes in (2, 5):  # in the head's epoch, and in the deep one's
        done = []

        def write_and_cut(self, model, progress, done=done, writes=writes):
            write(self, model, progress)
            done.append(progress)
            if len(done) == writes:
                raise Cut

        with monkeypatch.context() as patch:
            patch.setattr(Saves, "write", write_and_cut)
            with pytest.raises(Cut):
                fit(bags, tmp_path / f"cut-{writes}", made)
        resumed, continued, _ = fit(bags, tmp_path / f"cut-{writes}", made)
        assert (weights_of(resumed) == weights_of(whole)).all()
        losses = ["loss", "cells_loss", "field_loss", "val_loss"]
        np.testing.assert_allclose(continued[losses], history[losses], rtol=1e-6)


def test_a_state_of_another_recipe_is_not_gone_on_with(bags, tmp_path):
    made = recipe(epochs=0)
    fit(bags, tmp_path, made)
    state = json.loads((tmp_path / "state" / "run" / "state.json").read_text())
    _, history, _ = fit(bags, tmp_path, recipe(epochs=0, head_rate=1e-2))
    other = json.loads((tmp_path / "state" / "run" / "state.json").read_text())
    assert state["recipe"] != other["recipe"] and history["rate"].iloc[0] == pytest.approx(1e-4)


def test_early_stopping_ends_a_phase_with_its_best_weights(bags, tmp_path, capsys):
    _, history, _ = fit(bags, tmp_path, recipe(head_epochs=0, epochs=6, rate=0.0, patience=2))
    assert len(history) == 3  # a rate of 0 never betters the first epoch
    assert "no better score in 2 epochs" in capsys.readouterr().out


def test_without_validation_it_trains_and_watches_nothing(bags, tmp_path):
    _, history, _ = fit_bags(bags, np.array([0]), np.array([], int), SIZE, recipe(epochs=1), tmp_path)
    assert "val_loss" not in history and history["loss"].notna().all()
    with pytest.raises(ValueError, match="no bags to learn from"):
        fit_bags(bags, np.array([], int), np.array([], int), SIZE, recipe(), tmp_path)


CHOICES = [
    {"loss": "focal", "model": {"pooling": "log_sum_exp", "batch_norm": "trained"}},
    {"loss": "asymmetric", "model": {"pooling": "attention", "negative": "product", "batch_norm": "estimated"}},
    {
        "rare_cap": 4,
        "steps_per_execution": 2,
        "augmentation": {"rotation": 30, "scale": 0.2, "blur": 1, "noise": 5, "cell_drop": 0.5},
        "model": {"pooling": "noisy_or", "negative": "none", "reference": "fixed", "protein": "percentiles"},
    },
]


@pytest.mark.parametrize("choice", CHOICES, ids=["focal", "asymmetric", "augmented"])
def test_every_choice_trains_and_its_model_is_saved_and_loaded(bags, tmp_path, choice):
    model, history, _ = fit(bags, tmp_path, recipe(epochs=1, **dict(choice)))
    assert np.isfinite(history["loss"]).all()
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras", compile=False)
    fold = np.array([0, 0, 1, 1, -1, -1, -1, -1])
    one, two = (predict_out_of_fold([net, net], bags, fold, SIZE) for net in (model, loaded))
    pd.testing.assert_frame_equal(one, two)
    assert one["image_id"].nunique() == 4 and len(one) == 12 and one.iloc[:, 2:].to_numpy().max() <= 1


def test_two_devices_learn_what_one_does(folder, tmp_path):
    script = """
import sys
sys.path.insert(0, "tests")
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * int(sys.argv[2]))
import numpy as np
from test_fit import SHALLOW, SIZE, recipe
from hpa_utils.crops import Bags
from hpa_utils.model import efficientnet
from hpa_utils.training import choose_devices, fit_bags
efficientnet.LITE0_STAGES = SHALLOW
bags = Bags(sys.argv[1], "train")
made = recipe(epochs=1, augmentation={"right_angles": False, "green": 0}, model={"dropout": 0.0})
_, history, _ = fit_bags(bags, np.arange(8), np.array([6, 7]), SIZE, made, sys.argv[3])
print(choose_devices())
print("LOSSES", *history["loss"])
"""
    found = {}
    for count in ("1", "2"):
        command = [sys.executable, "-c", script, str(folder), count, str(tmp_path / count)]
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"})
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("CPU:") == int(count)
        found[count] = [float(value) for value in done.stdout.split("LOSSES")[1].split()]
    np.testing.assert_allclose(found["1"], found["2"], rtol=1e-3)


def test_a_round_trains_a_model_a_fold_and_scores_what_each_has_not_seen(bags, tmp_path):
    made = recipe(epochs=0, folds=2, trained_folds=2)
    fold = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    models, history, _ = fit_round(bags, fold, SIZE, made, tmp_path, number=2)
    assert len(models) == 2 and history[["round", "fold"]].to_numpy().tolist() == [[2, 0], [2, 1]]
    oof = predict_out_of_fold(models, bags, fold, SIZE)
    assert oof["image_id"].tolist() == [f"field-{number}" for number in range(8) for _ in range(3)]


def two_rounds(bags, fold, folder, capsys):
    """What two rounds without a grade or a spindle give, and the lines that say what each model learns."""
    fields = bags.table[["image_id"]].assign(labels=list(bags.labels))
    cells = pd.DataFrame([(name, cell) for name in fields["image_id"] for cell in (1, 2, 3)])
    cells = cells.set_axis(["image_id", "cell_id"], axis=1)
    none = pd.DataFrame(columns=["image_id", "cell_id", "label", "score"])
    first, made = first_labels("", cells, fields), recipe(epochs=0, folds=2, trained_folds=2, rounds=2)
    trained = fit_rounds(bags, fold, SIZE, made, folder, cells, fields, first, none, (none, none))
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("round")]
    return trained, lines


def test_the_last_round_learns_all_fields_by_the_scores_of_the_one_before(bags, tmp_path, capsys):
    trained, lines = two_rounds(bags, np.array([0, 0, 0, 0, 1, 1, 1, 1]), tmp_path, capsys)
    assert [line.partition("learns")[2] for line in lines] == [" from 4 fields, watches 4"] * 2 + [
        " from 8 fields, watches 0"
    ]
    assert len(trained.models) == 1 and trained.history["round"].tolist() == [1, 1, 2]
    assert len(trained.oof) == len(trained.soft) == 24
    even = trained.soft.loc[trained.soft["image_id"] == "field-0", "s00"]
    assert even.between(0.25, 1).all()  # the label of the field, never below the floor
    assert (trained.soft.loc[trained.soft["image_id"] == "field-1", "s00"] == 0).all()


def test_without_folds_there_is_one_round(bags, tmp_path, capsys):
    trained, lines = two_rounds(bags, np.full(8, -1), tmp_path, capsys)
    assert len(lines) == 1 and "learns from 8 fields" in lines[0] and trained.oof.empty
    assert (trained.soft.loc[trained.soft["image_id"] == "field-0", "s00"] == 1).all()  # inherited


def test_rates_rise_until_the_loss_leaves_its_lowest_value(bags):
    table = try_rates(bags, np.arange(8), SIZE, recipe(), steps=4)
    assert table["rate"].iloc[0] == pytest.approx(1e-6) and table["rate"].is_monotonic_increasing
    assert len(table) <= 4 and np.isfinite(table["loss"].iloc[0])


def test_losses_by_hand():
    labels, logits = np.array([[[1.0, 0.0, -1.0]]]), np.array([[[0.0, np.log(3.0), 50.0]]])
    p = 0.75
    expected = {
        "bce": (np.log(2) - np.log(1 - p)) / 2,
        "focal": (0.5**2 * np.log(2) - p**2 * np.log(1 - p)) / 2,
        "asymmetric": (np.log(2) - (p - 0.05) ** 4 * np.log(1 - (p - 0.05))) / 2,
    }
    for kind, value in expected.items():
        found = LabelLoss(kind)(labels.astype(np.float32), logits.astype(np.float32))
        assert float(found) == pytest.approx(value, rel=1e-5), kind
    with pytest.raises(ValueError, match="loss is 'hinge'"):
        LabelLoss("hinge")


def test_a_label_that_is_ignored_moves_nothing():
    labels = np.full((1, 1, 19), -1, np.float32)
    assert float(LabelLoss()(labels, np.ones((1, 1, 19), np.float32))) == 0


def cell(image_id, cell_id, **values):
    return {"image_id": image_id, "cell_id": cell_id, **values}


def test_targets_are_soft_labels_then_spindles_and_grades_are_kept_apart(bags):
    soft = pd.DataFrame([cell("field-0", 2, **{f"s{n:02d}": 0.5 if n == 0 else 0.0 for n in range(19)})])
    grades = pd.DataFrame([cell("field-1", 3, label=4, score=0.8), cell("elsewhere", 1, label=4, score=1.0)])
    spindles = pd.DataFrame(columns=["image_id", "cell_id"]), pd.DataFrame([cell("field-2", 1)])
    targets = make_targets(bags, soft, spindles, grades)
    assert targets.cells[0][:, 0].tolist() == [1, 0.5, 1]
    assert targets.cells[2][:, 11].tolist() == [-1, 0, 0] and targets.always == {}
    assert targets.graded[1][2, 4] == np.float32(0.8) and (targets.graded[1] >= 0).sum() == 1
    assert targets.digest() != make_targets(bags, soft).digest()


def test_a_spindle_keeps_the_label_and_is_always_drawn_and_its_neighbours_ignore_it(bags):
    table = bags.table.assign(labels=[np.eye(19, dtype=np.int8)[11]] * 8)
    labelled = dataclasses.make_dataclass("Some", ["table", "labels", "counts"])(
        table, np.stack(table["labels"]), bags.counts
    )
    nobody = pd.DataFrame(columns=["image_id", "cell_id"])
    targets = make_targets(labelled, spindles=(pd.DataFrame([cell("field-3", 2)]), nobody))
    assert targets.cells[3][:, 11].tolist() == [-1, 1, -1] and targets.always[3] == [1]


def test_rare_label_sets_are_drawn_more_often_up_to_a_cap():
    labels = np.zeros((10, 19))
    labels[:6, 0] = labels[6:9, 1] = labels[9, 2] = 1
    assert rare_weights(labels, 4).tolist() == [1] * 6 + [2] * 3 + [4]


def test_mean_ap_leaves_out_what_is_unknown_or_all_alike():
    labels = np.array([[1, 1, -1], [0, 1, 1], [1, 1, 0]])
    scores = np.array([[0.9, 0.1, 0.0], [0.5, 0.2, 0.9], [0.1, 0.3, 0.1]])
    assert mean_ap(labels, scores) == pytest.approx(((1 + 2 / 3) / 2 + 1) / 2)
    assert mean_ap(np.ones((3, 3)), scores) is None


def test_grades_of_held_out_cells_are_watched(bags, tmp_path):
    model, _, _ = fit(bags, tmp_path, recipe(head_epochs=1, epochs=0))
    graded = {6: np.full((3, 19), -1, np.float32)}
    graded[6][:2, 0] = 1.0, 0.0
    scores = watch(model, bags, np.array([6, 7]), SIZE, TrainConfig(cells_per_bag=2), graded)
    assert 0.5 <= scores["val_cell_ap"] <= 1
    assert watch(model, bags, np.array([], int), SIZE, TrainConfig()) == {}


def test_a_recipe_gathers_its_sections_and_a_file_overrides(tmp_path):
    (tmp_path / "c.json").write_text('{"model": {"pooling": "max"}, "training": {"ema": 0.99}}')
    made = configure_recipe(tmp_path / "c.json", backbone="b0", epochs=3)
    assert (made.model.backbone, made.model.pooling) == ("b0", "max")
    assert (made.training.epochs, made.training.ema) == (3, 0.99)
    assert set(made.sections()) == {"model", "augmentation", "training", "soft_labels"}
    (tmp_path / "c.json").write_text('{"training": {"emma": 0.99}}')
    with pytest.raises(ValueError, match="training.emma is unknown"):
        configure_recipe(tmp_path / "c.json")


SENSELESS = [
    ({"epochs": -1}, "training.epochs is -1"),
    ({"epochs": 0, "head_epochs": 0}, "nothing to train"),
    ({"cells_per_bag": 0}, "training.cells_per_bag is 0"),
    ({"folds": 2, "trained_folds": 3}, "training.trained_folds is 3"),
    ({"unfrozen": 1.5}, "training.unfrozen is 1.5; expected a share"),
    ({"ema": 1.0}, "training.ema is 1.0"),
    ({"loss": "hinge"}, "training.loss is 'hinge'; expected one of bce"),
    ({"rounds": 2, "trained_folds": 1}, "training.trained_folds must be 2 or more"),
    ({"rare_cap": 0.5}, "training.rare_cap is 0.5; expected 1 or more"),
]


@pytest.mark.parametrize(("values", "message"), SENSELESS)
def test_senseless_training_is_refused_by_name(values, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**values)


def test_the_state_is_saved_by_the_clock(bags, tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr(Saves, "write", lambda self, model, progress: saved.append(progress.step))
    monkeypatch.setattr(Saves, "load", lambda self, model: None)
    fit(bags, tmp_path, recipe(epochs=0, save_minutes=60))
    assert saved == [0, 0]  # only the ends of the two phases
