"""Write a data set of simulated fields: label sets as in the competition, weak labels, truth."""

import json
import uuid
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.masks import encode_mask
from hpa_utils.simulate.cells import Cells
from hpa_utils.simulate.patterns import draw_pattern

VERSION, SPINDLE, HERE = 1, 11, Path(__file__).parent
SHARES = np.loadtxt(HERE / "visible_share.csv", delimiter=",", skiprows=1, usecols=1)


def write_dataset(root, n_train, n_test, size, seed, weakness=1.0, rare="floor"):
    """Simulate a data set in Kaggle's layout, with masks and truth; the same call gives the same bytes.

    Parameters
    ----------
    root : path-like
        Output folder: missing, empty, or left by this very call (done again only if that was killed).
    n_train, n_test, size, seed : int
        Number of fields; their side in px, of 0.32 µm below 1024, else 0.08. A tenth of test is smaller.
    weakness : float
        At 0 every cell shows all labels of its field, at 1 as many do as graders saw, above 1 fewer.
    rare : {"floor", "natural"}
        "floor" gives every class its least number of fields, "natural" keeps the real frequencies.

    Raises
    ------
    ValueError, FileExistsError
        If a parameter makes no sense; if `root`, which is returned, holds anything else.
    """
    root, um = Path(root), 0.32 if size < 1024 else 0.08
    call = {"pixel_size_um": um, "simulate_version": VERSION, "n_train": int(n_train), "n_test": int(n_test)}
    call |= {"size": int(size), "seed": int(seed), "weakness": float(weakness), "rare": rare}
    fits = min(n_train, n_test) > 0 and size >= 128 and seed >= 0 and 0 <= weakness < np.inf
    if not fits or rare not in ("floor", "natural"):
        hint = "n_train and n_test from 1, size from 128, seed and weakness from 0, rare 'floor' or 'natural'"
        raise ValueError(f"cannot simulate {root} with {call}; give {hint}")
    text, done, begun = json.dumps(call, indent=1).encode(), root / "dataset.json", root / "simulating.json"
    if done.is_file() and done.read_bytes() == text:
        return root
    ours = begun.is_file() and text.startswith(begun.read_bytes()) and not done.exists()
    if root.exists() and not ours and (not root.is_dir() or any(root.iterdir())):
        raise FileExistsError(f"{root} holds something else; name a new folder, or delete this one yourself")
    for folder in ("train", "test", "masks"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    begun.write_bytes(text)
    jobs = [(root, um, seed, weakness, *field) for field in _plan(n_train, n_test, size, seed, rare)]
    with ProcessPoolExecutor(None, get_context("spawn"), cv2.setNumThreads, (0,)) as pool:
        run = pool.map if len(jobs) > 3 else map  # starting a process takes longer than 3 fields
        labels, samples, truths = zip(*tqdm(run(_write_field, jobs), "simulate", len(jobs), unit="field"))
    shape = "ID,ImageWidth,ImageHeight"
    for name, lines in (
        ("train.csv", ["ID,Label", *labels[:n_train]]),
        ("sample_submission.csv", [f"{shape},PredictionString", *samples[n_train:]]),
        ("truth_train.csv", [f"{shape},Label,Mask", *truths[:n_train]]),
        ("truth.csv", [f"{shape},Label,Mask", *truths[n_train:]]),
    ):
        (root / name).write_text("\n".join([*lines, ""]))
    return begun.replace(done).parent


def _plan(n_train, n_test, size, seed, rare):
    """List the fields: split, index, side, labels, and the labels that a cell must show."""
    rng, plan = np.random.default_rng([seed, 2]), []
    rows = [row.split(",") for row in (HERE / "label_sets.csv").read_text().split()[1:]]
    sets, counts = [sorted(map(int, row[0].split("|"))) for row in rows], np.int32([row[1] for row in rows])
    has = np.array([[label in labels for label in range(N_CLASSES)] for labels in sets])
    smaller = rng.permutation(n_test)[: max(n_test // 10, n_test >= 5)]
    for split, n in enumerate((n_train, n_test)):
        drawn, unseen = rng.choice(len(sets), n, p=counts / counts.sum()), {*range(N_CLASSES)}
        least = min(max(2, n // 25), n // N_CLASSES) * (rare == "floor")  # with n // 19, some can be spared
        while (fields := has[drawn].sum(axis=0)).min() < least:
            weight = counts * has[:, fields.argmin()]
            spare = np.where(has[drawn], fields, n).min(axis=1).argmax()
            drawn[spare] = rng.choice(len(sets), p=weight / weight.sum())
        for index, labels in enumerate(sets[choice] for choice in drawn):
            side = round(size * 0.84375 / 8) * 8 if split and index in smaller else size
            seen = unseen & {*labels} | {*rng.permutation(labels)[: rng.random() < 0.9].tolist()}
            plan.append((split, index, side, labels, seen))
            unseen -= {*labels}
    return plan


def _write_field(job):
    """Draw and write a field: its rows of train.csv, sample_submission.csv and the truth."""
    root, um, seed, weakness, split, index, side, labels, must = job
    rng = np.random.default_rng([seed, split, index])
    name, by_chance = uuid.UUID(bytes=rng.bytes(16), version=4), rng.binomial(10, 0.02 * min(weakness, 1))
    cells = Cells(rng, side, um, rng.integers(1, 3) if SPINDLE in labels else by_chance)
    shows, green = _choose_cells(rng, labels, must, cells.metaphase, weakness), draw_pattern(cells, NEGATIVE)
    for label in {*labels} - {NEGATIVE}:
        trace = rng.uniform(0, 0.08, len(shows)) * ~cells.metaphase  # too weak to count as seen
        strength = np.where(shows[:, label], rng.uniform(0.45, 1, len(shows)), trace)
        green += strength[cells.labels] * draw_pattern(cells, label)
    stains = (("red", cells.red), ("green", green), ("blue", cells.blue), ("yellow", cells.yellow))
    for (stain, light), gain in zip(stains, rng.uniform((95, 50, 110, 90), (185, 150, 200, 180))):
        light = light * gain * np.exp(rng.normal(0, 0.2, len(shows)))[cells.labels]
        light = cv2.GaussianBlur(light, (0, 0), max(rng.uniform(0.1, 0.2) / um, 0.4))
        light += rng.standard_normal(light.shape) * np.sqrt(0.6 * light + 1.5)  # shot and read noise
        path = root / ("train", "test")[split] / f"{name}_{stain}.png"
        path.write_bytes(cv2.imencode(".png", np.uint8(np.clip(light, 0, 255)))[1])
    (root / "masks" / f"{name}.png").write_bytes(cv2.imencode(".png", cells.labels)[1])
    size, masks = f"{name},{side},{side}", [encode_mask(cells.labels == cell) for cell in range(len(shows))]
    truth = "\n".join(f"{size},{label},{masks[cell]}" for cell, label in np.argwhere(shows))
    return f"{name},{'|'.join(map(str, labels))}", f"{size},0 1 {encode_mask(cells.labels >= 0)}", truth


def _choose_cells(rng, labels, must, metaphase, weakness):
    """Which cell shows which class, bool (cells + 1, 19): the cells of a field agree, fields differ."""
    shows, others = np.zeros((len(metaphase), N_CLASSES), bool), np.flatnonzero(~metaphase)[1:]
    for label in {*labels} - {SPINDLE, NEGATIVE}:
        mean = max(SHARES[label] ** weakness, 1e-3)
        number = rng.binomial(len(others), rng.beta(2 * mean, 2 - 2 * mean) if mean < 1 else 1)
        shows[rng.permutation(others)[: max(number, label in must)], label] = True
    shows[metaphase, SPINDLE] = SPINDLE in labels
    shows[1:, NEGATIVE] = ~shows[1:, :NEGATIVE].any(axis=1)
    return shows
