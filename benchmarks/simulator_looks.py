"""Do simulated cells look like real ones? Measured as a network sees them, in crops after the watershed.

    python benchmarks/simulator_looks.py SIMULATED [--beside PLATE.png]

    SIMULATED       a simulated data set of fields of 0.32 µm a pixel, such as benchmarks/simulator.py keeps
    --real ROOT     real cells, all of a field in one class: ../shared/data/hpa_cells
    --beside PNG    draw real beside simulated cells, class by class. A picture of real cells is never committed

Crops are those of 03 at 96 px: a larger cell is shrunk to fit. So all lengths are px of a crop, not µm. Pictures are a
pair: crops uint8 (n, 96, 96, 4), and the one class that each cell shows, −1 where it shows several.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

from hpa_utils.crops import CropConfig, cut_cell
from hpa_utils.csv_files import read_csv
from hpa_utils.dataset import CHANNELS, Dataset, open_dataset
from hpa_utils.images import read_field_of
from hpa_utils.plots.pictures import SHORT_NAMES, composite, stretched
from hpa_utils.segmentation import WatershedSegmenter
from hpa_utils.segmentation.masks_elsewhere import iou_table, read_mask
from hpa_utils.segmentation.measure import cell_rows

REAL = Path(__file__).resolve().parents[2] / "shared" / "data" / "hpa_cells"
SIDE = 96  # of a crop, px
SEEN = 100  # simulated fields whose cells are looked at
MARKERS = ("red", "blue", "yellow")
BINS = 10  # of the profile: five up to the nucleus's rim, five from there to the cell's edge
SIGMAS = (0.7, 1.4, 2.8, 5.6)  # px, between which lie the bands of texture
RADII = (1, 2, 4)  # px, of the openings that measure granularity
BESIDE = 7  # cells of a class and kind on the plate


def main() -> None:
    """Print the tables and draw the plate, if it was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("simulated", type=Path, metavar="SIMULATED")
    parser.add_argument("--real", type=Path, default=REAL, metavar="ROOT")
    parser.add_argument("--beside", type=Path, metavar="PNG")
    options = parser.parse_args()
    pictures = {"real": cut_real(options.real), "simulated": cut_simulated(options.simulated)}
    tables = {name: pd.DataFrame(map(measure_cell, crops)) for name, (crops, _) in pictures.items()}
    classes = {name: shown for name, (_, shown) in pictures.items()}
    print_markers(*tables.values())
    print_green(tables, classes)
    print_profiles(tables, classes)
    if options.beside:
        draw_beside(options.beside, pictures)


