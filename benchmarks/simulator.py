"""Is the simulator fair? Measures simulated and real fields alike.

    python benchmarks/simulator.py --real ../shared/data/hpa_fields      # tables for docs/simulator.md
    python benchmarks/simulator.py --plate docs/simulator_plate.png      # four simulated cells a class

All fields are brought to 0.32 µm a pixel by area averaging before anything is measured.
"""

import argparse
import contextlib
import io
import os
import platform
import tempfile
import textwrap
import time
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image
from scipy import ndimage
from skimage.filters import threshold_otsu

import hpa_simulator as simulate
from hpa_simulator.examples import draw_examples
from hpa_simulator.fields import draw_field
from hpa_simulator.labels import GRADED_SHARES, choose_metaphase, show_labels
from hpa_simulator.patterns import describe_pattern
from hpa_simulator.plan import plan_fields
from hpa_utils.dataset import CHANNELS, open_dataset
from hpa_utils.images import read_field
from hpa_utils.labels import CLASS_NAMES, N_CLASSES, NEGATIVE
from hpa_utils.plots.pictures import composite, stretched

UM = 0.32
BINS = 10  # of the radial profile: five up to the nucleus's rim, five from there to the cell's edge
WAVELENGTHS_UM = (1.3, 10)  # between which the power spectrum's slope is fitted
TIMED_FIELDS = 40
PLATE_CELLS, PLATE_SIDE = 4, 112


def main() -> None:
    """Print the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--real", default="../shared/data/hpa_fields", metavar="ROOT", help="real fields with masks/")
    parser.add_argument("--fields", type=int, default=60, help="simulated fields to measure")
    parser.add_argument("--plate", default="", metavar="PNG", help="draw the plate of all classes instead")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.plate:
        return draw_plate(Path(options.plate), options.seed)
    libraries = f"numpy {np.__version__}, OpenCV {cv2.__version__}, simulator {simulate.VERSION}"
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {libraries}")
    with tempfile.TemporaryDirectory() as folder:
        root = simulate.write_dataset(Path(folder) / "fields", options.fields, 1, 512, options.seed)
        tables = {"simulated": measure_dataset(root)}
        tables |= {"real": measure_dataset(Path(options.real))} if Path(options.real).is_dir() else {}
        if "real" not in tables:
            print(f"no real fields at {options.real}: simulated ones alone")
        print_comparison(tables)
        print_priors()
        print_speed(Path(folder), options.seed)


def measure_dataset(root: Path) -> dict[str, pd.DataFrame]:
    """Tables `fields` and `cells` of the train split of a data set that has masks."""
    dataset = open_dataset(root)
    fields, cells = [], []
    for image_id in dataset.image_ids("train"):
        field = read_field(dataset.folders["train"], image_id)
        masks = cv2.imread(str(root / "masks" / f"{image_id}.png"), cv2.IMREAD_UNCHANGED)
        side = round(field.shape[0] * dataset.pixel_size_um / UM)
        field = cv2.resize(field, (side, side), interpolation=cv2.INTER_AREA)
        masks = cv2.resize(masks, (side, side), interpolation=cv2.INTER_NEAREST)
        fields.append(measure_field(field, masks))
        cells.extend(measure_cells(field, masks))
    return {"fields": pd.DataFrame(fields), "cells": pd.DataFrame(cells)}


def measure_field(field: np.ndarray, masks: np.ndarray) -> dict:
    """Number of cells, share of the ground covered, brightness inside cells, slopes of the power spectra."""
    row = {"cells": int(masks.max()), "covered %": 100 * (masks > 0).mean()}
    for channel, plane in zip(CHANNELS, cv2.split(field)):
        inside = plane[masks > 0]
        row[f"{channel} mean"] = inside.mean()
        for percent in (10, 50, 90, 99):
            row[f"{channel} p{percent}"] = np.percentile(inside, percent)
        row[f"{channel} slope"] = spectrum_slope(plane)
    return row


def spectrum_slope(plane: np.ndarray) -> float:
    """Slope of log power over log frequency, rotationally averaged."""
    window = np.hanning(plane.shape[0])[:, None] * np.hanning(plane.shape[1])
    power = np.abs(np.fft.rfft2((plane - plane.mean()) * window)) ** 2
    frequency = np.hypot(np.fft.fftfreq(plane.shape[0])[:, None], np.fft.rfftfreq(plane.shape[1])) / UM
    edges = np.geomspace(1 / WAVELENGTHS_UM[1], 1 / WAVELENGTHS_UM[0], 13)
    bins = np.digitize(frequency, edges)
    mean = [power[bins == number].mean() for number in range(1, len(edges))]
    return np.polyfit(np.log(np.sqrt(edges[1:] * edges[:-1])), np.log(np.array(mean) + 1e-9), 1)[0]


def measure_cells(field: np.ndarray, masks: np.ndarray) -> list[dict]:
    """Areas and radial profiles of the cells that the border does not cut; nuclei from the blue channel."""
    blue = cv2.GaussianBlur(field[..., 2], (0, 0), 1)
    nuclei = (blue > threshold_otsu(blue[masks > 0])) & (masks > 0)
    rows = []
    for number, box in enumerate(ndimage.find_objects(masks), start=1):
        cut = box[0].start == 0 or box[1].start == 0 or box[0].stop == len(masks) or box[1].stop == len(masks)
        cell = np.pad(masks[box] == number, 1)
        nucleus = np.pad(ndimage.binary_fill_holes(nuclei[box]), 1) & cell
        if cut or nucleus.sum() * UM**2 < 10:
            continue
        row = {"cell area": cell.sum() * UM**2, "nucleus area": nucleus.sum() * UM**2}
        place = np.digitize(radial_place(cell, nucleus)[cell], np.linspace(0, 1, BINS + 1)[1:-1])
        for channel, plane in zip(CHANNELS, cv2.split(field[box])):
            light = np.pad(plane, 1)[cell].astype(float)
            sums, counts = np.bincount(place, light, BINS), np.bincount(place, minlength=BINS)
            profile = sums / np.maximum(counts, 1) / max(light.mean(), 0.1)
            row |= {f"{channel} {step}": value for step, value in enumerate(np.where(counts, profile, np.nan))}
        rows.append(row)
    return rows


def radial_place(cell: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    """0 in the middle of the nucleus, 0.5 on its rim, 1 on the cell's edge."""
    deep = cv2.distanceTransform(nucleus.astype(np.uint8), cv2.DIST_L2, 5)
    far = cv2.distanceTransform((~nucleus).astype(np.uint8), cv2.DIST_L2, 5)
    edge = cv2.distanceTransform(cell.astype(np.uint8), cv2.DIST_L2, 5)
    return np.where(nucleus, 0.5 * (1 - deep / deep.max()), 0.5 + 0.5 * far / np.maximum(far + edge, 1))


