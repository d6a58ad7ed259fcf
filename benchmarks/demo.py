"""What the README says of the demo: time, memory, score, and how long the second run takes.

    python benchmarks/demo.py [--out runs/benchmark]

Runs the steps of `make demo` twice in an empty folder, from a .venv that is warm, and prints a table.
"""

import argparse
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import psutil


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="runs/benchmark", help="folder for the run; emptied first")
    out = Path(parser.parse_args().out)
    shutil.rmtree(out, ignore_errors=True)
    first, second = run_demo(out), run_demo(out)
    score = json.loads((out / "out" / "score.json").read_text())
    paths = [path for pattern in ("out/*/manifest.json", "out/*/*/manifest.json") for path in out.glob(pattern)]
    manifests = {
        path.parent.relative_to(out / "out").as_posix(): json.loads(path.read_text()) for path in sorted(paths)
    }
    packages = ", ".join(f"{name} {version(name)}" for name in ("tensorflow", "keras", "numpy"))
    print(f"\nmachine: {os.cpu_count()} cores, no GPU, Python {platform.python_version()}, {packages}")
    print(f"first run:   {first['seconds'] / 60:.1f} min, all processes together {first['gigabytes']:.1f} GB at most")
    print(f"second run:  {second['seconds']:.0f} s, every stage skipped")
    print(f"score:       mAP {score['mean_average_precision']:.3f} on simulated fields")
    for name, manifest in manifests.items():
        counts = ", ".join(f"{value} {key}" for key, value in manifest["counts"].items())
        print(f"{name:24s} {first['notebooks'][name]:>4s} s: {counts}")


def run_demo(out: Path) -> dict:
    """What `make demo` took: seconds, in all and by notebook, and the peak of the memory of all its processes (GB)."""
    start, peak = time.monotonic(), 0
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(["make", "--no-print-directory", "demo", f"DEMO={out}"], stdout=log)
        tree = psutil.Process(process.pid)
        while process.poll() is None:
            peak = max(peak, sum(_memory(child) for child in [tree, *_children(tree)]))
            time.sleep(0.5)
        log.seek(0)
        printed = log.read()
    if process.returncode:
        sys.exit(f"{printed}\nmake demo failed with exit code {process.returncode}")
    notebooks = dict(re.findall(r"\] (\S+): done in (\d+) s", printed))
    return {"seconds": time.monotonic() - start, "gigabytes": peak / 1e9, "notebooks": notebooks}


def _children(process: psutil.Process) -> list:
    try:
        return process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _memory(process: psutil.Process) -> int:
    try:
        return process.memory_info().rss
    except psutil.NoSuchProcess:
        return 0


if __name__ == "__main__":
    main()
