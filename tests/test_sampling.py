import numpy as np
import pytest

from hpa_utils.crops import BagSampler

NUMBERS, COUNTS = [3, 5, 8, 13, 21], [1, 4, 9, 16, 25]


def sampler(bags_per_batch=2, seed=0, **changes):
    given = {"numbers": NUMBERS, "counts": COUNTS, "cells_per_bag": 4, "bags_per_batch": bags_per_batch, "seed": seed}
    return BagSampler(**{**given, **changes})


def drawn_bags(sampler, steps):
    return np.concatenate([sampler.batch(step)[0] for step in range(steps)])


def same(one, other):
    return (one[0] == other[0]).all() and all((a == b).all() for a, b in zip(one[1], other[1], strict=True))


def test_each_bag_comes_once_an_epoch_across_the_borders_of_batches():
    epochs = drawn_bags(sampler(), steps=10).reshape(4, 5)  # 10 steps of 2 are 4 epochs of 5
    assert (np.sort(epochs, axis=1) == NUMBERS).all()
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert sampler().steps_per_epoch == 3


def test_a_batch_larger_than_an_epoch_goes_on_into_the_next_ones():
    assert (np.sort(sampler(bags_per_batch=10).batch(0)[0]) == np.repeat(NUMBERS, 2)).all()


def test_a_step_is_the_same_whatever_was_asked_before():
    resumed, walked = sampler(), sampler()
    for step in range(40):
        expected = walked.batch(step)
    assert same(resumed.batch(39), expected) and same(walked.batch(7), sampler().batch(7))


def test_another_seed_draws_otherwise():
    assert (drawn_bags(sampler(seed=1), 20) != drawn_bags(sampler(seed=2), 20)).any()


def test_cells_are_drawn_without_replacement_and_all_of_a_small_bag():
    seen = {number: set() for number in NUMBERS}
    for step in range(100):
        for number, cells in zip(*sampler().batch(step), strict=True):
            count = COUNTS[NUMBERS.index(number)]
            assert len(cells) == min(4, count) == len(set(cells.tolist())) and cells.max() < count
            seen[int(number)] |= set(cells.tolist())
    assert {number: len(cells) for number, cells in seen.items()} == dict(zip(NUMBERS, COUNTS, strict=True))


def test_weights_set_how_often_a_bag_comes_to_within_one():
    weights = np.array([1, 2, 0, 4, 3])
    epochs = drawn_bags(sampler(weights=weights), steps=500).reshape(200, 5)
    often = np.stack([(epochs == number).sum(axis=1) for number in NUMBERS], axis=1)
    expected = 5 * weights / weights.sum()  # 0.5, 1, 0, 2 and 1.5 an epoch
    assert (np.abs(often - expected) < 1).all()
    np.testing.assert_allclose(often.mean(axis=0), expected, atol=0.1)


def test_equal_weights_are_a_permutation():
    epochs = drawn_bags(sampler(weights=[2.0] * 5), steps=10).reshape(4, 5)
    assert (np.sort(epochs, axis=1) == NUMBERS).all()


def test_chosen_cells_are_always_drawn_before_the_others():
    chosen = sampler(always={21: [24, 2], 13: [0, 1, 2, 3, 4, 5]})
    firsts = set()
    for step in range(50):
        for number, cells in zip(*chosen.batch(step), strict=True):
            if number == 21:
                assert set(cells[:2].tolist()) == {2, 24} and len(set(cells.tolist())) == 4
            if number == 13:  # more are chosen than fit
                assert set(cells.tolist()) <= set(range(6)) and len(cells) == 4
                firsts |= set(cells.tolist())
    assert firsts == set(range(6))


def test_hosts_share_one_batch_between_them():
    whole = sampler(bags_per_batch=4)
    hosts = [sampler(bags_per_batch=4, shard=(index, 2)) for index in range(2)]
    for step in (0, 1, 17):
        bags, cells = whole.batch(step)
        parts = [host.batch(step) for host in hosts]
        assert same((np.concatenate([p[0] for p in parts]), parts[0][1] + parts[1][1]), (bags, cells))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"numbers": [], "counts": []}, "no bags"),
        ({"counts": [1, 2, 3, 4, 0]}, "sampler.counts"),
        ({"counts": [1, 2]}, "sampler.counts"),
        ({"cells_per_bag": 0}, "sampler.cells_per_bag is 0"),
        ({"shard": (2, 2)}, r"sampler.shard is \(2, 2\)"),
        ({"shard": (0, 3)}, "divides the 2 bags"),
        ({"weights": [1, 2, 3, 4, -1]}, "sampler.weights"),
        ({"weights": [0] * 5}, "not all 0"),
        ({"always": {5: [4]}}, "cells .4. of bag 5, which has 4"),
    ],
)
def test_what_cannot_be_drawn_is_refused_by_name(changes, message):
    with pytest.raises(ValueError, match=message):
        sampler(**changes)
