"""The folders that Kaggle's command line uploads: one for each kernel and one for the library."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import jupytext
import nbformat
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from hpa_utils.paths import REPOSITORY, write_json
from hpa_utils.running.kaggle.schema import MANIFEST, Kernel, Plan, kernel_runs, requirement
from hpa_utils.running.notebooks import SOURCES
from hpa_utils.running.runs import Run

METADATA = ("kernel-metadata.json", "dataset-metadata.json")
FOLDERS = ("hpa_utils", "hpa_explorer", "hpa_simulator", "notebooks", "tests")
FILES = ("LICENSE", "README.md", "pyproject.toml", "requirements.txt", MANIFEST.name)
GPU = "NvidiaTeslaT4"  # two of them in each session


def stage(plan: Plan, out: str | Path, wheels: list[Path]) -> list[Path]:
    """Write the folder of the library and one for each kernel, named by their slugs; earlier ones are replaced.

    Returns the folders, the library's first. Raises FileExistsError if a folder of that name is there that was not
    written here.
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
        _stage_notebook(plan, kernel, folder / f"{kernel.notebook}.ipynb")
    return folders


def build_wheels(plan: Plan, folder: str | Path) -> list[Path]:
    """The wheels of the packages that Kaggle's image lacks, downloaded or built by pip.

    Raises RuntimeError if pip cannot have one, as without the package registry; ValueError if one is for a certain
    system or version of Python.
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


def _stage_notebook(plan: Plan, kernel: Kernel, path: Path) -> None:
    """The kernel's notebook, with a first cell for who opens it; the same bytes each time."""
    runs, parameters = kernel_runs(plan, kernel)
    notebook = jupytext.read(SOURCES / f"{kernel.notebook}.py")
    notebook.cells.insert(0, nbformat.v4.new_markdown_cell(first_cell(plan, kernel, runs)))
    nbformat.write(notebook, path)
    if parameters:  # Kaggle passes none, so they become a cell
        notebook = parameterize_notebook(load_notebook_node(str(path)), parameters)
        del notebook.metadata["papermill"]
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"  # else random, and each staging would look like a change
    nbformat.write(notebook, path)


def first_cell(plan: Plan, kernel: Kernel, runs: list[Run]) -> str:
    """What has to be attached to a kernel, what it will write, and whether it is the one to submit, as Markdown."""
    told, made = kernel_metadata(plan, kernel), {run.notebook for run in runs}
    lines = [f"# {kernel.title}", "", "Needs, all attached by the push; else by *Add Input* in the editor:", ""]
    lines += [f"- the competition `{name}`" for name in told["competition_sources"]]
    lines += [f"- the data set `{name}`" for name in told["dataset_sources"]]
    lines += [f"- the *Notebook Output* of `{name}`, which has to have run" for name in told["kernel_sources"]]
    lines += [f"- {'the accelerator *GPU T4 x2*' if kernel.gpu else 'no accelerator'}, internet off", ""]
    written = [*map(str, runs), *(["submission.csv"] if "05_inference" in made else [])]
    lines += [f"Writes, into `/kaggle/working`: {', '.join(f'`{name}`' for name in written)}.", ""]
    role = "Not to be submitted: see the kernel `submit`."
    if {"02_segmentation", "05_inference"} <= made and "04_train" not in made:
        role = "**The one to submit**: Kaggle's scoring run repeats it, and nothing else, on the hidden test fields."
    elif {"04_train", "05_inference"} <= made:
        role = "Not to be submitted: the scoring run would train again. `submit` predicts with the models made here."
    return "\n".join([*lines, role])


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
        "is_private": not plan.public,
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