def print_comparison(tables: dict[str, dict[str, pd.DataFrame]]) -> None:
    """Print medians with the 10th and 90th percentile, then the profiles."""
    for name, table in tables.items():
        print(f"{name}: {len(table['fields'])} fields, {table['fields']['cells'].sum()} cells")
    print(f"\n{'median (10 %, 90 %)':22s}" + "".join(f"{name:>28s}" for name in tables))
    columns = [("fields", name) for name in tables["simulated"]["fields"]]
    for kind, column in [*columns, ("cells", "cell area"), ("cells", "nucleus area")]:
        cells = [table[kind][column].quantile([0.5, 0.1, 0.9]) for table in tables.values()]
        print(f"{column:22s}" + "".join(f"{m:12.1f} ({low:6.1f}, {high:6.1f})" for m, low, high in cells))
    print("\nmean brightness from the nucleus centre to the cell's edge, in units of the cell's mean")
    for channel in CHANNELS:
        for name, table in tables.items():
            profile = [table["cells"][f"{channel} {step}"].mean() for step in range(BINS)]
            print(f"{channel:8s}{name:12s}" + "".join(f"{value:7.2f}" for value in profile))


def print_priors() -> None:
    """Print how often cells are Negative, and how often a label's cells show it, in sets of 200 fields."""
    print("\nNegative cells in sets of 200 fields (truth alone, not drawn; least and most of 8 seeds)")
    for rare in ("floor", "natural"):
        for weakness in (0, 0.5, 1, 2):
            sets = [[shows for _, shows in draw_truth(weakness, rare, seed)] for seed in range(8)]
            shares = [np.concatenate(shows)[:, NEGATIVE].mean() for shows in sets]
            print(f"{rare:8s} weakness {weakness:3}: {np.mean(shares):6.1%} ({min(shares):5.1%}, {max(shares):5.1%})")
    shown, fields, unseen = np.zeros(N_CLASSES), np.zeros(N_CLASSES), []
    for labels, shows in (truth for seed in range(8) for truth in draw_truth(1, "natural", seed)):
        shown[list(labels)] += shows[:, list(labels)].mean(axis=0)
        fields[list(labels)] += 1
        unseen.append(not shows[:, list(labels)].any(axis=0).all())
    print(f"fields with a label that no cell shows: {np.mean(unseen):.1%}")
    print("share of a labelled field's cells that show the label: graded or assumed / came out")
    print("  ".join(f"{label}: {GRADED_SHARES[label]:.2f}/{shown[label] / fields[label]:.2f}" for label in range(18)))


