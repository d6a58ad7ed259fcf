"""Time that runs out: when a stage stops beginning fields, and the error of a field that was not begun."""

import time

# Of the time left when a stage begins, how much it may take where later stages share its deadline. Segmenting is by far
# the longest; 05 fits into what is left, whatever that is.
SHARES = {"02_segmentation": 0.7, "03_cell_crops": 0.5}


class OutOfTime(Exception):
    """A field was not begun before the time was over."""


def stop_time(deadline: float, stage: str) -> float:
    """Unix time at which a stage stops beginning fields, so that the stages after it have time left; infinity for none.

    Parameters
    ----------
    deadline : float
        Unix time by which all stages must be done; 0 for none.
    stage : str
        One of `SHARES`.
    """
    now = time.time()
    return now + SHARES[stage] * max(0.0, deadline - now) if deadline else float("inf")


def check_time(until: float) -> None:
    """Raise OutOfTime from the Unix time `until` on."""
    if time.time() >= until:
        raise OutOfTime("the time was over before this field was begun; the same command again does it")
