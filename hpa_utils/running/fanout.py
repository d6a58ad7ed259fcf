"""Independent work over parts of fields: in this process, on all cores, or on a Dask cluster."""

import contextlib
import dataclasses
import functools
import itertools
import logging
import math
import os
import pickle
import queue
import signal
import socket
import sys
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import connection

import cv2
from tqdm import tqdm

from hpa_utils.processes import Child, ChildLost, fit_for_children

LOSSES = 3  # workers that a part may lose before its fields are done one by one
AHEAD = 2  # parts that a Dask worker is given at a time: one under way, one waiting
LOST = object()  # in place of the result of a part that lost too many workers

_one_at_a_time = threading.Lock()


def fanout(function: Callable, parts: Sequence, workers: int = 0, scheduler: str = "", unit: str = "field") -> list:
    """Call `function` on every part and return the results in the order of the parts.

    Each worker has one part under way at a time. A part whose worker is lost (killed, out of memory) is done again.
    One that loses three workers is done last, in this process, with its field `isolated` set: then `function` has to
    do each of its fields in a child process (`hpa_utils.processes.in_child`), so that a field that ends
    its process is set aside and the others are kept.

    Parameters
    ----------
    function : callable
        Importable by name, so that it can be sent to another process.
    parts : sequence
        Frozen dataclasses with a `name` and a field ``isolated: bool``; ``len(part)`` is how far the progress bar
        moves when a part is done.
    workers : int
        Processes of this machine; 0 for one a core, 1 for this process alone (what a GPU segmenter needs). A cluster
        has its own number.
    scheduler : str
        Empty: processes of this machine. ``local``: a Dask cluster of `workers` processes on this machine, closed
        at the end. ``tcp://host:port`` or another address: the Dask cluster of that scheduler, whose workers need
        this library and the same paths; it is left as it is.

    Raises
    ------
    ValueError
        If `scheduler` is none of these, or `function` cannot be imported by workers.
    ImportError, OSError
        If Dask is not installed; if no scheduler answers, or it stops answering.
    Exception
        Whatever `function` raises; other parts under way end or are given up, parts already written stay.
    """
    if scheduler not in ("", "local") and ":" not in scheduler:
        raise ValueError(f'scheduler is {scheduler!r}; expected "" (this machine), "local" or "tcp://host:port"')
    workers = min(workers or os.cpu_count() or 1, len(parts))
    if not parts or not scheduler and workers == 1:
        outcomes = _here(function, parts)
    else:
        _check_importable(function)
        outcomes = _on_dask(function, parts, workers, scheduler) if scheduler else _on_cores(function, parts, workers)
    results, given_up = {}, []
    # parts come seldom and in bursts (miniters), and those that were there already should be forgotten (smoothing)
    with tqdm(total=sum(map(len, parts)), unit=unit, mininterval=5, miniters=1, smoothing=0.1, file=sys.stdout) as bar:
        with contextlib.closing(outcomes):
            for number, result in outcomes:
                if result is LOST:
                    given_up.append(number)
                else:
                    results[number] = result
                    bar.update(len(parts[number]))
        for number in given_up:
            part = parts[number]
            bar.write(f"{part.name}: its workers were lost again and again; its fields are done one by one", sys.stdout)
            results[number] = function(dataclasses.replace(part, isolated=True))
            bar.update(len(part))
    return [results[number] for number in range(len(parts))]


def _check_importable(function: Callable) -> None:
    while isinstance(function, functools.partial):
        function = function.func
    if function.__module__ == "__main__":
        raise ValueError(
            f"{function.__name__} is defined in the running script or notebook, from which workers cannot import it: "
            "put it into a module, or take workers = 1"
        )


# Each of the following yields (number of a part, its result or LOST) as parts are done.


def _here(function: Callable, parts: Sequence) -> Iterator[tuple]:
    for number, part in enumerate(parts):
        yield number, function(part)


def _on_cores(function: Callable, parts: Sequence, workers: int) -> Iterator[tuple]:
    """In child processes of this one. Each is on its own, so that a lost one takes no other's part with it."""
    waiting, losses, busy = deque(range(len(parts))), Counter(), {}
    with contextlib.ExitStack() as stack:

        def start():
            child = Child()
            stack.callback(child.close)
            return child

        idle = [start() for _ in range(workers)]
        try:
            while waiting or busy:
                while waiting and len(busy) < workers:
                    child, number = idle.pop() if idle else start(), waiting.popleft()
                    child.send(function, parts[number])
                    busy[child] = number
                ready = connection.wait([child.connection for child in busy])
                for child in [child for child in busy if child.connection in ready]:
                    number = busy.pop(child)
                    try:
                        result = child.result()
                        idle.append(child)
                    except ChildLost:
                        losses[number] += 1
                        if losses[number] < LOSSES:
                            waiting.append(number)
                            continue
                        result = LOST
                    yield number, result
        except Exception:
            for child in busy:
                with contextlib.suppress(Exception):
                    child.result()
            raise


