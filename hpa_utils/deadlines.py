"""Time that runs out: when a stage stops beginning work, and the error of a field that was not begun."""

import time

import psutil

from hpa_utils.paths import on_kaggle

# Of the time left when a stage begins, how much it may take where later stages share its deadline. Segmenting is by far
# the longest; 05 fits into what is left, whatever that is.
SHARES = {"02_segmentation": 0.7, "03_cell_crops": 0.5, "05_inference": 0.9}
SESSION_HOURS = 7.5  # on Kaggle 05 stops so long after the session's start, if it is not told when; the limit was 9 h
SESSION_PROCESSES = ("python", "jupyter", "papermill", "ipykernel")


class OutOfTime(Exception):
    """A field was not begun before the time was over."""


def stop_time(deadline: float, stage: str) -> float:
    """Unix time at which a stage stops beginning work, so that what comes after it has time left; infinity for none.

    Parameters
    ----------
    deadline : float
        Unix time by which all stages must be done; 0 for none. On Kaggle 05 has one in any case.
    stage : str
        One of `SHARES`.
    """
    now = time.time()
    if not deadline and on_kaggle() and stage == "05_inference":
        deadline = session_start() + 3600 * SESSION_HOURS
    return now + SHARES[stage] * max(0.0, deadline - now) if deadline else float("inf")


def check_time(until: float) -> None:
    """Raise OutOfTime from the Unix time `until` on."""
    if time.time() >= until:
        raise OutOfTime("the time was over before this field was begun; the same command again does it")


def session_start() -> float:
    """Unix time at which this session began, as near as a process can tell.

    It is when the oldest of this process and its parents started, as far up as they are Python, Jupyter or
    papermill: the kernel of a notebook that runs by itself, or the driver that runs several notebooks in turn.
    """
    process, start = psutil.Process(), psutil.Process().create_time()
    for parent in process.parents():
        try:
            if not parent.name().startswith(SESSION_PROCESSES):
                break
            start = min(start, parent.create_time())
        except psutil.Error:  # it has ended, or is another user's
            break
    return start
