"""Batches of single cells: what is drawn, how often, in which order; and that Keras trains on just these."""

import keras
import numpy as np
import pytest
from made_crops import plain_crops, write_crop_part

from hpa_utils.batches import CellBatches, rare_weights, stream
from hpa_utils.training import Checkpoint

COUNTS = [1, 4, 9, 16, 25]  # cells of the fields


@pytest.fixture(scope="module")
def crops(tmp_path_factory):
    """Five fields of 1 to 25 cells; the red of a crop is the number of its cell in the set."""
    starts = np.cumsum([0, *COUNTS])
    fields = {f"field-{k}": plain_crops(count, starts[k]) for k, count in enumerate(COUNTS)}
    return write_crop_part(tmp_path_factory.mktemp("crops"), fields)


def batches(crops, batch_size=2, steps=5, **options):
    percentiles = np.tile(np.arange(len(COUNTS), dtype=np.float32)[:, None, None], (1, 4, 4))
    targets = np.tile(np.arange(len(crops), dtype=np.float32)[:, None], (1, 19)) / 100
    given = {"fields": np.arange(len(COUNTS)), "seed": 0} | options
    return CellBatches(crops, percentiles, targets, batch_size=batch_size, steps=steps, **given)


def drawn_fields(made, draws):
    return made.crops.field[np.concatenate([made.draw(step) for step in range(draws // made.batch_size)])]


def test_an_item_holds_the_drawn_crops_their_fields_percentiles_and_their_targets(crops):
    made = batches(crops, batch_size=4)
    cells = made.draw(3)
    (pictures, percentiles), targets = made[3]
    assert pictures.dtype == np.uint8 and pictures.shape == (4, 16, 16, 4) and len(made) == 5
    assert pictures[:, 0, 0, 0].tolist() == cells.tolist()
    assert percentiles[:, 0, 0].tolist() == crops.field[cells].tolist()
    assert targets.shape == (4, 19) and targets[:, 0].tolist() == pytest.approx(cells / 100)


def test_a_batch_is_a_function_of_seed_epoch_and_step_alone(crops):
    walked, resumed = batches(crops), batches(crops)
    for epoch in range(20):
        walked.epoch = resumed.epoch = epoch
        expected = [walked[step][1][:, 0].tolist() for step in range(5)]
    assert [resumed[step][1][:, 0].tolist() for step in (4, 0)] == [expected[4], expected[0]]
    other = batches(crops, seed=1)
    other.epoch = 19
    assert [other[step][1][:, 0].tolist() for step in range(5)] != expected
    resumed.epoch = 18
    assert [resumed[step][1][:, 0].tolist() for step in range(5)] != expected


def test_every_field_comes_once_a_turn_across_the_borders_of_batches_and_epochs(crops):
    turns = drawn_fields(batches(crops), 20).reshape(4, 5)
    assert (np.sort(turns, axis=1) == range(5)).all() and len({tuple(turn) for turn in turns}) > 1
    assert (np.sort(drawn_fields(batches(crops, batch_size=10), 10)) == np.repeat(range(5), 2)).all()
    some = drawn_fields(batches(crops, fields=[3, 1]), 40)
    assert set(some) == {1, 3} and (some.reshape(-1, 2).sum(axis=1) == 4).all()


def test_weights_set_how_often_a_field_comes_to_within_one(crops):
    weights = np.array([1, 2, 0, 4, 3])
    turns = drawn_fields(batches(crops, weights=weights), 1000).reshape(200, 5)
    often = np.stack([(turns == field).sum(axis=1) for field in range(5)], axis=1)
    expected = 5 * weights / weights.sum()  # 0.5, 1, 0, 2 and 1.5 a turn
    assert (np.abs(often - expected) < 1).all()
    np.testing.assert_allclose(often.mean(axis=0), expected, atol=0.1)
    equal = drawn_fields(batches(crops, weights=np.full(5, 0.1)), 20).reshape(4, 5)
    assert (np.sort(equal, axis=1) == range(5)).all()


def test_rare_sets_of_labels_weigh_more_but_not_without_bound():
    labels = np.zeros((100, 19), np.int8)
    labels[:, 0], labels[:2, 16], labels[99, 11] = 1, 1, 1
    labels[50:60, 3] = 1  # a tenth of all: no rare class
    assert rare_weights(labels, 4).tolist() == [2.5] * 2 + [1] * 97 + [4]
    assert (rare_weights(labels, 1) == 1).all() and (rare_weights(-np.ones((3, 19)), 4) == 1).all()


def test_in_the_long_run_every_cell_is_shown(crops):
    made = batches(crops, batch_size=8)
    assert set(np.concatenate([made.draw(step) for step in range(200)])) == set(range(len(crops)))


def test_preferred_cells_have_a_quarter_of_their_fields_draws_to_themselves(crops):
    preferred = [53, 30, 32, *range(14, 20)]  # three of the 25 of the last field, six of the 16 of the fourth
    made = batches(crops, batch_size=20, preferred=preferred)
    drawn = np.concatenate([made.draw(step) for step in range(250)])
    for field, count in ((4, 3 / 25), (3, 6 / 16)):
        share = np.isin(drawn[crops.field[drawn] == field], preferred).mean()
        assert share == pytest.approx(0.25 + 0.75 * count, abs=0.05)  # of 1,000 draws
    assert set(drawn) == set(range(len(crops)))  # and no other cell is left out


def test_what_cannot_be_drawn_is_refused(crops):
    with pytest.raises(ValueError, match="no fields to learn from"):
        batches(crops, fields=[])


def test_a_stream_has_the_batches_of_the_epoch_that_begins_and_ends_without_waiting(crops):
    made = batches(crops, steps=3)
    streamed = stream(made)
    assert len(streamed) == 3 and not streamed.options().autotune.enabled  # what tunes ends late
    for made.epoch in (0, 1):
        seen = [(pictures.numpy(), learned.numpy()) for (pictures, _), learned in streamed]
        for step, (pictures, learned) in enumerate(seen):
            assert (pictures == made[step][0][0]).all() and (learned == made[step][1]).all()


class Watched(keras.Model):
    """Keeps which cells its steps are given, by the red of their crops."""

    steps = []

    def train_step(self, data):
        self.steps.append(np.asarray(data[0][0])[:, 0, 0, 0].astype(int).tolist())
        return super().train_step(data)


def test_fit_shows_the_batches_of_the_epoch_that_the_checkpoint_sets(crops, tmp_path):
    inputs, made = [keras.Input((16, 16, 4)), keras.Input((4, 4))], batches(crops, steps=3)
    model = Watched(inputs, keras.layers.Dense(19)(keras.layers.GlobalAveragePooling2D()(inputs[0])))
    model.compile(keras.optimizers.SGD(1e-6), "mse", run_eagerly=True)
    checkpoint = Checkpoint(tmp_path / "state.npz", "key", made, {"head": 4})
    checkpoint.begin(model, "head")
    model.fit(stream(made), initial_epoch=2, epochs=4, callbacks=[checkpoint], shuffle=False, verbose=0)
    assert Watched.steps == [made.draw(step).tolist() for step in range(6, 12)]
