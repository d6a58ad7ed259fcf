"""Streaming without any network: order, batches of one kind, reading ahead; failures passed on."""

import threading

import pytest

from hpa_utils.segmentation.stream import ahead, attempt, in_batches, prefetch


def batches_of(items, size):
    """What comes out, and which batches were run; items are (kind, number) or exceptions."""
    ran = []

    def run(batch):
        ran.append([number for _, number in batch])
        return [number * 10 for _, number in batch]

    return list(in_batches(items, run, lambda item: item[0], size)), ran


def test_batches_hold_one_kind_and_results_keep_the_order():
    out, ran = batches_of([("a", 0), ("b", 1), ("a", 2), ("a", 3), ("b", 4)], size=2)
    assert out == [0, 10, 20, 30, 40]
    assert ran == [[0, 2], [1, 4], [3]]


def test_a_rare_kind_does_not_hold_up_the_others_for_long():
    asked = iter(range(1000))
    items = (("rare" if number == 0 else "usual", number) for number in asked)
    first = next(in_batches(items, lambda batch: [number for _, number in batch], lambda item: item[0], 4))
    assert first == 0 and next(asked) < 20


def test_an_exception_keeps_its_place_and_is_in_no_batch():
    broken = ValueError("broken")
    out, ran = batches_of([("a", 0), broken, ("a", 2)], size=2)
    assert out == [0, broken, 20] and ran == [[0, 2]]


@pytest.mark.parametrize("threads", [1, 3])
def test_work_done_ahead_comes_out_in_order(threads):
    assert list(ahead(lambda item: item * 2, range(20), depth=5, threads=threads)) == list(range(0, 40, 2))


def test_items_are_made_while_the_first_is_used():
    made, enough = [], threading.Event()

    def items():
        for number in range(3):
            made.append(number)
            if number == 2:
                enough.set()
            yield number

    stream = prefetch(items(), depth=2)
    assert next(stream) == 0 and enough.wait(10) and made == [0, 1, 2]
    assert list(stream) == [1, 2]


def test_what_the_source_raises_reaches_the_caller():
    def items():
        yield 1
        raise OSError("disk gone")

    stream = prefetch(items())
    assert next(stream) == 1
    with pytest.raises(OSError, match="disk gone"):
        next(stream)


def test_a_stream_that_is_left_early_stops():
    made = []
    stream = prefetch((made.append(number) for number in range(10_000)), depth=2)
    next(stream)
    del stream
    assert len(made) < 100
    assert not [
        thread for thread in threading.enumerate() if thread.name.startswith("ThreadPool") and thread.is_alive()
    ]


def test_an_attempt_gives_the_result_or_the_exception():
    earlier = KeyError("earlier")
    assert attempt(int, "7") == 7
    assert isinstance(attempt(int, "x"), ValueError)
    assert attempt(int, earlier) is earlier
