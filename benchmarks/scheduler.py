"""A Dask scheduler under many small tasks: `python benchmarks/scheduler.py [--tasks N]`.

Starts a `distributed` scheduler and two worker processes on loopback, sends N parts (10,000 if nothing is said)
through `map_parts`, as the notebooks do, and prints tasks/s, and of scheduler, client and workers the CPU time a task
and the most memory. A part is the IDs of 200 fields, its work to count them: measured is all but the work.
"""

import argparse
import contextlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import distributed

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hpa_utils.parallel import map_parts  # noqa: E402

WORKERS = 2
FIELDS = 200  # of a part


def usage():
    """CPU seconds and largest memory, MB, of the process that runs this."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def used(watcher):
    """CPU seconds and largest memory, MB, of scheduler, client and all workers together."""
    workers = zip(*watcher.run(usage).values())
    return {"scheduler": watcher.run_on_scheduler(usage), "client": usage(), "workers": tuple(map(sum, workers))}


@contextlib.contextmanager
def cluster(folder):
    """Scheduler and workers, each a process; gives the scheduler's address."""
    about, log = Path(folder) / "scheduler.json", (Path(folder) / "log").open("w")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with contextlib.ExitStack() as stack:

        def start(module, *options):
            command = [sys.executable, "-m", f"distributed.cli.{module}", *options, "--no-dashboard"]
            process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, cwd=folder)
            stack.callback(process.wait)
            stack.callback(process.kill)

        start(
            "dask_scheduler",
            "--host",
            "127.0.0.1",
            "--port",
            "0",
            "--scheduler-file",
            str(about),
            "--dashboard-address",
            "127.0.0.1:0",
        )
        while not (about.exists() and about.read_text().endswith("}")):
            time.sleep(0.1)
        address = json.loads(about.read_text())["address"]
        for _ in range(WORKERS):
            start("dask_worker", address, "--nthreads", "1")
        yield address


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=10_000)
    tasks = parser.parse_args().tasks
    print(f"machine: {os.cpu_count()} cores, Python {platform.python_version()}, distributed {distributed.__version__}")
    ids = tuple(str(uuid.UUID(int=number)) for number in range(FIELDS))
    with tempfile.TemporaryDirectory() as folder, cluster(folder) as address:
        with distributed.Client(address, set_as_default=False) as watcher:
            watcher.wait_for_workers(WORKERS)
            map_parts(len, [ids] * 100, scheduler=address)  # warm up
            before = used(watcher)
            start = time.perf_counter()
            counts = map_parts(len, [ids] * tasks, scheduler=address)
            taken = time.perf_counter() - start
            after = used(watcher)
    assert counts == [FIELDS] * tasks
    print(f"{tasks:,} tasks through {WORKERS} workers of one thread, one each at a time: {taken:.0f} s")
    print(f"  {tasks / taken:.0f} tasks/s")
    for name, (seconds, memory) in after.items():
        print(f"  {name}: {1e6 * (seconds - before[name][0]) / tasks:.0f} µs CPU a task, at most {memory:.0f} MB")


if __name__ == "__main__":
    main()
