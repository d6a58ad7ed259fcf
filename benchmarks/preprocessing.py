"""02 and 03 in figures: `python benchmarks/preprocessing.py [folder of real fields]`, about 4 minutes on 2 cores.

Prints, for fields of 2048²: what each step of 02 and 03 costs one core, as a ratio to what OpenCV takes to decode
the four PNGs once; what two workers do beside one; how the time grows from 50 to 500 fields; the memory of a worker,
also with 4096² fields; the bytes of a crop at each size, what they come to for the competition's 472,558 cells, and
which structures are thinner than two pixels there. Fields are hard links of a few, so the file cache is warm.
Without real fields it takes simulated ones of 2048².
"""

import concurrent.futures
import functools
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa

from hpa_simulator import write_dataset
from hpa_utils import images, masks, tables
from hpa_utils.crops import CropConfig, cut_cell, encode_crop, plan_crops, write_crops
from hpa_utils.dataset import CHANNELS, open_dataset
from hpa_utils.parallel import map_parts
from hpa_utils.segmentation import WatershedSegmenter, measure, plan_segmentation, segment_part

ROOT = Path(__file__).resolve().parent.parent
REAL = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT.parent / "shared" / "data" / "hpa_fields"
CELLS = 472_558  # of the competition's train fields
SIZES = (64, 96, 128, 192, 256, 384)
STRUCTURES = {  # usual width or diameter in µm, rounded from cell biology textbooks
    "cell": 36.0,
    "nucleus": 14.0,
    "nucleolus": 2.0,
    "nuclear body, centrosome": 0.7,
    "nuclear speckle": 1.5,
    "mitochondrion, width": 0.5,
    "vesicle": 0.4,
    "plasma membrane, nuclear envelope as seen": 0.3,
    "actin bundle, microtubule as seen": 0.3,
}


def read_png_four(folder, image_id):
    return [cv2.imdecode(data, cv2.IMREAD_UNCHANGED) for data in files_of(folder, image_id)]


def files_of(folder, image_id):
    return [np.fromfile(path, np.uint8) for path in images.channel_files(folder, image_id).values()]


def source_fields(folder):
    """(image folder, IDs, pixel size) of the fields that are multiplied."""
    if (REAL / "train.csv").is_file():
        dataset = open_dataset(REAL)
        return dataset.folders["train"], dataset.image_ids("train"), dataset.pixel_size_um
    print(f"no real fields in {REAL}: simulated ones")
    root = write_dataset(folder / "simulated", 4, 1, 2048, seed=0)
    return root / "train", open_dataset(root).image_ids("train"), 0.08


def steps(folder, image_ids, pixel_size):
    """Milliseconds of each step, the mean over the fields, after one field to warm up."""
    spent, n_cells, segmenter, config = {}, 0, WatershedSegmenter(pixel_size), CropConfig()

    def timed(name, function, *arguments):
        start = time.process_time()
        result = function(*arguments)
        spent[name] = spent.get(name, 0) + time.process_time() - start
        return result

    def cut_all(field, labels, rows):
        boxes = [(row["cell_id"], [row[side] for side in ("y0", "x0", "y1", "x1")]) for row in rows]
        return [cut_cell(field, labels, number, box, pixel_size, config)[0] for number, box in boxes]

    for repeat, image_id in enumerate([image_ids[0], *image_ids, *image_ids, *image_ids]):
        if repeat == 1:
            spent.clear()
            n_cells = 0
        datas = files_of(folder, image_id)
        timed("decode", lambda datas=datas: [cv2.imdecode(data, cv2.IMREAD_UNCHANGED) for data in datas])
        field = timed("02 read", images.read_field, folder, image_id)
        nuclei, cells = timed("02 watershed", segmenter.segment, field)
        timed("02 percentiles and hash", tables.field_row, image_id, "train", field, 1, np.zeros(19), pixel_size)
        rows = timed("02 measure cells", measure.cell_rows, image_id, "train", cells, nuclei, field)
        timed("02 table", pa.Table.from_pylist, rows, tables.CELLS)
        field = timed("03 read", images.read_field, folder, image_id)
        labels = [row["rle"] for row in rows], [row["cell_id"] for row in rows]
        labels = timed("03 paint labels", masks.paint_labels, *labels, *field.shape[:2])
        crops = timed("03 cut", cut_all, field, labels, rows)
        timed("03 encode", lambda crops=crops: [encode_crop(crop) for crop in crops])
        n_cells += len(rows)
    fields = 3 * len(image_ids)
    print(f"steps, one core, ratio to decoding four PNGs ({1000 * spent['decode'] / fields:.0f} ms);", end=" ")
    print(f"{n_cells / fields:.1f} cells a field, crops of {config.size} px")
    decode = spent.pop("decode")
    for name, value in spent.items():
        print(f"  {name:24} {value / decode:5.2f}")
    print(f"  {'sum':24} {sum(spent.values()) / decode:5.2f}")


