"""The same work in this process, in others and on Dask, whatever is lost on the way."""

import contextlib
import dataclasses
import functools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import pytest

from hpa_utils import parallel
from hpa_utils.parallel import map_parts

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}  # how others import this file
EVERYWHERE = [(1, ""), (2, ""), (2, "local")]
SQUARES = [[0, 1], [4, 9], [16, 25], [36, 49], [64, 81], [100, 121]]


@dataclasses.dataclass(frozen=True)
class Part:
    """Two numbers, and the folder that takes one file a number."""

    name: str
    numbers: tuple
    folder: Path

    def __len__(self):
        return len(self.numbers)


def parts_in(folder):
    return [Part(f"part-{first}", (first, first + 1), folder) for first in range(0, 12, 2)]


def write_squares(part):
    for number in part.numbers:
        (part.folder / f"{number}").write_text(str(number**2))
    return [number**2 for number in part.numbers]


def refuse_seven(part):
    if 7 in part.numbers:
        raise ValueError("seven is refused")
    return write_squares(part)


def die_at_seven(part, times):
    """Kills its process at 7, the first so many times."""
    deaths = part.folder / "deaths"
    before = len(deaths.read_bytes()) if deaths.exists() else 0
    if 7 in part.numbers and before < times:
        deaths.write_bytes(b"x" * (before + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return write_squares(part)


def threads(part):
    return cv2.getNumThreads(), os.environ["OMP_NUM_THREADS"]


def note_process(part):
    """Leaves a file while it works, named by its process."""
    under_way = part.folder / f"pid-{os.getpid()}"
    under_way.touch(exist_ok=False)  # no second part at the same time in this process
    time.sleep(0.5)
    under_way.unlink()
    return write_squares(part)


def hang(part):
    (part.folder / f"pid-{os.getpid()}").touch()
    time.sleep(600)


def processes_in(folder):
    return [int(path.name.removeprefix("pid-")) for path in folder.glob("pid-*")]


def lives(process_id):
    status = Path(f"/proc/{process_id}/stat")
    return status.exists() and status.read_text().split()[2] != "Z"


def wait_for(condition):
    end = time.monotonic() + 30
    while not (found := condition()):
        assert time.monotonic() < end, "waited half a minute"
        time.sleep(0.05)
    return found


@pytest.mark.parametrize("workers, scheduler", EVERYWHERE)
def test_results_come_in_the_order_of_the_parts_wherever_they_are_made(tmp_path, capsys, workers, scheduler):
    assert map_parts(write_squares, parts_in(tmp_path), workers, scheduler, unit="number") == SQUARES
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(12))
    assert "12/12" in capsys.readouterr().out  # the progress bar counts what is in the parts


@pytest.mark.parametrize("workers, scheduler", EVERYWHERE)
def test_what_the_function_raises_is_raised_and_finished_parts_stay(tmp_path, workers, scheduler):
    with pytest.raises(ValueError, match="seven is refused"):
        map_parts(refuse_seven, parts_in(tmp_path), workers, scheduler)
    written = {path.name for path in tmp_path.iterdir()}
    assert len(written) >= 4 and not written & {"6", "7"}  # the fourth part begins when two are done


@pytest.mark.parametrize("workers, scheduler", EVERYWHERE[1:])
def test_the_part_of_a_lost_process_is_done_again(tmp_path, workers, scheduler):
    assert map_parts(functools.partial(die_at_seven, times=1), parts_in(tmp_path), workers, scheduler) == SQUARES
    assert (tmp_path / "deaths").read_bytes() == b"x"


@pytest.mark.parametrize("workers, scheduler", EVERYWHERE[1:])
def test_a_part_that_loses_its_process_twice_is_an_error_that_names_it(tmp_path, workers, scheduler):
    with pytest.raises(RuntimeError, match="part-6 lost its worker process more than once: out of memory"):
        map_parts(functools.partial(die_at_seven, times=9), parts_in(tmp_path), workers, scheduler)
    assert (tmp_path / "deaths").read_bytes() == b"xx"
    assert {"0", "1", "2", "3"} <= {path.name for path in tmp_path.iterdir()}
    (tmp_path / "deaths").write_bytes(b"x" * 9)  # the cause is removed
    assert map_parts(functools.partial(die_at_seven, times=9), parts_in(tmp_path), workers) == SQUARES


def test_workers_use_one_thread_each(tmp_path):
    assert set(map_parts(threads, parts_in(tmp_path), 2)) == {(1, "1")}


@pytest.mark.parametrize("scheduler", ["cluster", "LOCAL", "tcp://host", "host:8786"])
def test_an_unknown_scheduler_is_refused(tmp_path, scheduler):
    with pytest.raises(ValueError, match=f"scheduler is '{scheduler}'; expected"):
        map_parts(write_squares, parts_in(tmp_path), scheduler=scheduler)


def test_a_scheduler_that_is_not_there_is_an_error_with_the_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(parallel, "CONNECT_SECONDS", 1)
    with socket.socket() as bound_but_silent:
        bound_but_silent.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{bound_but_silent.getsockname()[1]}"
        with pytest.raises(OSError, match=f"no Dask scheduler answers at {address}.*dask scheduler"):
            map_parts(write_squares, parts_in(tmp_path), scheduler=address)


def test_without_dask_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ImportError, match='scheduler = "local" needs Dask .*pip install distributed'):
        map_parts(write_squares, parts_in(tmp_path), scheduler="local")