def _on_dask(function: Callable, parts: Sequence, workers: int, scheduler: str) -> Iterator[tuple]:
    """On a Dask cluster, which gives the parts of a lost worker to another by itself."""
    with _dask_client(scheduler, workers) as client:
        _check_workers(client, scheduler)
        waiting, under_way, done = iter(range(len(parts))), {}, queue.SimpleQueue()
        asked = -math.inf
        while True:
            if time.monotonic() - asked > 5:  # workers may come and go
                asked, most = time.monotonic(), AHEAD * max(1, len(client.nthreads()))
            new = list(itertools.islice(waiting, max(0, most - len(under_way))))
            # pickled here: Dask would look into the parts for futures, and has its own ideas of what to pickle
            payloads = [pickle.dumps((function, parts[number])) for number in new]
            for number, future in zip(new, client.map(_in_worker, payloads, pure=False)):
                under_way[future] = number
                future.add_done_callback(done.put)
            if not under_way:
                return
            yield from _results(client, _ended(done), under_way)


def _ended(done: queue.SimpleQueue) -> list:
    """The futures that have ended, none if none does in five seconds."""
    with contextlib.suppress(queue.Empty):
        return [done.get(timeout=5), *(done.get() for _ in range(done.qsize()))]
    return []


def _results(client, ended: list, under_way: dict) -> Iterator[tuple]:
    """Results are fetched together: those of several take no longer than one."""
    from distributed import CancelledError, KilledWorker

    good = [future for future in ended if future.status == "finished"]
    try:
        for future, result in zip(good, client.gather(good)):
            yield under_way.pop(future), result
        for future in (future for future in ended if future not in good):
            try:
                result = future.result()
            except KilledWorker:
                result = LOST
            yield under_way.pop(future), result
    except CancelledError as error:
        raise ConnectionError(
            "the Dask scheduler was lost; finished parts stay: start it and run the same again"
        ) from error


@contextlib.contextmanager
def _dask_client(scheduler: str, workers: int):
    try:
        from distributed import Client, LocalCluster
        from distributed.comm import get_address_host_port
    except ImportError as error:
        raise ImportError(
            f'scheduler = "{scheduler}" needs Dask: `pip install distributed`, or take scheduler = "", the processes '
            "of this machine"
        ) from error
    with contextlib.ExitStack() as stack:
        logger = logging.getLogger("distributed.client")
        stack.callback(logger.setLevel, logger.level)
        logger.setLevel(logging.CRITICAL)  # what it logs is raised as well
        address = scheduler
        if scheduler == "local":
            stack.enter_context(fit_for_children())  # until the end, since lost workers are started again
            # no memory limit: as for other processes, and with many cores the even shares would be too small
            cluster = LocalCluster(
                n_workers=workers,
                threads_per_worker=1,
                host="127.0.0.1",
                memory_limit=0,
                silence_logs=logging.CRITICAL,
                scheduler_kwargs={
                    "allowed_failures": LOSSES - 1,
                    "dashboard": False,
                    "dashboard_address": "127.0.0.1:0",  # else another cluster of this machine may have the port
                },
                preload=[__name__],
            )
            address = stack.enter_context(cluster)
        else:
            try:  # a client that has failed to connect makes Python wait at its end
                socket.create_connection(get_address_host_port(scheduler), timeout=10).close()
            except OSError as error:
                raise OSError(
                    f"no Dask scheduler answers at {scheduler} ({error}): start one there (`dask scheduler`), or take "
                    'scheduler = "", the processes of this machine'
                ) from error
        yield stack.enter_context(Client(address, timeout=10, set_as_default=False))


def dask_setup(worker) -> None:
    """What Dask calls in the workers of a local cluster: an interrupt is for this process, which ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _check_workers(client, scheduler: str) -> None:
    threads = client.nthreads()
    if not threads:
        tqdm.write(f"{scheduler} has no workers yet; waiting for some (`dask worker {scheduler} --nthreads 1`)")
    if max(threads.values(), default=1) > 1:
        tqdm.write(
            "Some workers have several threads, of which one is used, since a worker holds one part at a time: start "
            "more workers with one thread each (`dask worker --nworkers … --nthreads 1`) to use all cores"
        )


def _in_worker(payload: bytes):
    with _one_at_a_time:
        cv2.setNumThreads(0)
        function, part = pickle.loads(payload)
        return function(part)
