"""Fixtures that all tests share; the notebooks run once, on tiny simulated data."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from hpa_utils import masks
from hpa_utils.dataset import CHANNELS

REPOSITORY = Path(__file__).resolve().parent.parent
REAL_FIELDS = REPOSITORY.parent / "shared" / "data" / "hpa_fields"


def write_field(folder: Path, image_id: str, field: np.ndarray) -> None:
    """Write a field, uint8 or uint16 (H, W, 4), as four PNGs."""
    folder.mkdir(parents=True, exist_ok=True)
    for index, channel in enumerate(CHANNELS):
        cv2.imwrite(str(folder / f"{image_id}_{channel}.png"), field[..., index])


def field_with_cells(height: int = 96, width: int = 128) -> np.ndarray:
    """Two round cells of 10 µm with nuclei of 4 µm (at 0.32 µm/px), left and right in a field of 31 × 41 µm."""
    field = np.zeros((height, width, 4), np.uint8)
    for centre in ((width // 4, height // 2), (3 * width // 4, height // 2)):
        for channel, radius, value in ((0, 16, 120), (1, 16, 60), (3, 16, 100), (2, 9, 150)):
            plane = np.ascontiguousarray(field[..., channel])
            cv2.circle(plane, centre, radius, value, -1)
            field[..., channel] = plane
    return field


def box(y0: int, x0: int, height: int, width: int, shape: tuple[int, int] = (20, 30)) -> np.ndarray:
    """Mask of a box, bool of this shape."""
    mask = np.zeros(shape, bool)
    mask[y0 : y0 + height, x0 : x0 + width] = True
    return mask


def truth_table(*rows) -> pd.DataFrame:
    """As of `read_truth`, of rows (image_id, label, mask)."""
    columns = ["image_id", "height", "width", "label", "counts"]
    return pd.DataFrame([(i, *m.shape, label, masks.encode_counts(m)) for i, label, m in rows], columns=columns)


def detection_table(*rows) -> pd.DataFrame:
    """As of `read_submission`, of rows (image_id, label, confidence, mask)."""
    columns = ["image_id", "height", "width", "label", "confidence", "counts"]
    return pd.DataFrame([(i, *m.shape, label, c, masks.encode_counts(m)) for i, label, c, m in rows], columns=columns)


@pytest.fixture
def tiny_dataset(tmp_path):
    """Twelve train and three test fields of two cells each, 0.32 µm/px, wider than high; returns the root."""
    root = tmp_path / "data"
    train = [f"train-{number:02d}" for number in range(12)]
    test = [f"test-{number}" for number in range(3)]
    for split, image_ids in (("train", train), ("test", test)):
        for image_id in image_ids:
            write_field(root / split, image_id, field_with_cells())
    rows = [f"{image_id},{'0|16' if number % 2 else '2'}" for number, image_id in enumerate(train)]
    (root / "train.csv").write_text("\n".join(["ID,Label", *rows, ""]))
    sample = [f"{image_id},128,96,0 1 x" for image_id in test]
    (root / "sample_submission.csv").write_text("\n".join(["ID,ImageWidth,ImageHeight,PredictionString", *sample, ""]))
    (root / "dataset.json").write_text('{"pixel_size_um": 0.32}')
    return root


@pytest.fixture(scope="session")
def made_once(tmp_path_factory):
    """A function that makes a folder once for all processes of `pytest --numprocesses`: of its name and its maker."""
    base = tmp_path_factory.getbasetemp()
    root = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base

    def make_once(name, make):
        with open(root / f"{name}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (root / f"{name}.done").exists():
                make(root / name)
                (root / f"{name}.done").touch()
        return root / name

    return make_once


@pytest.fixture(scope="session")
def simulated(made_once):
    """A simulated competition of 24 train and 6 test fields of 256²; returns the root."""
    from hpa_simulator import write_dataset

    return made_once("simulated", lambda root: write_dataset(root, 24, 6, 256, seed=0))


@pytest.fixture(scope="session")
def finished_run(simulated, made_once):
    """The output root of the five notebooks, run once on the simulated competition with the preset `quick`.

    Two models were trained side by side; what was printed is in ``printed.txt``.
    """

    def run(out):
        command = [sys.executable, "-m", "hpa_utils", "run", "--data", str(simulated), "--out", str(out)]
        command += ["--preset", "quick", "--folds", "0,1"]
        environment = os.environ | {"HPA_DEVICES": "2"}
        done = subprocess.run(command, cwd=REPOSITORY, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        (out / "printed.txt").write_text(done.stdout)

    return made_once("finished_run", run)


@pytest.fixture(scope="session")
def explored_run(finished_run, simulated, made_once):
    """A copy of it, in which the sixth notebook has run as well."""
    from hpa_utils.running.notebooks import run_notebooks

    def run(out):
        shutil.copytree(finished_run, out)
        run_notebooks(data=str(simulated), out=str(out), preset="quick", folds="0,1", notebooks="06")

    return made_once("explored_run", run)


@pytest.fixture(scope="session")
def real_fields():
    """Four real fields of the competition, which are not part of the repository."""
    if not REAL_FIELDS.is_dir():
        pytest.skip(f"real fields not found in {REAL_FIELDS.parent.name}/{REAL_FIELDS.name}")
    return REAL_FIELDS
