"""The state of a training: gone on with exactly, refused for another recipe, never replaced by a bad one."""

import time

import numpy as np
import pytest
from made_crops import plain_crops, write_crop_part

from hpa_utils import training
from hpa_utils.batches import CellBatches, stream
from hpa_utils.inference import predict_logits, sigmoid
from hpa_utils.model import RandomBrightness, RandomRightAngles, keras

PHASES = {"head": 2, "fine_tune": 3}


def bce(labels, logits):
    return keras.ops.mean(keras.ops.softplus(logits) - labels * logits, axis=-1)


class Session:
    """What a notebook holds: a small network with dropout and augmentation, its batches and callbacks."""

    def __init__(self, folder, key="key", use_ema=False, soft=False, deadline=0.0, rate=1e-2):
        keras.utils.set_random_seed(0)
        crop, brightness = keras.Input((16, 16, 4)), keras.Input((4, 4))
        features = keras.layers.Flatten()(keras.layers.Conv2D(4, 5, strides=4, name="conv")(crop / 255))
        logits = keras.layers.Dense(19, name="head")(keras.layers.Dropout(0.5, seed=1)(features))
        self.network = keras.Model([crop, brightness], logits)
        changed = RandomBrightness(0.5, seed=2)(RandomRightAngles(seed=2)(crop))
        self.model = keras.Model([crop, brightness], self.network([changed, brightness]))
        crops = write_crop_part(folder / "crops", {f"f{n}": plain_crops(3, 40 * n) for n in range(6)})
        targets = np.zeros((18, 19), np.float32)
        targets[::2, 0] = 1
        brightness = np.zeros((6, 4, 4), np.float32)
        self.batches = CellBatches(crops, brightness, targets, np.arange(4), 2, 3, seed=0)
        self.checkpoint = training.Checkpoint(folder / "state.npz", key, self.batches, PHASES, deadline)
        watched = np.arange(12, 18)
        self.validation = training.Validation(self.network, crops, brightness, watched, targets[watched], bce)
        self.use_ema, self.soft, self.rate = use_ema, soft, rate

    def fit(self, after_epoch=None):
        callbacks = [self.validation, self.checkpoint]
        if after_epoch:
            callbacks.append(keras.callbacks.LambdaCallback(on_epoch_end=after_epoch))
        for phase in PHASES:
            self.network.get_layer("conv").trainable = phase == "fine_tune"
            options = {"use_ema": self.use_ema, "ema_momentum": 0.5}
            self.model.compile(keras.optimizers.AdamW(self.rate, **options), loss=bce)
            begun, end = self.checkpoint.begin(self.model, phase), self.checkpoint.ends[phase]
            if begun < end and not self.checkpoint.stopped:
                if self.soft and phase == "fine_tune":
                    self.batches.targets = self.checkpoint.once("targets", self.own_view)
                given = {"initial_epoch": begun, "epochs": end, "shuffle": False, "verbose": 0}
                self.model.fit(stream(self.batches), callbacks=callbacks, **given)
        return self

    def own_view(self):
        """What the network says now."""
        return sigmoid(predict_logits(self.network, self.batches.crops, self.batches.percentiles)).astype(np.float32)

    @property
    def told(self):
        """The history without its times."""
        return [{name: value for name, value in row.items() if name != "seconds"} for row in self.checkpoint.history]

    @property
    def weights(self):
        return [np.array(value) for value in self.network.get_weights()]


class Killed(Exception):
    pass


def killed_after(number):
    def after(epoch, logs):
        if epoch + 1 == number:
            raise Killed

    return after


