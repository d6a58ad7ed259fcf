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
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from conftest import field_with_cells, write_field
from distributed import Client

from hpa_utils import tables
from hpa_utils.dataset import open_dataset
from hpa_utils.running.fanout import fanout
from hpa_utils.segmentation import WatershedSegmenter, plan_segmentation, segment_part

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(__file__).parent)}  # how others import this file
EVERYWHERE = [(1, ""), (2, ""), (2, "local")]


@dataclasses.dataclass(frozen=True)
class Part:
    """Some numbers, and the folder that takes one file a number."""

    name: str
    numbers: tuple
    folder: Path
    isolated: bool = False

    def __len__(self):
        return len(self.numbers)


def parts_in(folder):
    return [Part(f"part-{first}", (first, first + 1), folder) for first in range(0, 12, 2)]


def write_squares(part):
    for number in part.numbers:
        (part.folder / f"{number}").write_text(str(number**2))
    return {"squares": [number**2 for number in part.numbers], "isolated": part.isolated}


def refuse_seven(part):
    if 7 in part.numbers:
        raise ValueError("seven is refused")
    return write_squares(part)


def end_at_seven(part, times):
    """Kills its process at 7, the first so many times and unless it is isolated."""
    killed = part.folder / "killed"
    before = len(killed.read_bytes()) if killed.exists() else 0
    if 7 in part.numbers and before < times and not part.isolated:
        killed.write_bytes(b"x" * (before + 1))
        os.kill(os.getpid(), signal.SIGKILL)
    return write_squares(part)


def segment_slowly(part, attempts):
    (attempts / f"{part.name}.{os.getpid()}").touch()
    busy = part.stage / f"busy-{os.getpid()}"
    busy.touch(exist_ok=False)  # no second part at the same time in this worker
    time.sleep(0.4)  # long enough to be killed in it
    done = segment_part(part)
    busy.unlink()
    return done


@dataclasses.dataclass(frozen=True)
class WatershedThatDies(WatershedSegmenter):
    """Takes its process with it where a field's first pixel is white, as a broken file may."""

    def segment(self, field):
        if field[0, 0].all():
            os.kill(os.getpid(), signal.SIGKILL)
        return super().segment(field)


def expected(isolated=()):
    return [{"squares": [first**2, (first + 1) ** 2], "isolated": first in isolated} for first in range(0, 12, 2)]


@pytest.mark.parametrize("workers, scheduler", EVERYWHERE)
def test_results_come_in_the_order_of_the_parts_wherever_they_are_made(tmp_path, workers, scheduler):
    assert fanout(write_squares, parts_in(tmp_path), workers, scheduler) == expected()
    assert sorted(int(path.name) for path in tmp_path.iterdir()) == list(range(12))


@pytest.mark.parametrize("workers, scheduler", EVERYWHERE)
def test_what_the_function_raises_is_raised_and_finished_parts_stay(tmp_path, workers, scheduler):
    with pytest.raises(ValueError, match="seven is refused"):
        fanout(refuse_seven, parts_in(tmp_path), workers, scheduler)
    assert {"0", "1", "2", "3"} <= {path.name for path in tmp_path.iterdir()} <= set(map(str, range(12))) - {"6", "7"}


def test_the_part_of_a_lost_worker_is_done_again(tmp_path):
    assert fanout(functools.partial(end_at_seven, times=1), parts_in(tmp_path), 2) == expected()
    assert (tmp_path / "killed").read_bytes() == b"x"


@pytest.mark.parametrize("workers, scheduler", EVERYWHERE[1:])
def test_a_part_that_loses_every_worker_is_done_last_and_isolated(tmp_path, capsys, workers, scheduler):
    done = fanout(functools.partial(end_at_seven, times=99), parts_in(tmp_path), workers, scheduler)
    assert [part["squares"] for part in done] == [part["squares"] for part in expected()]
    isolated = [first for first, part in zip(range(0, 12, 2), done) if part["isolated"]]
    assert 6 in isolated
    if not scheduler:
        assert isolated == [6]  # Dask also suspects the part that waited behind it
    assert (tmp_path / "killed").read_bytes() == b"xxx"
    assert "part-6: its workers were lost" in capsys.readouterr().out


def test_a_field_that_kills_its_process_is_set_aside_and_the_others_are_kept(tmp_path):
    for number in range(10):
        field = field_with_cells()
        field[0, 0] = 255 if number == 9 else 0
        write_field(tmp_path / "data", f"f{number}", field)
    plan = plan_segmentation(open_dataset(tmp_path / "data"), ["test"], WatershedThatDies(0.32), tmp_path / "out")
    assert [len(part) for part in plan] == [8, 2]
    assert fanout(segment_part, plan, 2) == [{"fields": 8, "reused": 0}, {"fields": 2, "reused": 0}]
    fields = tables.read_parts(tmp_path / "out" / "fields").set_index("image_id")
    assert fields["n_cells"].tolist() == [2] * 9 + [0]
    assert "exit code -9" in fields["error"]["f9"] and (fields["error"][:9] == "").all()


