"""Fields on their way through a segmenter: read ahead, taken in batches, given back in order.

An exception among the items stands for a field that failed: it is passed on in its place, so that one bad field
does not stop the others.
"""

import itertools
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

LONGEST_WAIT = 4  # batches after which a batch that is still not full is run, so that its first item can leave


def ahead(function: Callable, items: Iterable, depth: int = 4, threads: int = 1) -> Iterator:
    """`function` of each item, in order, worked out up to `depth` items ahead by background threads."""
    pool, pending = ThreadPoolExecutor(threads), deque()
    try:
        for item in items:
            pending.append(pool.submit(function, item))
            if len(pending) > depth:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def prefetch(items: Iterable, depth: int = 4) -> Iterator:
    """The items, up to `depth` of them made ahead by one background thread."""
    items, end = iter(items), object()
    made = ahead(lambda _: next(items, end), itertools.count(), depth)
    return itertools.takewhile(lambda item: item is not end, made)


def attempt(function: Callable, item):
    """`function` of the item, or the exception that it raises or that the item is."""
    if isinstance(item, Exception):
        return item
    try:
        return function(item)
    except Exception as error:
        return error


def in_batches(items: Iterable, run: Callable[[list], list], key: Callable[..., Hashable], size: int) -> Iterator:
    """Results of `run`, which gets up to `size` items of one key at a time, in the order of the items."""
    done, groups, first = {}, {}, 0
    for number, item in enumerate(items):
        if isinstance(item, Exception):
            done[number] = item
        else:
            groups.setdefault(key(item), {})[number] = item
        full = [name for name, group in groups.items() if len(group) == size]
        if number - first >= LONGEST_WAIT * size:
            full = full or [name for name, group in groups.items() if first in group]
        for group in map(groups.pop, full):
            done |= zip(group, run(list(group.values())))
        while first in done:
            yield done.pop(first)
            first += 1
    for group in groups.values():
        done |= zip(group, run(list(group.values())))
    yield from (done[number] for number in sorted(done))
