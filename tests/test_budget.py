import os
import time

import psutil
import pytest

from hpa_utils.inference.budget import (
    Plan,
    PredictionConfig,
    Timing,
    choose_plan,
    find_deadline,
    in_words,
    preference,
    seconds_left,
    session_start,
)

# two models: 10 and 30 ms a cell and view at 64 cells a step, 8 and 24 ms at 128
TIMING = Timing({64: (0.010, 0.030), 128: (0.008, 0.024)}, loading=0.005, writing=0.001)


def test_all_models_come_before_views_and_views_before_a_model_less():
    assert preference(2, 4) == [(2, 4), (2, 2), (2, 1), (1, 4), (1, 2), (1, 1)]


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (300, Plan(2, 8, 128, 257)),  # 1000 × (8 × 32 ms + 1 ms)
        (256, Plan(2, 4, 128, 129)),
        (33, Plan(2, 1, 128, 33)),
        (32.9, Plan(1, 2, 128, 17)),  # two models do not fit; one on 8 views, 65 s, and on 4, 33 s, neither
        (0, Plan(1, 1, 128, 9)),  # nothing fits: the cheapest, and time will run out
    ],
)
def test_the_best_plan_that_fits_is_taken(seconds, expected):
    plan = choose_plan(TIMING, 1000, seconds, models=2, views=8)
    assert (plan.models, plan.views, plan.batch) == (expected.models, expected.views, expected.batch)
    assert plan.seconds == pytest.approx(expected.seconds)


def test_cells_a_step_are_those_that_are_fastest():
    slower = Timing({64: (0.010,), 128: (0.012,), 256: (0.010,)})
    assert choose_plan(slower, 10, 100, models=1, views=1).batch == 64


def test_reading_counts_only_where_it_takes_longer_than_the_networks():
    timing = Timing({64: (0.002,)}, loading=0.005)
    assert timing.per_cell(1, 1, 64) == 0.005 and timing.per_cell(1, 8, 64) == 0.016
    assert timing.slowed(2).per_cell(1, 8, 64) == 0.032 and timing.slowed(2).per_cell(1, 1, 64) == 0.010


def test_no_deadline_is_none_but_on_kaggle_it_is_hours_after_the_session_began(monkeypatch):
    config = PredictionConfig(session_hours=7.5)
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    assert find_deadline(0.0, config) == float("inf") and find_deadline(5.0, config) == 5.0
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    assert find_deadline(0.0, config) == session_start() + 27000 and find_deadline(5.0, config) == 5.0


def test_the_session_began_no_later_than_this_process():
    assert psutil.boot_time() - 5 <= session_start() <= psutil.Process(os.getpid()).create_time() <= time.time()


def test_the_margin_is_kept_for_what_comes_after():
    assert seconds_left(time.time() + 900, PredictionConfig(margin_minutes=10)) == pytest.approx(300, abs=5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"views": 3}, "prediction.views is 3; expected one of 1, 2, 4, 8"),
        ({"batch": 0}, "prediction.batch is 0; expected 1 or more"),
        ({"models": -1}, "prediction.models is -1"),
        ({"usable": 1.5}, "prediction.usable is 1.5; expected a share"),
    ],
)
def test_a_wrong_choice_is_named_with_its_section(options, message):
    with pytest.raises(ValueError, match=message):
        PredictionConfig(**options)


def test_plans_and_times_are_told_in_words():
    assert str(Plan(3, 1, 128, 7500)) == "3 models × 1 view, 128 cells a step, about 2 h 5 min"
    assert [in_words(seconds) for seconds in (12, 180, -600)] == ["12 s", "3 min", "−10 min"]