def multiplied(folder, image_ids, root, count):
    """A data set of `count` fields, hard links of a few."""
    (root / "images").mkdir(parents=True)
    labels = []
    for number in range(count):
        source = image_ids[number % len(image_ids)]
        labels.append(f"field-{number:05d},0|16")
        for channel, path in images.channel_files(folder, source).items():
            target = root / "images" / f"field-{number:05d}_{channel}{path.suffix}"
            try:
                os.link(path, target)
            except OSError:  # another file system
                target.symlink_to(path.resolve())
    (root / "train.csv").write_text("\n".join(["ID,Label", *labels, ""]))
    return open_dataset(root)


def whole(dataset, pixel_size, out, workers):
    """Seconds of 02 and 03 together, as the notebooks run them."""
    start = time.perf_counter()
    plan = plan_segmentation(dataset, ["train"], WatershedSegmenter(pixel_size), out)
    map_parts(segment_part, plan, workers)
    parts = plan_crops(dataset, ["train"], [out], CropConfig(), out)
    map_parts(write_crops, parts, workers)
    return time.perf_counter() - start


def decoding(folder, image_ids):
    """Seconds that one core takes to read and decode each field once."""
    start = time.perf_counter()
    for image_id in image_ids:
        read_png_four(folder, image_id)
    return time.perf_counter() - start


def growth(folder, image_ids, pixel_size, scratch):
    per_field = {}
    for count, workers in ((50, 1), (50, 2), (200, 2), (500, 2)):
        dataset = multiplied(folder, image_ids, scratch / f"data-{count}-{workers}", count)
        once = decoding(folder, image_ids * 5) / 5 / len(image_ids)
        taken = whole(dataset, pixel_size, scratch / f"out-{count}-{workers}", workers)
        per_field[count, workers] = taken / count / once
        print(f"  {count:4} fields, {workers} workers: {taken / count / once:5.2f} × decoding a field on one core")
    print(f"  two workers do {per_field[50, 1] / per_field[50, 2]:.2f} × the work of one (50 fields)")
    print(f"  500 fields take {per_field[500, 2] / per_field[50, 2]:.2f} × as long a field as 50")


def peak_memory(dataset, pixel_size, out):
    """Peak memory, GB, of a process that segments and crops one part."""
    part = plan_segmentation(dataset, ["train"], WatershedSegmenter(pixel_size), out)[0]
    segment_part(part)
    write_crops(plan_crops(dataset, ["train"], [out], CropConfig(), out)[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def memory(folder, image_ids, pixel_size, scratch):
    """Of 2048² fields, and of 4096² ones made of four each."""
    large = scratch / "large"
    large.mkdir()
    for image_id in image_ids:
        field = images.read_field(folder, image_id)
        for index, channel in enumerate(CHANNELS):
            cv2.imwrite(str(large / f"{image_id}_{channel}.png"), np.tile(field[..., index], (2, 2)))
    spawn = multiprocessing.get_context("spawn")
    for name, source in (("2048²", folder), ("4096²", large)):
        dataset = multiplied(source, image_ids, scratch / f"memory-{name[:4]}", 8)
        with concurrent.futures.ProcessPoolExecutor(1, spawn, cv2.setNumThreads, (0,)) as pool:
            used = pool.submit(peak_memory, dataset, pixel_size, scratch / f"memory-out-{name[:4]}").result()
        print(f"  a worker, fields of {name}: at most {used:.2f} GB")


def crop_sizes(folder, image_ids, pixel_size):
    print(f"{'crop':>6} {'kB':>6} {'GB for all':>10} {'µm/px':>6}  thinner than 2 px in a median cell")
    segmented = []
    for image_id in image_ids:
        field = images.read_field(folder, image_id)
        nuclei, cells = WatershedSegmenter(pixel_size).segment(field)
        segmented.append((field, cells, measure.cell_rows(image_id, "train", cells, nuclei, field)))
    for size in SIZES:
        cut = functools.partial(cut_cell, pixel_size=pixel_size, config=CropConfig(size=size))
        found = [
            cut(field, cells, row["cell_id"], [row[side] for side in ("y0", "x0", "y1", "x1")])
            for field, cells, rows in segmented
            for row in rows
        ]
        n_bytes = np.mean([len(encode_crop(crop)) for crop, _ in found])
        scale = float(np.median([scale for _, scale in found]))
        thin = [name for name, width in STRUCTURES.items() if width < 2 * scale]
        print(f"{size:>6} {n_bytes / 1e3:>6.1f} {n_bytes * CELLS / 1e9:>10.1f} {scale:>6.2f}  {'; '.join(thin) or '-'}")


def main():
    cv2.setNumThreads(0)
    print(f"machine: {os.cpu_count()} cores, {platform.machine()}; Python {platform.python_version()}", end=", ")
    print(f"OpenCV {cv2.__version__}, numpy {np.__version__}, pyarrow {pa.__version__}")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = Path(scratch)
        folder, image_ids, pixel_size = source_fields(scratch)
        steps(folder, image_ids, pixel_size)
        print("crops: bytes, and width of structures")
        crop_sizes(folder, image_ids, pixel_size)
        print("memory")
        memory(folder, image_ids, pixel_size, scratch)
        print("whole stages 02 and 03, file cache warm")
        growth(folder, image_ids, pixel_size, scratch)


if __name__ == "__main__":
    main()
