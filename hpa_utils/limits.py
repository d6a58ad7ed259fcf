"""What limits a stage: time that runs out, room on the disk, and the share of the work that is its own."""

import errno
import math
import time
from pathlib import Path

import psutil

from hpa_utils.paths import free_bytes, on_kaggle

# Of the time left when a stage begins, how much it may take where later stages share its deadline. Segmenting is by far
# the longest; 05 fits into what is left, whatever that is.
SHARES = {"02_segmentation": 0.7, "03_cell_crops": 0.5, "05_inference": 0.9}
SESSION_HOURS = 7.5  # on Kaggle 05 stops so long after the session's start, if it is not told when; the limit was 9 h
SESSION_PROCESSES = ("python", "jupyter", "papermill", "ipykernel")


class OutOfTime(Exception):
    """A field was not begun before the time was over."""


def stop_time(deadline: float, stage: str) -> float:
    """Unix time at which a stage stops beginning work, so that what comes after it has time left; infinity for none.

    The deadline is the Unix time by which all stages must be done, 0 for none. On Kaggle 05 has one in any case.
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


def select_shard(plan: list, shard: str) -> list:
    """The parts of a plan that shard ``"i/n"`` makes: every n-th, from the i-th; all of them where `shard` is empty.

    Several kernels, each with a shard and an output root of its own, together make the whole.

    Raises ValueError if the text is not two numbers 1 ≤ i ≤ n.
    """
    if not shard:
        return plan
    number, _, count = shard.partition("/")
    if not (number.strip().isdecimal() and count.strip().isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"shard is {shard!r}; expected i/n with 1 ≤ i ≤ n, such as 1/4")
    return plan[int(number) - 1 :: int(count)]


def check_disk_space(needed: int, folder: str | Path, shard: str = "") -> str:
    """Compare the bytes that this shard will write under `folder` with the free space; returns a line that says both.

    Raises OSError: ENOSPC, if it will not fit, with the number of shards that would.
    """
    free = free_bytes(folder)
    line = f"about {needed / 1e6:,.0f} MB to write, {free / 1e6:,.0f} MB free"
    if needed <= 0.95 * free:
        return line
    count = int(shard.partition("/")[2] or 1)
    enough = math.ceil(count * needed / max(0.9 * free, 1)) if free > 0 else count
    raise OSError(
        errno.ENOSPC,
        f"{line}: it will not fit. Share the work among kernels with output roots of their own, shard=1/{enough} to "
        f"{enough}/{enough}, or make room, or write smaller crops",
        str(folder),
    )
