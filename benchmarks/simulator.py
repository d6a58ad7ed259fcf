"""Is the simulator fair? What simulated cells show of their field's labels, beside cells that experts graded.

    python benchmarks/simulator.py --keep FOLDER                      # tables for docs/simulator.md
    python benchmarks/simulator.py --plate docs/simulator_plate.png   # four simulated cells of every class

    --truth CSV     real cells graded by experts: ../shared/facts/real_cell_truth.csv
    --fields N      simulated fields, written to FOLDER, which the next call takes as it finds it

How they look is measured by benchmarks/simulator_looks.py.
"""

import argparse
import contextlib
import io
import os
import platform
import tempfile
import textwrap
import time
import warnings
from pathlib import Path

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from PIL import Image

import hpa_simulator as simulate
from hpa_simulator.examples import draw_examples
from hpa_simulator.fields import draw_field
from hpa_simulator.labels import choose_metaphase, show_labels, visibility
from hpa_simulator.patterns import describe_pattern
from hpa_utils.csv_files import read_csv
from hpa_utils.dataset import PIXEL_SIZE_UM, open_dataset
from hpa_utils.labels import CLASS_NAMES, N_CLASSES, NEGATIVE, parse_labels
from hpa_utils.masks import decode_mask
from hpa_utils.plots.pictures import SHORT_NAMES, composite, stretched
from hpa_utils.segmentation.masks_elsewhere import read_mask
from hpa_utils.segmentation.measure import cell_rows

SHARED = Path(__file__).resolve().parents[2] / "shared"
UM = 0.32  # of a pixel
TIMED_FIELDS = 40
SIZES, BORDERS = (0, 0.25, 0.5, 0.75, 1.25, np.inf), (-1, 0, 0.1, 0.2, 0.3, 0.4, 1)  # upper limits
PLATE_CELLS, PLATE_SIDE = 4, 112