@pytest.mark.parametrize("options", [{}, {"use_ema": True, "soft": True}], ids=["plain", "averaged, own targets"])
@pytest.mark.parametrize("epochs", [[1], [2], [4], [1, 2, 3, 4, 5]])
def test_a_training_that_was_cut_has_the_very_losses_of_an_uninterrupted_one(tmp_path, epochs, options):
    whole = Session(tmp_path / "a", **options).fit()
    for number in epochs:
        with pytest.raises(Killed):
            Session(tmp_path / "b", **options).fit(killed_after(number))
    cut = Session(tmp_path / "b", **options).fit()
    assert cut.told == whole.told and [row["epoch"] for row in cut.told] == [1, 2, 3, 4, 5]
    assert cut.checkpoint.finished
    for mine, theirs in zip(cut.weights, whole.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_finished_training_is_not_begun_again(tmp_path):
    first = Session(tmp_path).fit()
    again = Session(tmp_path).fit(killed_after(1))
    assert again.told == first.told
    for mine, theirs in zip(again.weights, first.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_another_recipe_starts_anew_and_says_so(tmp_path, capsys):
    with pytest.raises(Killed):
        Session(tmp_path).fit(killed_after(3))
    other = Session(tmp_path, key="other", rate=1e-3).fit()
    assert "of another recipe: the training starts anew" in capsys.readouterr().out
    assert [row["epoch"] for row in other.told] == [1, 2, 3, 4, 5]
    assert other.told[0]["learning_rate"] == pytest.approx(1e-3)


def test_a_torn_state_starts_anew_and_says_so(tmp_path, capsys):
    Session(tmp_path).fit()
    path = tmp_path / "state.npz"
    path.write_bytes(path.read_bytes()[:1000])
    assert Session(tmp_path).fit().checkpoint.finished
    assert "cannot be read" in capsys.readouterr().out


def test_a_loss_that_is_not_finite_stops_the_training_and_keeps_the_last_good_state(tmp_path):
    with pytest.raises(Killed):
        Session(tmp_path).fit(killed_after(3))
    good = (tmp_path / "state.npz").read_bytes()
    session = Session(tmp_path)
    session.batches.targets[:] = np.nan
    with pytest.raises(ValueError, match="the loss is nan in epoch 4; the state of the epoch before is kept"):
        session.fit()
    assert (tmp_path / "state.npz").read_bytes() == good
    assert Session(tmp_path).fit().told == Session(tmp_path / "whole").fit().told


def test_weights_that_are_not_finite_are_not_saved(tmp_path):
    session = Session(tmp_path)

    def spoil(epoch, logs):
        logs["val_ap"] = 0.5
        if epoch == 1:
            session.network.get_layer("head").bias.assign(np.full(19, np.nan))

    session.validation.on_epoch_end = spoil
    with pytest.raises(ValueError, match="head/bias is not finite after epoch 2"):
        session.fit()
    assert len(training._read_state(tmp_path / "state.npz", "key")["history"]) == 1


def test_before_a_deadline_training_stops_at_the_end_of_an_epoch_and_can_be_gone_on_with(tmp_path):
    late = Session(tmp_path, deadline=time.time() + 0.01).fit()
    assert late.checkpoint.stopped and not late.checkpoint.finished and len(late.told) == 1
    on = Session(tmp_path).fit()
    assert on.checkpoint.finished and on.told == Session(tmp_path / "whole").fit().told


def test_validation_sees_the_moving_average_and_training_goes_on_from_the_weights(tmp_path):
    session, seen = Session(tmp_path, use_ema=True), []
    validate = session.validation.on_epoch_end

    def look(epoch, logs):
        before = session.weights
        with training.averaged_weights(session.model):
            seen.append(any((a != b).any() for a, b in zip(before, session.weights)))
        validate(epoch, logs)
        assert all((a == b).all() for a, b in zip(before, session.weights))

    session.validation.on_epoch_end = look
    session.fit()
    assert all(seen)


def test_watched_cells_are_the_first_few_of_each_field_and_those_asked_for(tmp_path):
    crops = write_crop_part(tmp_path, {"a": plain_crops(6), "b": plain_crops(2), "c": plain_crops(3)})
    watched = training.watched_cells(crops, np.array([0, 1]), also=np.array([5, 9]), most=2)
    assert watched.tolist() == [0, 1, 5, 6, 7]


def test_the_key_of_a_recipe_knows_values_models_and_arrays():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    other = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="relu")])
    keys = [
        training.recipe_key({"epochs": 1}, model, np.zeros(3)),
        training.recipe_key({"epochs": 2}, model, np.zeros(3)),
        training.recipe_key({"epochs": 1}, other, np.zeros(3)),
        training.recipe_key({"epochs": 1}, model, np.ones(3)),
    ]
    assert len(set(keys)) == 4 and keys[0] == training.recipe_key({"epochs": 1}, model, np.zeros(3))


def test_the_key_of_a_recipe_knows_the_source_of_what_the_notebook_defines(monkeypatch):
    import sys
    import types

    def key_of(loss):
        notebook = types.ModuleType("__main__")
        loss.__module__ = "__main__"
        notebook.label_loss = loss
        with monkeypatch.context() as patched:
            patched.setitem(sys.modules, "__main__", notebook)
            return training.recipe_key({})

    def first(labels, logits):
        return labels - logits

    def second(labels, logits):
        return 2 * (labels - logits)

    assert key_of(first) == key_of(first) != key_of(second)


def test_without_a_class_of_both_kinds_there_is_no_validation_score(tmp_path):
    session = Session(tmp_path)
    session.validation.labels[:, 0] = np.repeat([1, -1], 3)  # none that is known not to show the class
    assert np.isnan([row["val_ap"] for row in session.fit().told]).all()


def test_a_network_learns_what_tells_cells_apart(tmp_path):
    session = Session(tmp_path)
    shows = (session.batches.crops.read(np.arange(18))[:, 0, 0, 0] > 100).astype(np.float32)
    session.batches.targets[:], session.batches.fields = shows[:, None], np.arange(6)
    session.validation.given = (*session.validation.given[:3], np.arange(18))
    session.validation.labels = np.repeat(shows[:, None], 19, axis=1)
    session.fit()
    assert session.told[0]["val_ap"] < session.told[-1]["val_ap"] and session.told[-1]["val_ap"] > 0.9
