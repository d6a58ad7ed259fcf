"""The staged folders: what Kaggle's command line finds in them, and that a notebook finds the library there."""

import dataclasses
import json
import subprocess
import sys
import zipfile

import nbformat
import pytest
from conftest import REPOSITORY

from hpa_utils.running.kaggle import read_plan, stage
from hpa_utils.running.kaggle.staging import kernel_metadata


@pytest.fixture(scope="module")
def plan():
    return read_plan()


@pytest.fixture(scope="module")
def staged(plan, tmp_path_factory):
    """The folders, staged with the wheel of a small package that brings tests of its own."""
    folder = tmp_path_factory.mktemp("kaggle")
    wheel = folder / "lacking-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("lacking/__init__.py", "answer = 42\n")
        archive.writestr("tests/__init__.py", "")
        archive.writestr("lacking-1.0.dist-info/METADATA", "Name: lacking\n")
    stage(plan, folder / "staged", [wheel])
    return folder / "staged"


def test_what_kaggle_is_told_of_a_kernel(plan, staged):
    assert json.loads((staged / "hpa-04-train" / "kernel-metadata.json").read_text()) == {
        "id": f"{plan.owner}/hpa-04-train",
        "title": "hpa 04 train",
        "code_file": "kaggle_run.ipynb",
        "language": "python",
        "kernel_type": "notebook",
        "is_private": True,
        "enable_gpu": True,
        "enable_tpu": False,
        "enable_internet": False,
        "dataset_sources": [f"{plan.owner}/hpa-utils", f"{plan.owner}/efficientnet-weights"],
        "competition_sources": ["hpa-single-cell-image-classification"],
        "kernel_sources": [f"{plan.owner}/hpa-02-segmentation", f"{plan.owner}/hpa-03-cell-crops"],
        "model_sources": [],
        "keywords": [],
        "machine_shape": "NvidiaTeslaT4",
    }


def test_every_kernel_has_a_folder_is_private_without_internet_and_has_the_library(plan, staged):
    assert {path.name for path in staged.iterdir()} == {plan.library.slug, *(kernel.slug for kernel in plan.kernels)}
    for kernel in plan.kernels:
        told = json.loads((staged / kernel.slug / "kernel-metadata.json").read_text())
        assert told["enable_internet"] is False and told["is_private"] is True
        assert told["dataset_sources"][0] == f"{plan.owner}/{plan.library.slug}"
        assert ("machine_shape" in told) == kernel.gpu == told["enable_gpu"]


@pytest.mark.parametrize(
    ("slug", "code_file", "expected"),
    [
        ("hpa-04-train", "kaggle_run.ipynb", {"notebooks": "04", "folds": "", "preset": "kaggle", "hours": 11.5}),
        ("submit", "kaggle_run.ipynb", {"notebooks": "02,03,05", "assignments": {"segmenter": "hpacellseg"}}),
        ("hpa-05-inference", "05_inference.ipynb", {"tta": 8, "model": ""}),
    ],
)
def test_the_parameters_are_baked_in_after_the_notebooks_own(staged, slug, code_file, expected):
    notebook = nbformat.read(staged / slug / code_file, as_version=4)
    nbformat.validate(notebook)
    tagged = {tag: cell.source for cell in notebook.cells for tag in cell.metadata.get("tags", [])}
    values = {}
    exec("\n".join(tagged[tag] for tag in ("parameters", "injected-parameters")), values)
    assert {name: values[name] for name in expected} == expected
    assert notebook.metadata.kernelspec.name == "python3" and str(REPOSITORY) not in json.dumps(notebook)


def test_the_library_is_a_data_set_with_wheels_the_same_unpacked_and_the_tests(plan, staged):
    folder = staged / plan.library.slug
    told = json.loads((folder / "dataset-metadata.json").read_text())
    assert told == {"title": "hpa utils", "id": f"{plan.owner}/hpa-utils", "licenses": [{"name": "MIT"}]}
    assert (folder / "lacking-1.0-py3-none-any.whl").is_file() and (folder / "lacking" / "__init__.py").is_file()
    assert (folder / "tests" / "conftest.py").is_file() and not (folder / "tests" / "__init__.py").exists()
    assert (folder / "notebooks" / "kaggle_run.py").is_file() and (folder / "notebooks" / "presets.json").is_file()
    assert not list(folder.rglob("__pycache__")) and not list(folder.glob("*.dist-info"))


def test_a_notebook_finds_the_library_beside_what_kaggles_image_lacks(plan, staged):
    code = (
        "import sys; sys.path += [sys.argv[1]]; import hpa_utils, hpa_explorer, hpa_simulator, lacking;"
        "from hpa_utils.running.notebooks import SOURCES;"
        "print(hpa_utils.__file__, lacking.answer, len(list(SOURCES.glob('0*.py'))))"
    )
    library = staged / plan.library.slug
    options = {"capture_output": True, "text": True, "cwd": library, "check": True}  # there, not this repository's
    done = subprocess.run([sys.executable, "-c", code, library], **options)
    assert done.stdout.split() == [str(library / "hpa_utils" / "__init__.py"), "42", "6"]


def test_staging_again_replaces_what_was_staged_and_nothing_else(plan, staged, tmp_path):
    stage(plan, tmp_path / "out", [])
    leftover = tmp_path / "out" / "submit" / "old.ipynb"
    leftover.write_text("")
    (tmp_path / "out" / "mine.txt").write_text("")
    stage(plan, tmp_path / "out", [])
    assert not leftover.exists() and (tmp_path / "out" / "mine.txt").is_file()
    other = tmp_path / "other" / "submit"
    other.mkdir(parents=True)
    (other / "thesis.txt").write_text("")
    with pytest.raises(FileExistsError, match="submit is there and holds none of kernel-metadata.json"):
        stage(plan, tmp_path / "other", [])
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["submit"]


def test_the_first_cell_says_what_to_attach_what_is_written_and_whether_to_submit(plan, staged):
    said = {}
    for kernel in plan.kernels:
        notebook = nbformat.read(staged / kernel.slug / f"{kernel.notebook}.ipynb", as_version=4)
        said[kernel.slug] = notebook.cells[0].source
    assert f"- the *Notebook Output* of `{plan.owner}/hpa-03-cell-crops`" in said["hpa-04-train"]
    assert f"- the data set `{plan.owner}/efficientnet-weights`" in said["hpa-04-train"]
    assert "- the accelerator *GPU T4 x2*, internet off" in said["hpa-04-train"]
    assert "Writes, into `/kaggle/working`: `04_train/b3-256-r2-f0`, `04_train/b3-256-r2-f1`." in said["hpa-04-large"]
    assert "**The one to submit**" in said["submit"] and "`submission.csv`." in said["submit"]
    assert "Not to be submitted: the scoring run would train again" in said["run-all"]
    assert sum("**The one to submit**" in text for text in said.values()) == 1


def test_the_same_bytes_are_staged_each_time(plan, staged, tmp_path):
    stage(plan, tmp_path, [])
    for notebook in ("submit/kaggle_run.ipynb", "hpa-05-inference/05_inference.ipynb"):
        assert (tmp_path / notebook).read_bytes() == (staged / notebook).read_bytes()


def test_a_public_manifest_makes_public_kernels(plan):
    public = dataclasses.replace(plan, public=True)
    assert kernel_metadata(public, public.kernels[0])["is_private"] is False