def main() -> None:
    """Print the tables, or draw the plate, that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--truth", type=Path, default=SHARED / "facts" / "real_cell_truth.csv", metavar="CSV")
    parser.add_argument("--fields", type=int, default=300, metavar="N")
    parser.add_argument("--keep", type=Path, metavar="FOLDER")
    parser.add_argument("--plate", type=Path, metavar="PNG")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if options.plate:
        return draw_plate(options.plate, options.seed)
    libraries = f"numpy {np.__version__}, OpenCV {cv2.__version__}, simulator {simulate.VERSION}"
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, {libraries}")
    with tempfile.TemporaryDirectory() as folder:
        root = quietly_written(options.keep or Path(folder) / "fields", options.fields, options.seed)
        print_truth({"real": graded_cells(options.truth), "simulated": simulated_cells(root)})
        print_weakness(root)
        print_speed(Path(folder), options.seed)


def quietly_written(root: Path, n_train: int, seed: int, workers: int | None = None) -> Path:
    """Simulate a data set of fields of 512²; how often each class is shown is not printed."""
    with contextlib.redirect_stdout(io.StringIO()):
        return simulate.write_dataset(root, n_train, 1, 512, seed, workers=workers)


# What cells show. A set of cells is a dict: `labels` of their field and `truth` bool (n, 19); `area` µm², `edge`, share
# of the outline on the field's border; `field`, a number; `ground`, µm² of all fields.


def graded_cells(path: Path) -> dict:
    """Real cells graded by experts."""
    table = read_csv(path, ("ID", "size", "image_label", "cell_label", "area_px", "edge_fraction"))
    sides = table.drop_duplicates("ID")["size"].astype(float) * PIXEL_SIZE_UM
    warnings.simplefilter("ignore")  # a few cells are graded Negative and something else
    return {
        "labels": np.stack([parse_labels(text) for text in table["image_label"]]).astype(bool),
        "truth": np.stack([parse_labels(text) for text in table["cell_label"]]).astype(bool),
        "area": table["area_px"].to_numpy(float) * PIXEL_SIZE_UM**2,
        "edge": table["edge_fraction"].to_numpy(float),
        "field": pd.factorize(table["ID"])[0],
        "ground": float((sides**2).sum()),
    }


def simulated_cells(root: Path) -> dict:
    """The cells of the train split of a simulated data set, as its truth has them."""
    dataset = open_dataset(root)
    rows, truth = [], {}
    for _, image_id, label, mask in read_csv(root / "truth_train.csv", ("ID", "Label", "Mask")).itertuples():
        truth.setdefault(image_id, {}).setdefault(mask, []).append(int(label))
    for number, (image_id, cells) in enumerate(truth.items()):
        masks = read_mask(root / "masks", image_id)
        for row in cell_rows(image_id, "train", masks, masks, np.zeros((*masks.shape, 4), np.uint8)):
            shown = list(cells.values())[row["cell_id"] - 1]  # rows stand in the order of the cells' numbers
            area, edge = row["area"] * UM**2, row["edge_fraction"]
            rows.append((dataset.labels[image_id], np.isin(range(N_CLASSES), shown), area, edge, number))
        last = decode_mask(list(cells)[-1], *masks.shape)
        assert (last == (masks == masks.max())).all(), f"the truth of {image_id} is not in the order of its masks"
    labels, shows, area, edge, field = map(np.array, zip(*rows))
    ground = len(truth) * (512 * UM) ** 2
    return {"labels": labels > 0, "truth": shows, "area": area, "edge": edge, "field": field, "ground": ground}


def print_truth(sets: dict[str, dict]) -> None:
    """Print what the cells show, real beside simulated ones."""
    print(
        "\nshare of the cells of a field labelled so that show the class: mean over cells, deviation over fields, share"
    )
    print("of fields where none and where all do; mean where the label stands alone and in company; real / simulated")
    print(
        f"{'':21s}" + "".join(f"{name:^14s}" for name in ("fields", "share", "sd", "none", "all", "alone", "company"))
    )
    for label in range(NEGATIVE):
        real, simulated = (class_shares(cells, label) for cells in sets.values())
        pairs = [f"{real[0]:4.0f} / {simulated[0]:4.0f}"]
        pairs += [f"{one:4.2f} / {other:4.2f}" for one, other in zip(real[1:], simulated[1:])]
        print(f"{label:2d} {SHORT_NAMES[label]:18s}" + "".join(f"{pair:^14s}" for pair in pairs))
    print(f"\n{'':44s}" + "".join(f"{name:>16s}" for name in sets))
    columns = [summary(cells) for cells in sets.values()]
    for name in columns[0]:
        print(f"{name:44s}" + "".join(f"{column[name]:>16s}" for column in columns))


def class_shares(cells: dict, label: int) -> list[float]:
    own = cells["labels"][:, label]
    if not own.any():
        return [0] + [np.nan] * 6
    shows, alone = cells["truth"][own, label], cells["labels"][own].sum(axis=1) == 1
    of_field = pd.Series(shows).groupby(cells["field"][own]).mean()
    parts = [shows[part].mean() if part.any() else np.nan for part in (alone, ~alone)]
    return [len(of_field), shows.mean(), of_field.std(ddof=0), (of_field == 0).mean(), (of_field == 1).mean(), *parts]


def summary(cells: dict) -> dict[str, str]:
    """What is known of all cells of a set: name → value."""
    labels, truth, field = cells["labels"], cells["truth"], cells["field"]
    count, patterns, negative = np.bincount(field), truth[:, :NEGATIVE].sum(axis=1), truth[:, NEGATIVE]
    alone = labels.sum(axis=1) == 1
    found = {"fields, cells": f"{len(count)}, {len(field)}"}
    found["cells a field: median (10 %, 90 %)"] = quantiles(count, "{:.0f}")
    found["cell area, µm²: median"] = f"{np.median(cells['area']):.0f}"
    found["ground that cells cover"] = f"{cells['area'].sum() / cells['ground']:.1%}"
    found["fields of one label"] = f"{pd.Series(alone).groupby(field).first().mean():.1%}"
    found["fields labelled Negative"] = f"{pd.Series(labels[:, NEGATIVE]).groupby(field).first().mean():.1%}"
    found["cells that show one label, two, more"] = " ".join(
        f"{np.mean(part):.2f}" for part in (patterns + negative == 1, patterns == 2, patterns > 2)
    )
    found["cells with a label that their field lacks"] = f"{(truth & ~labels)[:, :NEGATIVE].any(axis=1).mean():.1%}"
    found["Negative cells"] = f"{negative.mean():.1%}"
    found["  in fields of one label, in others"] = f"{negative[alone].mean():.1%} {negative[~alone].mean():.1%}"
    shown = (truth & labels)[:, :NEGATIVE].sum(axis=1) / np.maximum(labels[:, :NEGATIVE].sum(axis=1), 1)
    size = cells["area"] / pd.Series(cells["area"]).groupby(field).transform("median").to_numpy()
    for name, values, limits in (("size", size, SIZES), ("border share", cells["edge"], BORDERS)):
        for low, high in zip(limits, limits[1:]):
            own = (values > low) & (values <= high)
            title = f"labels shown, Negative: {name} to {high:g}" if high < np.inf else f"  {name} over {low:g}"
            found[title] = f"{shown[own].mean():.2f} {negative[own].mean():.2f}" if own.any() else "none"
    return found


def quantiles(values: np.ndarray, form: str) -> str:
    middle, low, high = (form.format(value) for value in np.quantile(values, [0.5, 0.1, 0.9]))
    return f"{middle} ({low}, {high})"


def print_weakness(root: Path) -> None:
    """Print how many cells are Negative at other weaknesses: the same fields, what they show drawn anew."""
    labels = open_dataset(root).labels
    fields = [
        (np.flatnonzero(own).tolist(), visibility(read_mask(root / "masks", name))) for name, own in labels.items()
    ]
    shares = []
    for weakness in (0, 0.5, 1, 2):
        rng, shows = np.random.default_rng(0), []
        for own, visible in fields:
            metaphase = choose_metaphase(rng, own, np.ones(len(visible), bool), weakness)
            shows.append(show_labels(rng, own, metaphase, visible, weakness, set()))
        shares.append(f"{weakness}: {np.concatenate(shows)[:, NEGATIVE].mean():.1%}")
    print(f"\nNegative cells by weakness, of {len(fields)} fields: " + ", ".join(shares))


def print_speed(folder: Path, seed: int) -> None:
    """Print seconds a field: written by one worker, by two; and drawn, by number of cells."""
    cv2.setNumThreads(1)  # "one core" means it
    seconds = {}
    for workers in (1, 2):
        start = time.perf_counter()
        quietly_written(folder / f"timed_{workers}", TIMED_FIELDS - 1, seed, workers)
        seconds[workers] = time.perf_counter() - start
    print(f"\nseconds a 512² field, written, one core, of {TIMED_FIELDS} fields: {seconds[1] / TIMED_FIELDS:.2f}")
    print(f"time with 2 workers / with 1, start of the processes included: {seconds[2] / seconds[1]:.2f}")
    counts, times = [], [time.perf_counter()]
    for number in range(24):
        counts.append(draw_field(np.random.default_rng([seed, number]), 512, UM, [0, 16]).masks.max())
        times.append(time.perf_counter())
    slope, rest = np.polyfit(counts, np.diff(times), 1)
    print(f"one field in this process: {rest:.2f} s + {slope:.3f} s a cell; of 12 cells {rest + 12 * slope:.2f} s")


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
