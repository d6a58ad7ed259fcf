"""Data set: all fields of a plan, drawn on all cores and written in Kaggle's layout with their truth."""

import csv
import os
import uuid
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from json import JSONDecodeError, loads
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from hpa_simulator.fields import Field, draw_field
from hpa_simulator.labels import measure_prior
from hpa_simulator.looks import draw_look
from hpa_simulator.plan import SPLITS, FieldPlan, pixel_size, plan_fields
from hpa_utils.dataset import CHANNELS
from hpa_utils.labels import CLASS_NAMES
from hpa_utils.masks import box_counts, counts_to_text, encode_mask
from hpa_utils.parallel import spawn_settings
from hpa_utils.paths import write_json

VERSION = 5  # raise it when the set gets easier or harder, and measure again what was measured on it
SMALLEST = 128  # px: 41 µm; less would hold no cell
FINISHED, BEGUN = "dataset.json", "simulating.json"
FEW = 3  # fields that are drawn sooner than worker processes start


@dataclass(frozen=True)
class _Written:
    """What the tables need of a written field."""

    split: str
    label_row: tuple
    group_row: tuple
    sample_row: tuple
    truth_rows: list
    shows: np.ndarray


def write_dataset(
    root: str | Path,
    n_train: int,
    n_test: int,
    size: int | str,
    seed: int,
    weakness: float = 1.0,
    rare: str = "floor",
    workers: int | None = None,
) -> Path:
    """Simulate a data set in Kaggle's layout, with masks and truth; prints how often each class is shown.

    The same call gives the same bytes, whatever the number of workers.

    Parameters
    ----------
    root : path-like
        Output folder: missing, empty, left by this very call, which then does nothing, or left by this call when
        it was killed, which is then done again.
    n_train, n_test : int
        Number of fields.
    size : int or "mixed"
        Side of the fields, px: of 0.32 µm below 1024, else of 0.08 µm. A tenth of the test fields are smaller.
        "mixed" draws the competition's sizes at 0.08 µm.
    seed : int
    weakness : float
        At 0 every cell shows all labels of its field, at 1 as many do as people saw, at 2 far fewer.
    rare : {"floor", "natural"}
        "floor" gives every class some fields, "natural" keeps the competition's frequencies.
    workers : int, optional
        Processes; all cores unless given.

    Returns
    -------
    Path
        `root`.

    Raises
    ------
    ValueError
        If a parameter makes no sense. Nothing is written.
    FileExistsError
        If `root` holds anything else. Nothing is written.
    """
    root = Path(root)
    call = _check_call(root, n_train, n_test, size, seed, weakness, rare)
    if _holds(root / FINISHED, call):
        return root
    _check_free(root, call)
    for folder in (*SPLITS, "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    write_json(root / BEGUN, call)
    plan = plan_fields(n_train, n_test, call["size"], seed, rare)
    written = _draw_all(partial(_write_field, root, call), plan, workers)
    _write_tables(root, written)
    prior = _measure_priors(written)
    write_json(root / BEGUN, call | {"prior": prior})
    (root / BEGUN).replace(root / FINISHED)
    _print_priors(prior)
    return root


def _check_call(root, n_train, n_test, size, seed, weakness, rare):
    """The parameters as ``dataset.json`` keeps them."""
    whole = all(isinstance(number, int | np.integer) for number in (n_train, n_test, seed))
    sized = size == "mixed" or (isinstance(size, int | np.integer) and size >= SMALLEST)
    sensible = whole and sized and min(n_train, n_test) > 0 and seed >= 0
    if not sensible or not 0 <= weakness < np.inf or rare not in ("floor", "natural"):
        raise ValueError(
            f"cannot simulate {root} with n_train {n_train}, n_test {n_test}, size {size}, seed {seed}, weakness "
            f"{weakness}, rare {rare!r}; give n_train and n_test from 1, size 'mixed' or from {SMALLEST} px (less "
            "holds no cell), seed and weakness from 0, rare 'floor' or 'natural'"
        )
    return {
        "pixel_size_um": pixel_size(size),
        "simulate_version": VERSION,
        "n_train": int(n_train),
        "n_test": int(n_test),
        "size": size if size == "mixed" else int(size),
        "seed": int(seed),
        "weakness": float(weakness),
        "rare": rare,
    }


def _holds(path, call):
    """Whether a JSON file was written by this call; what came out of it is not compared."""
    try:
        content = loads(path.read_text())
    except (OSError, JSONDecodeError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and {name: content.get(name) for name in call} == call


def _check_free(root, call):
    """Raise unless `root` is missing, has no files, or was begun by this call."""
    if root.is_dir():
        killed = _holds(root / BEGUN, call) and not (root / FINISHED).exists()
        if killed or not any(path.is_file() for path in root.rglob("*")):
            return
    elif not root.exists():
        return
    raise FileExistsError(
        f"{root} holds something else (another data set, other parameters or another version of the simulator); "
        "name a new folder, or delete this one yourself"
    )


def _draw_all(write, plan, workers):
    workers = min(workers or os.cpu_count() or 1, len(plan))
    progress = partial(tqdm, desc="simulate", total=len(plan), unit="field")
    if workers == 1 or len(plan) <= FEW:
        return list(progress(map(write, plan)))
    # Fresh processes, since forking one that holds TensorFlow can hang; one thread each, since all cores are busy.
    with ProcessPoolExecutor(workers, get_context("spawn"), cv2.setNumThreads, (1,)) as pool:
        with spawn_settings():
            results = pool.map(write, plan)
        return list(progress(results))


def _write_field(root: Path, call: dict, plan: FieldPlan) -> _Written:
    """Draw a field and write its images and masks."""
    rng = np.random.default_rng([call["seed"], SPLITS.index(plan.split), plan.index])
    name = str(uuid.UUID(bytes=rng.bytes(16), version=4))
    look = draw_look((call["seed"], 5, SPLITS.index(plan.split), plan.sample))
    um, labels = call["pixel_size_um"] * plan.scale, list(plan.labels)
    field = draw_field(rng, plan.side, um, labels, call["weakness"], plan.must, look=look, gain=plan.gain)
    for channel, plane in zip(CHANNELS, cv2.split(field.image)):
        _write_png(root / plan.split / f"{name}_{channel}.png", plane)
    _write_png(root / "masks" / f"{name}.png", field.masks)
    whole = encode_mask(np.ones(field.masks.shape, bool))
    return _Written(
        split=plan.split,
        label_row=(name, "|".join(map(str, plan.labels))),
        group_row=(name, f"{plan.split}-{plan.sample}"),
        sample_row=(name, plan.side, plan.side, f"0 1 {whole}"),
        truth_rows=_truth_rows(name, field),
        shows=field.shows,
    )


def _truth_rows(name: str, field: Field) -> list[tuple]:
    height, width = field.masks.shape
    texts = []
    for number, (rows, columns) in enumerate(ndimage.find_objects(field.masks), start=1):
        mask = field.masks[rows, columns] == number
        texts.append(counts_to_text(box_counts(mask, rows.start, columns.start, height, width)))
    return [(name, width, height, label, texts[cell]) for cell, label in np.argwhere(field.shows)]


def _write_png(path, image):
    path.write_bytes(cv2.imencode(".png", image)[1])


def _write_tables(root, written):
    train, test = ([field for field in written if field.split == split] for split in SPLITS)
    shape = ("ID", "ImageWidth", "ImageHeight")
    truth = (*shape, "Label", "Mask")
    _write_csv(root / "train.csv", ("ID", "Label"), [field.label_row for field in train])
    _write_csv(root / "samples.csv", ("ID", "sample"), [field.group_row for field in train])
    _write_csv(root / "sample_submission.csv", (*shape, "PredictionString"), [field.sample_row for field in test])
    _write_csv(root / "truth_train.csv", truth, [row for field in train for row in field.truth_rows])
    _write_csv(root / "truth.csv", truth, [row for field in test for row in field.truth_rows])


def _write_csv(path, header, rows):
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])


def _measure_priors(written):
    groups = {"all": SPLITS, "train": ("train",), "test": ("test",)}
    return {
        name: measure_prior(np.concatenate([field.shows for field in written if field.split in splits]))
        for name, splits in groups.items()
    }


def _print_priors(prior):
    of_all = prior["all"]
    print(f"{of_all['cells']} cells, {of_all['share_negative']:.1%} of them Negative; share of cells that show")
    for label, name in enumerate(CLASS_NAMES):
        print(f"{label:4d} {name:42s} {of_all['share_of_cells'][str(label)]:6.1%}")