@pytest.mark.parametrize("scheduler", ["cluster", "LOCAL"])
def test_an_unknown_scheduler_is_refused(tmp_path, scheduler):
    with pytest.raises(ValueError, match=scheduler):
        fanout(write_squares, parts_in(tmp_path), scheduler=scheduler)


def test_a_scheduler_that_is_not_there_is_an_error_with_the_way_out(tmp_path):
    with socket.socket() as bound_but_silent:
        bound_but_silent.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{bound_but_silent.getsockname()[1]}"
        with pytest.raises(OSError, match=f"no Dask scheduler answers at {address}.*dask scheduler"):
            fanout(write_squares, parts_in(tmp_path), scheduler=address)


@pytest.mark.parametrize("scheduler", ["", "local"])
def test_a_script_without_main_guard_runs_once(tmp_path, scheduler):
    script = tmp_path / "script.py"
    script.write_text(f"""
import pathlib
import test_fanout
print("started")
parts = test_fanout.parts_in(pathlib.Path({str(tmp_path)!r}))
test_fanout.fanout(test_fanout.write_squares, parts, 2, {scheduler!r})
def own(part): pass
try:
    test_fanout.fanout(own, parts, 2, {scheduler!r})
except ValueError as error:
    print(error)
""")
    done = subprocess.run([sys.executable, script], env=ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("started") == 1 and "own is defined in the running script" in done.stdout
    assert done.stderr == ""


@pytest.fixture
def cluster(tmp_path):
    """A Dask scheduler and two workers, each a process; gives the scheduler's address and the workers."""
    about = tmp_path / "scheduler.json"
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0"]
    with contextlib.ExitStack() as stack, (tmp_path / "log").open("w") as log:

        def start(*command):
            process = subprocess.Popen(command, env=ENVIRONMENT, stdout=log, stderr=log, cwd=tmp_path)
            stack.callback(process.wait)
            stack.callback(process.kill)
            return process

        command += ["--no-dashboard", "--dashboard-address", "127.0.0.1:0", "--scheduler-file", str(about)]
        start(*command)
        wait_for(lambda: about.exists() and about.read_text().endswith("}"))
        address = json.loads(about.read_text())["address"]
        worker = [sys.executable, "-m", "distributed.cli.dask_worker", address, "--no-nanny", "--no-dashboard"]
        workers = [start(*worker, "--nthreads", "2") for _ in range(2)]
        with Client(address, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=30)
        yield address, workers


def wait_for(condition):
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError("waited half a minute")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("part-*.parquet")}


def test_a_cluster_that_loses_a_worker_gives_the_same_files(tmp_path, cluster):
    for number in range(80):
        write_field(tmp_path / "data", f"f{number:02d}", field_with_cells())
    dataset = open_dataset(tmp_path / "data")
    plans = {
        name: plan_segmentation(dataset, ["test"], WatershedSegmenter(0.32), tmp_path / name)
        for name in ("here", "cluster")
    }
    here = fanout(segment_part, plans["here"], workers=1)

    scheduler, workers = cluster
    attempts = tmp_path / "attempts"
    for folder in (attempts, tmp_path / "cluster"):
        folder.mkdir()

    def kill_in_the_middle():
        """Ends the first worker that is in its second part; gives it, and how many files there are then."""
        begun = Counter()
        while not (victims := [worker for worker in workers if begun[worker.pid] == 2]):
            time.sleep(0.02)
            begun = Counter(int(path.suffix[1:]) for path in attempts.iterdir())
        victims[0].kill()
        return victims[0], len(contents(tmp_path / "cluster"))

    with ThreadPoolExecutor(1) as pool:
        killed = pool.submit(kill_in_the_middle)
        there = fanout(functools.partial(segment_slowly, attempts=attempts), plans["cluster"], scheduler=scheduler)
        victim, written = killed.result()
    assert 0 < written < 2 * len(plans["here"]) == 20
    assert victim.wait() == -signal.SIGKILL and [worker.poll() for worker in workers].count(None) == 1
    started = Counter(path.stem for path in attempts.iterdir())
    assert len(started) == 10 < started.total()  # what the lost worker had under way was begun again
    assert [part["fields"] for part in there] == [part["fields"] for part in here] == [8] * 10
    assert contents(tmp_path / "cluster") == contents(tmp_path / "here")