def cut_real(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """The cells that the watershed finds on real fields, every cell of which shows its field's one label."""
    dataset, crops, classes = open_dataset(root), [], []
    for image_id, labels in dataset.labels.items():
        crops += [crop for _, crop in cut_field(dataset, image_id)]
        classes += [int(labels.argmax())] * (len(crops) - len(classes))
    return np.array(crops), np.array(classes)


def cut_simulated(root: Path) -> tuple[np.ndarray, np.ndarray]:
    """The cells that the watershed finds on simulated fields and that the truth has, too, by IoU ≥ 0.6."""
    dataset, crops, classes = open_dataset(root), [], []
    truth = read_csv(root / "truth_train.csv", ("ID", "Label", "Mask"))
    for image_id in list(dataset.labels)[:SEEN]:
        own = truth[truth["ID"] == image_id]
        shown = [labels.astype(int).tolist() for _, labels in own.groupby("Mask", sort=False)["Label"]]
        for number, crop in cut_field(dataset, image_id, read_mask(root / "masks", image_id)):
            crops.append(crop)
            classes.append(shown[number][0] if len(shown[number]) == 1 else -1)
    return np.array(crops), np.array(classes)


def cut_field(dataset: Dataset, image_id: str, truth: np.ndarray | None = None) -> list[tuple[int, np.ndarray]]:
    """Crops of a field's cells after the watershed, as 02 and 03 make them; each cell's number in the truth, from 0."""
    field = read_field_of(dataset, "train", image_id)
    nuclei, cells = WatershedSegmenter(pixel_size=dataset.pixel_size_um).segment(field)
    overlap = iou_table(cells, truth) if truth is not None else np.ones((cells.max(), 1))
    found = []
    for row, overlaps in zip(cell_rows(image_id, "train", cells, nuclei, field), overlap):
        if overlaps.max() >= 0.6:
            box = tuple(row[key] for key in ("y0", "x0", "y1", "x1"))
            crop, _ = cut_cell(field, cells, row["cell_id"], box, dataset.pixel_size_um, CropConfig(SIDE))
            found.append((int(overlaps.argmax()), crop))
    return found


def print_markers(real: pd.DataFrame, simulated: pd.DataFrame) -> None:
    """Print how the three reference channels of all cells look."""
    print(f"{len(real)} real and {len(simulated)} simulated cells; light in units of a cell's own 99th percentile")
    print("median real, simulated; shift of the mean in real deviations; deviation simulated / real")
    print(f"{'':18s}" + "".join(f"{channel:>14s}{'':14s}" for channel in MARKERS))
    for feature in features_of(real, "red"):
        numbers = [compared(real[f"{channel} {feature}"], simulated[f"{channel} {feature}"]) for channel in MARKERS]
        print(f"{feature:18s}" + "".join(numbers))
    for feature in ("cell / crop", "nucleus / cell", "red to yellow"):
        print(f"{feature:18s}" + compared(real[feature], simulated[feature]))


def features_of(table: pd.DataFrame, channel: str) -> list[str]:
    names = [name.removeprefix(f"{channel} ") for name in table if name.startswith(f"{channel} ")]
    return [name for name in names if not name.isdigit() and name != "to yellow"]


def compared(real: pd.Series, simulated: pd.Series) -> str:
    shift = (simulated.mean() - real.mean()) / real.std()
    return f"{real.median():8.2f}{simulated.median():7.2f}{shift:+7.1f}{simulated.std() / real.std():6.1f}"


def print_green(tables: dict[str, pd.DataFrame], classes: dict[str, np.ndarray]) -> None:
    """Print how the protein looks in cells that show one class alone."""
    shared = np.unique(classes["real"])
    print("\ngreen of cells that show one class alone: median real / simulated")
    print(f"{'':18s}" + "".join(f"{f'{label} {SHORT_NAMES[label]}':^18s}" for label in shared))
    counts = [" / ".join(str((own == label).sum()) for own in classes.values()) for label in shared]
    print(f"{'cells':18s}" + "".join(f"{count:^18s}" for count in counts))
    for feature in features_of(tables["real"], "green"):
        pairs = []
        for label in shared:
            medians = (tables[name].loc[classes[name] == label, f"green {feature}"].median() for name in tables)
            pairs.append(" / ".join(f"{median:.2f}" for median in medians))
        print(f"{feature:18s}" + "".join(f"{pair:^18s}" for pair in pairs))


def print_profiles(tables: dict[str, pd.DataFrame], classes: dict[str, np.ndarray]) -> None:
    """Print profiles: markers of all cells, green class by class."""
    print(
        "\nmean brightness from the middle of the nucleus (1…5) to the cell's edge (6…10), in units of the cell's mean"
    )
    for channel, label in [(name, None) for name in MARKERS] + [
        ("green", label) for label in np.unique(classes["real"])
    ]:
        for name, table in tables.items():
            own = table if label is None else table[classes[name] == label]
            steps = [own[f"{channel} {step}"].mean() for step in range(1, BINS + 1)]
            title = channel if label is None else f"{channel} of {label}"
            print(f"{title:12s}{name:12s}" + "".join(f"{value:6.2f}" for value in steps))


def measure_cell(crop: np.ndarray) -> dict[str, float]:
    """Size, light, texture and granularity of a cell, uint8 (S, S, 4), black outside."""
    cell = fill_cell(crop.max(axis=2) > 0)
    nucleus = find_nucleus(crop[..., 2], cell)
    square = np.ones((3, 3), np.uint8)
    inner, deep = (cv2.erode(cell, square, iterations=steps) for steps in (2, 3))
    around = cv2.dilate(nucleus, square, iterations=5) & cell & ~cv2.dilate(nucleus, square)
    parts = {"nucleus": nucleus, "round nucleus": around, "edge": cell & ~deep & ~nucleus & 1}
    row = {"cell / crop": cell.sum() / cell.size, "nucleus / cell": nucleus.sum() / max(cell.sum(), 1)}
    place = np.digitize(radial_place(cell, nucleus)[cell > 0], np.linspace(0, 1, BINS + 1)[1:-1])
    for channel, plane in zip(CHANNELS, np.moveaxis(crop, -1, 0).astype(np.float32)):
        inside = plane[cell > 0]
        bright = max(float(np.percentile(inside, 99)), 6.0) if inside.size else 6.0
        light = plane / bright * cell
        row |= {f"{channel} p99, grey": bright, f"{channel} mean": mean_in(light, cell)}
        row |= {f"{channel} {part}": mean_in(light, where) for part, where in parts.items()}
        row |= {f"{channel} {name}": value for name, value in texture(light, cell, inner).items()}
        counts = np.bincount(place, minlength=BINS)
        steps = np.bincount(place, inside, BINS) / np.where(counts, counts, np.nan) / max(inside.mean(), 0.1)
        row |= {f"{channel} {step}": value for step, value in enumerate(steps, start=1)}
    red, yellow = crop[..., 0][cell > 0].astype(float), crop[..., 3][cell > 0].astype(float)
    return row | {"red to yellow": np.corrcoef(red, yellow)[0, 1] if red.std() * yellow.std() > 0 else 0.0}


def fill_cell(cell: np.ndarray) -> np.ndarray:
    """The largest piece of a cell with its holes filled, uint8."""
    outlines, _ = cv2.findContours(cell.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = np.zeros(cell.shape, np.uint8)
    return cv2.drawContours(filled, [max(outlines, key=cv2.contourArea)], -1, 1, -1) if outlines else filled


def find_nucleus(blue: np.ndarray, cell: np.ndarray) -> np.ndarray:
    blurred = cv2.GaussianBlur(blue.astype(np.float32), (0, 0), 1.5)
    bright = 0.4 * np.percentile(blurred[cell > 0], 99) if cell.any() else 0
    return ((blurred > bright) & (cell > 0)).astype(np.uint8)


def mean_in(light: np.ndarray, where: np.ndarray) -> float:
    return float(light[where > 0].mean()) if where.any() else 0.0


def texture(light: np.ndarray, cell: np.ndarray, inner: np.ndarray) -> dict[str, float]:
    """Deviation of bands between Gaussian blurs, and the share of light that openings take away."""
    found, finer = {}, light
    for sigma in SIGMAS:
        weight = cv2.GaussianBlur(cell.astype(np.float32), (0, 0), sigma) + 1e-3
        coarser = cv2.GaussianBlur(light, (0, 0), sigma) / weight * cell
        found[f"band to {sigma} px"] = float((finer - coarser)[inner > 0].std()) if inner.any() else 0.0
        finer = coarser
    for radius in RADII:
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
        opened = cv2.morphologyEx(light, cv2.MORPH_OPEN, disk)
        found[f"grains to {radius} px"] = 1 - float(opened.sum() / max(light.sum(), 1e-3))
    return found


def radial_place(cell: np.ndarray, nucleus: np.ndarray) -> np.ndarray:
    """0 in the middle of the nucleus, 0.5 on its rim, 1 on the cell's edge."""
    deep, far, edge = (cv2.distanceTransform(part, cv2.DIST_L2, 5) for part in (nucleus, 1 - nucleus, cell))
    inside = 0.5 * (1 - deep / max(deep.max(), 1))
    return np.where(nucleus > 0, inside, 0.5 + 0.5 * far / np.maximum(far + edge, 1))


def draw_beside(path: Path, pictures: dict[str, tuple]) -> None:
    """Draw real cells, left, beside simulated ones that show the same class alone: composite, green, red, yellow."""
    rng, sheet = np.random.default_rng(1), []
    drawings = [composite] + [lambda crop, k=k: cv2.merge([stretched(crop[..., k])] * 3) for k in (1, 0, 3)]
    shared = np.unique(pictures["real"][1])
    for label in shared:
        chosen = [crops[rng.permutation(np.flatnonzero(own == label))[:BESIDE]] for crops, own in pictures.values()]
        for draw in drawings:
            row = np.full((SIDE, 2 * BESIDE * SIDE + 8, 3), 255, np.uint8)
            for start, crops in zip((0, BESIDE * SIDE + 8), chosen):
                for place, crop in enumerate(crops):
                    row[:, start + place * SIDE :][:, :SIDE] = draw(crop)
            sheet.append(row)
        sheet.append(np.full((6, sheet[-1].shape[1], 3), 255, np.uint8))
    Image.fromarray(np.concatenate(sheet)).save(path)
    print(f"\n{path}: real cells left, simulated right, of classes {', '.join(map(str, shared))}")


if __name__ == "__main__":
    main()