@pytest.mark.parametrize("scheduler", ["", "local"])
def test_a_script_without_main_guard_runs_once(tmp_path, scheduler):
    script = tmp_path / "script.py"
    script.write_text(f"""
from test_parallel import *
print("started")
parts = parts_in(Path({str(tmp_path)!r}))
map_parts(write_squares, parts, 2, {scheduler!r})
def own(part): pass
try:
    map_parts(own, parts, 2, {scheduler!r})
except ValueError as error:
    print(error)
""")
    done = subprocess.run([sys.executable, script], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("started") == 1 and "own is defined in the running script" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("scheduler", ["", "local"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_an_interrupted_or_killed_parent(tmp_path, scheduler, how):
    code = f"from test_parallel import *; map_parts(hang, parts_in(Path({str(tmp_path)!r})), 2, {scheduler!r})"
    with subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as parent:
        wait_for(lambda: len(processes_in(tmp_path)) == 2)
        parent.send_signal(how)
        assert ("KeyboardInterrupt" in parent.communicate(timeout=30)[1]) == (how == signal.SIGINT)
    assert parent.returncode == -how
    wait_for(lambda: not any(map(lives, processes_in(tmp_path))))


@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler and two workers, each a process; gives the scheduler's address."""
    about = tmp_path / "scheduler.json"
    with contextlib.ExitStack() as stack, (tmp_path / "log").open("w") as log:

        def start(module, *options):
            command = [sys.executable, "-m", f"distributed.cli.{module}", *options, "--no-dashboard"]
            process = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log, cwd=tmp_path)
            stack.callback(process.wait)
            stack.callback(process.kill)

        loopback = ["--host", "127.0.0.1", "--port", "0", "--dashboard-address", "127.0.0.1:0"]
        start("dask_scheduler", *loopback, "--scheduler-file", str(about))
        wait_for(lambda: about.exists() and about.read_text().endswith("}"))
        address = json.loads(about.read_text())["address"]
        for _ in range(2):
            start("dask_worker", address, "--no-nanny", "--nthreads", "2")
        yield address


def test_a_cluster_that_loses_a_worker_does_all_parts_and_is_left_as_it_is(tmp_path, cluster):
    def kill_a_worker():
        victim = wait_for(lambda: processes_in(tmp_path))[0]
        os.kill(victim, signal.SIGKILL)
        return victim

    with ThreadPoolExecutor(1) as pool:
        victim = pool.submit(kill_a_worker)
        assert map_parts(note_process, parts_in(tmp_path), scheduler=cluster) == SQUARES
    assert processes_in(tmp_path) == [victim.result()]  # it was in the middle of a part
    assert map_parts(write_squares, parts_in(tmp_path), scheduler=cluster) == SQUARES  # by the worker that is left
