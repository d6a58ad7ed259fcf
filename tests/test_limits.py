"""When a session began, and when 05 stops of its own accord; stop times of stages: test_kaggle_sessions."""

import os
import time

import psutil
import pytest

from hpa_utils import limits


def test_the_session_began_no_later_than_this_process():
    began = limits.session_start()
    assert psutil.boot_time() - 5 <= began <= psutil.Process(os.getpid()).create_time() <= time.time()


def test_without_a_deadline_05_has_one_on_kaggle_alone(monkeypatch):
    monkeypatch.delenv("KAGGLE_KERNEL_RUN_TYPE", raising=False)
    assert limits.stop_time(0.0, "05_inference") == float("inf")
    monkeypatch.setenv("KAGGLE_KERNEL_RUN_TYPE", "Batch")
    left = limits.session_start() + 7.5 * 3600 - time.time()
    assert limits.stop_time(0.0, "05_inference") == pytest.approx(time.time() + 0.9 * left, abs=5)
    assert limits.stop_time(0.0, "02_segmentation") == float("inf")
