"""The folders that Kaggle's command line uploads, one for each kernel and one for the library, and the upload."""

import re
import shlex
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import jupytext
import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from hpa_utils.paths import REPOSITORY, write_json
from hpa_utils.running.kaggle.schema import MANIFEST, SAMPLE_OWNER, Kernel, Plan, kernel_runs, requirement
from hpa_utils.running.notebooks import SOURCES

METADATA = ("kernel-metadata.json", "dataset-metadata.json")
FOLDERS = ("hpa_utils", "hpa_explorer", "hpa_simulator", "notebooks", "tests")
FILES = ("LICENSE", "README.md", "pyproject.toml", "requirements.txt", MANIFEST.name)
GPU = "NvidiaTeslaT4"  # two of them in each session


def stage(plan: Plan, out: str | Path, wheels: list[Path]) -> list[Path]:
    """Write the folder of the library and one for each kernel, named by their slugs; earlier ones are replaced.

    Returns
    -------
    list of Path
        The folders, the library's first.

    Raises
    ------
    FileExistsError
        If a folder of that name is there that was not written here.
    """
    folders = [Path(out) / slug for slug in (plan.library.slug, *(kernel.slug for kernel in plan.kernels))]
    for folder in folders:
        if folder.exists() and not any((folder / name).is_file() for name in METADATA):
            raise FileExistsError(f"{folder} is there and holds none of {', '.join(METADATA)}: take another --out")
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    _stage_library(plan, folders[0], wheels)
    for kernel, folder in zip(plan.kernels, folders[1:], strict=True):
        write_json(folder / "kernel-metadata.json", kernel_metadata(plan, kernel))
        path, (_, parameters) = folder / f"{kernel.notebook}.ipynb", kernel_runs(plan, kernel)
        nbformat.write(jupytext.read(SOURCES / f"{kernel.notebook}.py"), path)
        if parameters:  # Kaggle passes none, so they become a cell
            notebook = parameterize_notebook(load_notebook_node(str(path)), parameters)
            del notebook.metadata["papermill"]
            nbformat.write(notebook, path)
    return folders


def build_wheels(plan: Plan, folder: str | Path) -> list[Path]:
    """The wheels of the packages that Kaggle's image lacks, downloaded or built by pip.

    Raises
    ------
    RuntimeError
        If pip cannot have one, as without the package registry.
    ValueError
        If one is for a certain system or version of Python.
    """
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    wanted = [requirement(package) for package in plan.library.packages]
    done = subprocess.run([*pip, "--wheel-dir", str(folder), *wanted], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"no wheels of {', '.join(wanted)}; pip needs its package registry:\n{done.stderr.strip()}")
    found = sorted(Path(folder).glob("*.whl"))
    for path in found:
        if not path.name.endswith("-none-any.whl"):
            raise ValueError(f"{path.name} is not for every system and version of Python, so Kaggle may not take it")
    return found


def _stage_library(plan: Plan, folder: Path, wheels: list[Path]) -> None:
    """The data set: our folders, and beside them the wheels, unpacked too, since nothing can be installed offline."""
    described = {"title": plan.library.title, "id": f"{plan.owner}/{plan.library.slug}", "licenses": [{"name": "MIT"}]}
    write_json(folder / "dataset-metadata.json", described)  # first: by it a later call knows the folder
    for wheel in wheels:
        shutil.copy(wheel, folder)
        with zipfile.ZipFile(wheel) as archive:
            # a package may bring tests of its own, in a folder that ours would be mixed with
            names = [name for name in archive.namelist() if not name.startswith("tests/") and ".dist-info/" not in name]
            archive.extractall(folder, names)
    for name in FOLDERS:
        left_out = shutil.ignore_patterns("__pycache__", ".*", "*.ipynb")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=left_out)
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder)


def kernel_metadata(plan: Plan, kernel: Kernel) -> dict:
    """A kernel's ``kernel-metadata.json``."""
    datasets = [plan.library.slug, *kernel.datasets]
    metadata = {
        "id": f"{plan.owner}/{kernel.slug}",
        "title": kernel.title,
        "code_file": f"{kernel.notebook}.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": kernel.gpu,
        "enable_tpu": False,
        "enable_internet": False,  # Kaggle's default is true, with which nothing can be submitted
        "dataset_sources": [name if "/" in name else f"{plan.owner}/{name}" for name in datasets],
        "competition_sources": [plan.competition] if kernel.competition else [],
        "kernel_sources": [f"{plan.owner}/{slug}" for slug in kernel.sources],
        "model_sources": [],
        "keywords": [],
    }
    return metadata | ({"machine_shape": GPU} if kernel.gpu else {})