def draw_truth(weakness: float, rare: str, seed: int):
    """Labels and what the cells show, for the fields of a set of 200."""
    for number, field in enumerate(plan_fields(150, 50, 512, seed, rare)):
        rng = np.random.default_rng([seed, number])
        metaphase = choose_metaphase(rng, list(field.labels), np.ones(rng.integers(6, 34), bool), weakness)
        yield field.labels, show_labels(rng, list(field.labels), metaphase, weakness, set(field.must))


def print_speed(folder: Path, seed: int) -> None:
    """Print seconds a field: written by one worker, by two, twice as many fields; and drawn, by number of cells."""
    cv2.setNumThreads(1)  # "one core" means it
    seconds = {workers: _timed(folder, workers, TIMED_FIELDS, seed) for workers in (1, 2)}
    print(f"\nseconds a 512² field, written, one core, of {TIMED_FIELDS} fields: {seconds[1] / TIMED_FIELDS:.2f}")
    print(f"the same, of twice as many: {_timed(folder, 1, 2 * TIMED_FIELDS, seed) / (2 * TIMED_FIELDS):.2f}")
    print(f"time with 2 workers / with 1, start of the processes included: {seconds[2] / seconds[1]:.2f}")
    counts, times = [], [time.perf_counter()]
    for number in range(24):
        counts.append(draw_field(np.random.default_rng([seed, number]), 512, UM, [0, 16]).masks.max())
        times.append(time.perf_counter())
    slope, rest = np.polyfit(counts, np.diff(times), 1)
    print(f"one field in this process: {rest:.2f} s + {slope:.3f} s a cell; of 12 cells {rest + 12 * slope:.2f} s")


def _timed(folder, workers, fields, seed):
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        simulate.write_dataset(folder / f"{workers}_{fields}", fields - 1, 1, 512, seed, workers=workers)
    return time.perf_counter() - start


def draw_plate(path: Path, seed: int) -> None:
    """Draw four cells of every class, composite and green, beside what the class is said to look like."""
    figure, axes = plt.subplots(N_CLASSES, 1 + 2 * PLATE_CELLS, figsize=(11, 21), width_ratios=[1.6, *[1] * 8])
    for label in range(N_CLASSES):
        words = (f"{label} {CLASS_NAMES[label]}", describe_pattern(label))
        text = "\n\n".join("\n".join(textwrap.wrap(part, 30)) for part in words)
        axes[label, 0].text(0, 0.5, text, va="center", fontsize=7.5)
        for column, crop in enumerate(draw_examples(label, PLATE_CELLS, PLATE_SIDE, seed)):
            shown = label != NEGATIVE  # which is left as dim as it is: stretching would show noise
            green = stretched(crop[..., 1]) if shown else crop[..., 1]
            axes[label, 1 + 2 * column].imshow(composite(crop, stretch=shown))
            axes[label, 2 + 2 * column].imshow(green, cmap="gray", vmin=0, vmax=255)
    for axis in axes.ravel():
        axis.set_axis_off()
    figure.subplots_adjust(0.01, 0.005, 0.995, 0.995, 0.02, 0.03)
    figure.savefig(path, dpi=72)
    Image.open(path).convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
