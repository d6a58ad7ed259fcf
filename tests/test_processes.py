"""A function in a child process: its result, its error, its death."""

import json
import os
import signal

import numpy as np
import pytest

from hpa_utils.processes import ChildLost, in_child


def test_a_child_process_gives_its_result_back():
    assert in_child(os.getpid) != os.getpid()
    assert (in_child(np.arange, 5_000_000) == np.arange(5_000_000)).all()  # more than a pipe holds


def test_what_a_child_process_raises_reaches_the_caller():
    with pytest.raises(json.JSONDecodeError, match="Expecting value") as raised:
        in_child(json.loads, "nothing")
    assert "json/decoder.py" in raised.value.__notes__[0]  # where it happened there


def test_a_child_process_that_dies_is_an_error():
    with pytest.raises(ChildLost, match="ended without a word, exit code -9: out of memory, or a file"):
        in_child(signal.raise_signal, signal.SIGKILL)