def push_commands(plan: Plan, out: str | Path) -> list[str]:
    """The lines that a person types, in order; comments begin with ``#``."""
    create, version, status = map(shlex.join, _library_commands(plan, out))
    lines = ["# the library; the first time only the first line, later only the second", create, version]
    lines += [f"{status}  # until it says ready", "# the kernels, each when the one before has the status complete"]
    lines += [shlex.join(command) for slug in plan.push for command in _kernel_commands(plan, out, slug)]
    if "submit" in plan.push:
        lines += ["# the leaderboard; N is the version that the last push printed"]
        lines += [f"kaggle competitions submit {plan.competition} -k {plan.owner}/submit -v N -f submission.csv -m hpa"]
    return lines


def push(plan: Plan, out: str | Path, wait: float = 60.0) -> None:
    """Upload the library and push the kernels, each when the one before is complete; looks each `wait` seconds.

    What the commands print, and each kernel's own log, is kept in ``logs/`` of the staged folder.

    Raises
    ------
    ValueError, FileNotFoundError
        If the manifest still has the sample owner; if there is no command line.
    RuntimeError
        Naming the log, if an upload is refused, a source is not valid, or a kernel fails.
    """
    if plan.owner == SAMPLE_OWNER:
        raise ValueError('owner is still the sample: put your Kaggle name into "owner" of kaggle-metadata.json')
    if not shutil.which("kaggle"):
        raise FileNotFoundError("there is no `kaggle` command: pip install kaggle")
    logs = Path(out) / "logs"
    logs.mkdir(parents=True, exist_ok=True)
    (create, version, ask), log = _library_commands(plan, out), logs / "library.log"
    if "is being created" not in (said := _run(version if _run(ask, log, may_fail=True) else create, log)):
        raise RuntimeError(f"the library was not uploaded: {said.strip()} ({log})")
    _wait(ask, "ready", log, wait)
    for slug in plan.push:
        (push_one, ask), log = _kernel_commands(plan, out, slug), logs / f"{slug}.log"
        said = _run(push_one, log)
        # the command line ends well even if it was refused, or a source was left out
        if "successfully pushed" not in said or "not valid" in said:
            raise RuntimeError(f"{ask[-1]} was not pushed as it should be: {said.strip()} ({log})")
        print(said.strip(), flush=True)
        try:
            _wait(ask, "complete", log, wait)
        finally:
            _run(["kaggle", "kernels", "logs", ask[-1]], log, may_fail=True)


def _wait(ask: list[str], wanted: str, log: Path, seconds: float) -> None:
    """Ask for a status until it is the wanted one; RuntimeError if it is one of those that never will be."""
    while wanted not in (status := _run(ask, log).lower().rpartition(" has status ")[2]):
        if re.search("error|failed|acknowledged", status):
            raise RuntimeError(f"{ask[-1]} ended as {status.strip()}; its log is in {log}")
        time.sleep(seconds)
    print(f"{ask[-1]}: {wanted}", flush=True)


def _library_commands(plan: Plan, out: str | Path) -> tuple[list[str], list[str], list[str]]:
    """What creates the library, gives it a new version, and asks for its status."""
    data_sets, identity = ["kaggle", "datasets"], f"{plan.owner}/{plan.library.slug}"
    place = ["-p", str(Path(out) / plan.library.slug), "-r", "zip"]  # folders are left out unless zipped
    return (
        [*data_sets, "create", *place],
        [*data_sets, "version", *place, "-m", "staged"],
        [*data_sets, "status", identity],
    )


def _kernel_commands(plan: Plan, out: str | Path, slug: str) -> tuple[list[str], list[str]]:
    """What pushes a kernel, and asks for its status."""
    push_one = ["kaggle", "kernels", "push", "-p", str(Path(out) / slug)]
    return push_one, ["kaggle", "kernels", "status", f"{plan.owner}/{slug}"]


def _run(command: list[str], log: Path, may_fail: bool = False) -> str:
    """What a command prints, kept in the log; nothing if it failed and may."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    with open(log, "a") as file:
        file.write(f"$ {shlex.join(command)}\n{done.stdout}")
    if done.returncode and not may_fail:
        raise RuntimeError(f"`{shlex.join(command)}` failed with exit code {done.returncode}: {log} says why")
    return "" if done.returncode else done.stdout
