"""The work of a stage shared among kernels, and whether what a share writes will fit."""

import errno
import math
from pathlib import Path

from hpa_utils.paths import free_bytes


def select_shard(plan: list, shard: str) -> list:
    """The parts of a plan that shard ``"i/n"`` makes: every n-th, from the i-th; all of them where `shard` is empty.

    Several kernels, each with a shard and an output root of its own, together make the whole.

    Raises
    ------
    ValueError
        If the text is not two numbers 1 ≤ i ≤ n.
    """
    if not shard:
        return plan
    number, _, count = shard.partition("/")
    if not (number.strip().isdecimal() and count.strip().isdecimal() and 1 <= int(number) <= int(count)):
        raise ValueError(f"shard is {shard!r}; expected i/n with 1 ≤ i ≤ n, such as 1/4")
    return plan[int(number) - 1 :: int(count)]


def check_disk_space(needed: int, folder: str | Path, shard: str = "") -> str:
    """Compare what will be written with the free space; returns a line that says both.

    Parameters
    ----------
    needed : int
        Bytes that this shard will write under `folder`.

    Raises
    ------
    OSError
        ENOSPC, if it will not fit, with the number of shards that would.
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
