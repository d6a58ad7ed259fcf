"""Independent work over parts of the data: in this process, on all cores, or on a Dask cluster."""

import contextlib
import os
import pickle
import re
import signal
import sys
import threading
import types
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection, get_context

import cv2
from tqdm import tqdm

THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
CONNECT_SECONDS = 10  # to wait for a Dask scheduler
LOST_AGAIN = (
    "{} lost its worker process more than once: out of memory (take fewer workers), or a file that crashes its "
    "decoder (remove it). Finished parts stay: the same command goes on from there"
)

_one_at_a_time = threading.Lock()


def map_parts(function: Callable, parts: Sequence, workers: int = 0, scheduler: str = "", unit: str = "field") -> list:
    """Call `function` on every part and return the results in the order of the parts.

    `function` must be importable by name, so that it can be sent to another process. Parts are small frozen dataclasses
    with a `name`; ``len(part)`` is how far the progress bar, which counts `unit`, moves when a part is done. `workers`
    are processes of this machine with one thread each; 0 for one a core, 1 for this process alone (what a GPU segmenter
    needs). `scheduler` is empty for these processes; ``local`` for a Dask cluster of them, closed at the end;
    ``tcp://host:port`` for the workers of that Dask scheduler, which need this library and the same paths; it is left
    as it is. A part whose worker process is lost (killed, out of memory) is done once more.

    Raises ValueError if `scheduler` is none of these, or workers cannot import `function`; ImportError if Dask is not
    installed; OSError if no scheduler answers, or it stops answering; RuntimeError if a part loses its worker process
    again; and whatever `function` raises. Finished parts stay, those under way may be given up.
    """
    if scheduler not in ("", "local") and not re.fullmatch(r"\w+://.+:\d+", scheduler):
        raise ValueError(f'scheduler is {scheduler!r}; expected "" (this machine), "local" or "tcp://host:port"')
    workers = min(workers or os.cpu_count() or 1, len(parts))
    if not parts or not scheduler and workers == 1:
        outcomes = ((number, function(part)) for number, part in enumerate(parts))
    elif (plain := getattr(function, "func", function)).__module__ == "__main__":  # func: of a functools.partial
        raise ValueError(
            f"{plain.__name__} is defined in the running script or notebook: put it into a module, or take workers = 1"
        )
    else:
        outcomes = _on_dask(function, parts, workers, scheduler) if scheduler else _on_cores(function, parts, workers)
    results = [None] * len(parts)
    # parts come seldom and in bursts (miniters), and those that were there already should be forgotten (smoothing)
    with tqdm(total=sum(map(len, parts)), unit=unit, miniters=1, smoothing=0.1, file=sys.stdout) as bar:
        with contextlib.closing(outcomes):
            for number, result in outcomes:
                results[number] = result
                bar.update(len(parts[number]))
    return results


@contextlib.contextmanager
def spawn_settings() -> Iterator[None]:
    """While this process starts others: one thread each, and the running script hidden, which they would run again."""
    script, counts = sys.modules["__main__"], [name for name in THREAD_COUNTS if name not in os.environ]
    sys.modules["__main__"] = types.ModuleType("__main__")
    os.environ.update(dict.fromkeys(counts, "1"))
    try:
        yield
    finally:
        sys.modules["__main__"] = script
        for name in counts:
            del os.environ[name]


def dask_setup(worker=None) -> None:
    """In a new process, also of a local cluster (Dask calls this name): an interrupt is for the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _work(payload: bytes):
    with _one_at_a_time:  # Dask workers may have several threads
        cv2.setNumThreads(0)
        function, part = pickle.loads(payload)
        return function(part)


def _on_cores(function: Callable, parts: Sequence, workers: int) -> Iterator[tuple]:
    """Yield (number of a part, its result) from child processes, an executor each: one that is lost had one part."""
    context = get_context("spawn")  # a forked child would inherit the threads' locks of whatever the notebook imported
    lifeline, end = context.Pipe(duplex=False)
    waiting, idle, lost, under_way = deque(range(len(parts))), [], set(), {}  # under_way: future -> (number, child)
    with contextlib.ExitStack() as children, lifeline, end:
        while waiting or under_way:
            while waiting and len(under_way) < workers:
                # a part that was lost is done again alone: memory may have been short
                if under_way and not lost.isdisjoint([waiting[0], *(number for number, _ in under_way.values())]):
                    break
                number = waiting.popleft()
                while idle and number in lost:
                    idle.pop().shutdown()
                if not idle:
                    idle.append(children.enter_context(ProcessPoolExecutor(1, context, _live_with, (lifeline,))))
                with spawn_settings():  # the first call starts the process
                    future = idle[-1].submit(_work, pickle.dumps((function, parts[number])))
                under_way[future] = number, idle.pop()
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                number, child = under_way.pop(future)
                if not isinstance(future.exception(), BrokenProcessPool):
                    idle.append(child)
                    yield number, future.result()
                elif number in lost:
                    raise RuntimeError(LOST_AGAIN.format(parts[number].name)) from future.exception()
                else:
                    tqdm.write(f"{parts[number].name}: its process was lost; it is done again, alone")
                    lost.add(number)
                    waiting.appendleft(number)


def _live_with(lifeline) -> None:
    """In a new child: end it when nobody has the other end of the pipe, closed or gone with a killed parent."""

    def end_with_parent():
        connection.wait([lifeline])
        os._exit(1)

    dask_setup()
    threading.Thread(target=end_with_parent, daemon=True).start()


def _on_dask(function: Callable, parts: Sequence, workers: int, scheduler: str) -> Iterator[tuple]:
    """As `_on_cores`, on a Dask cluster. It gives the part of a lost worker to another by itself."""
    with _dask_client(scheduler, workers) as client:
        from distributed import CancelledError, KilledWorker, as_completed

        waiting, under_way, ended = deque(range(len(parts))), {}, as_completed(loop=client.loop)
        while waiting or under_way:
            # no more parts than workers: Dask holds the loss of a worker against all parts that wait there
            while waiting and len(under_way) < max(1, len(client.nthreads())):
                # pickled here, since Dask would look into the parts for futures
                future = client.submit(_work, pickle.dumps((function, parts[waiting[0]])), pure=False)
                under_way[future] = waiting.popleft()
                ended.add(future)
            future = next(ended)
            number = under_way.pop(future)
            try:
                yield number, future.result()
            except KilledWorker as error:
                raise RuntimeError(LOST_AGAIN.format(parts[number].name)) from error
            except CancelledError as error:
                raise ConnectionError("the Dask scheduler was lost; finished parts stay: run the same again") from error


@contextlib.contextmanager
def _dask_client(scheduler: str, workers: int):
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise ImportError(f'scheduler = "{scheduler}" needs Dask (`pip install distributed`); "" does not') from error
    with contextlib.ExitStack() as stack:
        if scheduler == "local":
            stack.enter_context(spawn_settings())  # until the end, since lost workers are started again
            cluster = LocalCluster(
                host="127.0.0.1",
                n_workers=workers,
                threads_per_worker=1,
                memory_limit=0,  # as for other processes
                silence_logs="CRITICAL",
                scheduler_kwargs={"allowed_failures": 1, "dashboard": False, "dashboard_address": "127.0.0.1:0"},
                preload=[__name__],
            )
            scheduler = stack.enter_context(cluster)
        try:
            client = Client(scheduler, timeout=CONNECT_SECONDS, set_as_default=False)
        except OSError as error:
            raise OSError(f"no Dask scheduler answers at {scheduler}; start one (`dask scheduler`): {error}") from error
        yield stack.enter_context(client)
