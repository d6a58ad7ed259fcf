"""Crop sets in figures: `python benchmarks/crops.py`.

Crops a second of batches that show one crop of each of 256 fields, on one core with a warm cache; bytes requested of
the crops' own; size beside PNG; time and memory to open the index of a set as large as the competition's. Crops are
those of real fields where ../shared/data/hpa_fields is, else of simulated ones, many times over under other names.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import psutil
import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hpa_utils import tables  # noqa: E402
from hpa_utils.batches import CellBatches  # noqa: E402
from hpa_utils.crop_sets import CropSet  # noqa: E402
from hpa_utils.crops import INDEX, CropConfig, cut_cell, encode_crop  # noqa: E402
from hpa_utils.images import read_field  # noqa: E402
from hpa_utils.segmentation.masks_elsewhere import read_labels  # noqa: E402

REAL = ROOT.parent / "shared" / "data" / "hpa_fields"
BATCH, FIELDS, STEPS, TURNS = 256, 1024, 16, 7
N_CELLS, N_PARTS = 472_558, 110  # of the competition's train split


def cut_fields(folder: Path) -> dict[int, list[np.ndarray]]:
    """Side → crops of all cells of the real fields, or of simulated ones."""
    root, images, pixel_size = REAL, "images", 0.08
    if not REAL.is_dir():
        from hpa_simulator import write_dataset

        print("no real fields: simulated ones")
        root, images, pixel_size = write_dataset(folder / "data", 8, 2, 512, seed=0), "train", 0.32
    found = {128: [], 256: []}
    for path in sorted((root / images).glob("*_green.png")):
        image_id = path.name.removesuffix("_green.png")
        field = read_field(root / images, image_id)
        labels = read_labels(root / "masks", image_id, field.shape[:2])
        for cell in range(1, labels.max() + 1):
            x, y, width, height = cv2.boundingRect((labels == cell).astype(np.uint8))
            box = y, x, y + height, x + width
            for size, crops in found.items():
                crops.append(cut_cell(field, labels, cell, box, pixel_size, CropConfig(size=size))[0])
    return found


def write_set(folder: Path, crops: list[np.ndarray]) -> CropSet:
    """A crop set of many fields, each with as many cells as a real one."""
    encoded, rows, offset = [encode_crop(crop) for crop in crops], [], 0
    name = folder / "part-train-0000.parquet"
    folder.mkdir()
    with open(name.with_suffix(".crops"), "wb") as file:
        for field in range(FIELDS):
            for cell in range(1, max(2, len(crops) // 4)):
                data = encoded[(field * 7 + cell) % len(encoded)]
                rows.append(dict(zip(INDEX.names, (f"field-{field:04d}", cell, offset, len(data), 0.2))))
                offset += file.write(data)
    tables.write_part(name, rows, INDEX, "benchmark", {"cells_fingerprint": "", "size": str(len(crops[0]))})
    return CropSet([folder], "train")


def read_batches(crops: CropSet) -> tuple[float, float]:
    """Crops a second of CPU time (the best of several turns), and bytes requested of the bytes of the crops drawn."""
    percentiles, targets = np.zeros((FIELDS, 4, 4), np.float32), np.zeros((len(crops), 19), np.float32)
    batches = CellBatches(crops, percentiles, targets, np.arange(FIELDS), BATCH, STEPS, seed=0)
    requested, own, taken, pread = [], 0, [], os.pread
    os.pread = lambda file, length, offset: requested.append(length) or pread(file, length, offset)
    for step in range(STEPS):  # warms the cache as well
        _ = batches[step]
        own += int(crops.length[batches.draw(step)].sum())
    os.pread = pread
    for _ in range(TURNS):
        start = time.process_time()
        for step in range(STEPS):
            _ = batches[step]
        taken.append(time.process_time() - start)
    return BATCH * STEPS / min(taken), sum(requested) / own


def open_index(folder: Path) -> tuple[float, float]:
    """Seconds and MB that it takes to open the index of a crop set as large as the competition's."""
    for part, count in enumerate(np.diff(np.linspace(0, N_CELLS, N_PARTS + 1).astype(int))):
        cells = np.arange(count)
        names = [f"{part:03d}{field:05d}-bbad-11e8-b2ba-ac1f6b6435d0" for field in cells // 22]
        columns = [names, cells % 22 + 1, cells * 15_000, np.full(count, 15_000), np.full(count, 0.2)]
        table = pa.table([pa.array(column, type) for column, type in zip(columns, INDEX.types)], schema=INDEX)
        path = folder / f"part-train-{part:04d}.parquet"
        tables.write_table(path, table, {"key": f"key {part}", "cells_fingerprint": "", "size": "128"})
        path.with_suffix(".crops").touch()
    before, start = psutil.Process().memory_info().rss, time.perf_counter()
    crops = CropSet([folder], "train")
    assert len(crops) == N_CELLS
    return time.perf_counter() - start, (psutil.Process().memory_info().rss - before) / 1e6


def main():
    cv2.setNumThreads(1)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    with tempfile.TemporaryDirectory() as temporary:
        for size, crops in cut_fields(Path(temporary)).items():
            speed, requested = read_batches(write_set(Path(temporary) / str(size), crops))
            stored = sum(len(encode_crop(crop)) for crop in crops)
            pngs = sum(len(cv2.imencode(".png", crop)[1]) for crop in crops)
            print(f"{size} px: {speed:,.0f} crops/s, {requested:.3f} × the crops' bytes requested, {stored / pngs:.3f} "
                  f"× PNG's size ({stored / len(crops) / 1000:.1f} kB a crop, {len(crops)} crops)")  # fmt: skip
        seconds, megabytes = open_index(Path(temporary) / "index")
        print(f"index of {N_CELLS:,} cells in {N_PARTS} parts: {seconds:.2f} s, {megabytes:.0f} MB")


if __name__ == "__main__":
    main()
