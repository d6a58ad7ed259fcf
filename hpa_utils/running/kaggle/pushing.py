"""The commands of Kaggle's command line that upload what is staged and run it, and running them in order."""

import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

from hpa_utils.running.kaggle.schema import SAMPLE_OWNER, Plan

RUNNING = ("queued", "running", "new_script", "pending", "cancel_requested")
NOTE = "staged"


def push_commands(plan: Plan, out: str | Path) -> list[str]:
    """The lines that a person types, in order; comments begin with ``#``."""
    library, identity = Path(out) / plan.library.slug, f"{plan.owner}/{plan.library.slug}"
    lines = [
        "# the library; the first time only the first line, later only the second",
        shlex.join(_create(library)),
        shlex.join(_version(library)),
        shlex.join(["kaggle", "datasets", "status", identity]) + "  # until it says ready",
        "# the kernels, each when the one before has the status complete",
    ]
    for slug in plan.push:
        lines.append(shlex.join(_push(Path(out) / slug)))
        lines.append(shlex.join(["kaggle", "kernels", "status", f"{plan.owner}/{slug}"]))
    others = [kernel.slug for kernel in plan.kernels if kernel.slug not in plan.push]
    if others:
        lines.append(f"# staged, too, but not among those to push: {', '.join(others)}")
    if "submit" in plan.push:
        lines.append("# the leaderboard; N is the version that the last push printed")
        kernel = f"{plan.owner}/submit"
        lines.append(f'kaggle competitions submit {plan.competition} -k {kernel} -v N -f submission.csv -m "{NOTE}"')
    return lines


def push(plan: Plan, out: str | Path, wait: float = 60.0) -> None:
    """Upload the library and push the kernels, each when the one before is complete.

    What the commands print, and each kernel's own log, is kept in ``logs/`` of the staged folder.

    Parameters
    ----------
    out : path
        As of `staging.stage`.
    wait : float
        Seconds between two looks at a status.

    Raises
    ------
    ValueError
        If the manifest still has the sample owner.
    FileNotFoundError
        If the command line or its credentials are missing.
    RuntimeError
        Naming the log, if an upload is refused, a source is not valid, or a kernel fails.
    """
    _check_ready(plan)
    logs = Path(out) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    library, identity = Path(out) / plan.library.slug, f"{plan.owner}/{plan.library.slug}"
    there = _run(["kaggle", "datasets", "status", identity], logs / "library.log", may_fail=True)
    uploaded = _run((_create if there is None else _version)(library), logs / "library.log")
    if "is being created" not in uploaded:
        raise RuntimeError(f"the library was not uploaded: {uploaded.strip()} ({logs / 'library.log'})")
    while "ready" not in (said := _run(["kaggle", "datasets", "status", identity], logs / "library.log")).lower():
        if "error" in said.lower():
            raise RuntimeError(f"Kaggle could not take the library in: {said.strip()} ({logs / 'library.log'})")
        time.sleep(wait)
    for slug in plan.push:
        _push_and_wait(f"{plan.owner}/{slug}", Path(out) / slug, logs / f"{slug}.log", wait)


def _push_and_wait(identity: str, folder: Path, log: Path, wait: float) -> None:
    said = _run(_push(folder), log)
    # the command line ends well even if it was refused, or a source was left out
    if "successfully pushed" not in said or "not valid" in said:
        raise RuntimeError(f"{identity} was not pushed as it should be: {said.strip()} ({log})")
    print(said.strip(), flush=True)
    status = ""
    while True:
        said = _run(["kaggle", "kernels", "status", identity], log)
        found = re.search(r'has status "(?:\w+\.)?(\w+)"', said)
        if not found:
            raise RuntimeError(f"{identity}: no status in {said.strip()!r} ({log})")
        if found[1].lower() != status:
            status = found[1].lower()
            print(f"{identity}: {status}", flush=True)
        if status not in RUNNING:
            break
        time.sleep(wait)
    _run(["kaggle", "kernels", "logs", identity], log, may_fail=True)
    if status != "complete":
        raise RuntimeError(f"{identity} ended as {status}: {said.strip()}; its log is in {log}")


def _check_ready(plan: Plan) -> None:
    if plan.owner == SAMPLE_OWNER:
        raise ValueError('owner is still the sample: put your Kaggle name into "owner" of kaggle-metadata.json')
    if not shutil.which("kaggle"):
        raise FileNotFoundError("there is no `kaggle` command: pip install kaggle")
    folder = Path(os.environ.get("KAGGLE_CONFIG_DIR", Path.home() / ".kaggle"))
    named = {"KAGGLE_API_TOKEN", "KAGGLE_KEY"} & set(os.environ)
    if not named and not any((folder / name).is_file() for name in ("kaggle.json", "access_token", "credentials.json")):
        raise FileNotFoundError(
            f"no credentials of Kaggle: make a token at kaggle.com/settings and put it into {folder / 'kaggle.json'}, "
            "or into KAGGLE_API_TOKEN"
        )


def _create(folder: Path) -> list[str]:
    # folders are left out unless zipped; Kaggle unpacks them
    return ["kaggle", "datasets", "create", "-p", str(folder), "-r", "zip"]


def _version(folder: Path) -> list[str]:
    return ["kaggle", "datasets", "version", "-p", str(folder), "-r", "zip", "-m", NOTE]


def _push(folder: Path) -> list[str]:
    return ["kaggle", "kernels", "push", "-p", str(folder)]


def _run(command: list[str], log: Path, may_fail: bool = False) -> str | None:
    """What a command prints, kept in the log; None if it failed and may."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with open(log, "a") as file:
        file.write(f"$ {shlex.join(command)}\n{done.stdout}")
    if not done.returncode:
        return done.stdout
    if may_fail:
        return None
    last = (done.stdout.strip().splitlines() or ["no word"])[-1]
    raise RuntimeError(f"`{shlex.join(command)}` failed with exit code {done.returncode}: {last} ({log})")
