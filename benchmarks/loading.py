"""Loading crops in figures: `python benchmarks/loading.py [folder of real fields]`.

Crops a second of 8 cells drawn from each of 4 bags, as ratios to what decoding the same PNGs, already in memory,
takes on the same cores, in the same run. Bags are those of four real fields, or of simulated ones where the folder
is missing, many times over under other names. Beside the library's loader: its steps in tf.data; tf.io.decode_png
as the decoder; TFRecords of bags; four grey PNG files a cell. Cold means that the files' pages were dropped
(posix_fadvise DONTNEED, after fsync) before each turn: the disk's own and the host's caches stay as they are. Where
other work shares the cores, the ratio of CPU times tells more than that of crops a second.
"""

import os
import platform
import resource
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import cv2
import numpy as np
import pyarrow as pa

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from hpa_utils import tables  # noqa: E402
from hpa_utils.crops import Bags, BagSampler, CropConfig, cut_cell, encode_crop  # noqa: E402
from hpa_utils.crops.bags import BAGS  # noqa: E402
from hpa_utils.crops.batches import training_batches, training_dataset  # noqa: E402
from hpa_utils.images import read_field  # noqa: E402
from hpa_utils.segmentation.reference import read_labels  # noqa: E402

REAL = ROOT.parent / "shared" / "data" / "hpa_fields"
SIZE, CELLS, BAGS_A_BATCH, PARTS, BAGS_A_PART = 128, 8, 4, 4, 40
TURNS = 7
CORES = len(os.sched_getaffinity(0))


def field_crops(root, size=SIZE):
    """The crops of each field, uint8 (n, S, S, 4), as the library cuts them; of simulated fields without `root`."""
    pixel_size, images = 0.08, "images"
    if not Path(root).is_dir():
        from hpa_simulator import write_dataset

        print(f"{root} is missing: simulated fields")
        root = write_dataset(Path(tempfile.mkdtemp()) / "data", 8, 2, 512, seed=0)
        pixel_size, images = 0.32, "train"
    config, fields = CropConfig(size=size), []
    for image_id in sorted({path.stem.rsplit("_", 1)[0] for path in (Path(root) / images).glob("*_green.png")}):
        field = read_field(Path(root) / images, image_id)
        labels = read_labels(Path(root) / "masks", image_id, field.shape[:2])
        crops = []
        for cell in range(1, labels.max() + 1):
            x, y, width, height = cv2.boundingRect((labels == cell).astype(np.uint8))
            crops.append(cut_cell(field, labels, cell, (y, x, y + height, x + width), pixel_size, config)[0])
        fields.append(np.stack(crops))
    return fields


def write_parts(folder, fields):
    """The fields' bags, many times over, as the library writes them; one row group a bag."""
    pngs = [[encode_crop(crop) for crop in crops] for crops in fields]
    for part in range(PARTS):
        path = folder / f"part-train-{part:04d}.parquet"
        with tables.part_writer(path, BAGS, "benchmark", plain=("crops",)) as writer:
            for number in range(BAGS_A_PART):
                crops = pngs[number % len(pngs)]
                bag = {
                    "image_id": f"field-{part}-{number}",
                    "split": "train",
                    "labels": [0] * 19,
                    "percentiles": [0.0] * 16,
                    "cell_ids": list(range(1, len(crops) + 1)),
                    "crops": crops,
                    "scales": [0.3] * len(crops),
                    "edge_fractions": [0.0] * len(crops),
                }
                writer.write_table(pa.Table.from_pylist([bag], schema=BAGS))
            writer.add_key_value_metadata({"cells_fingerprint": ""})
    return sorted(folder.glob("part-*"))


def write_grey(folder, bags):
    """Four grey PNG files a cell, named by bag, position and channel."""
    folder.mkdir()
    for number in range(len(bags)):
        for position, view in enumerate(bags.views(number)):
            crop = cv2.imdecode(view, cv2.IMREAD_UNCHANGED)
            for channel in range(4):
                cv2.imwrite(str(folder / f"{number}_{position}_{channel}.png"), crop[..., channel])
    return sorted(folder.iterdir())


def write_tfrecords(folder, bags):
    import tensorflow as tf

    folder.mkdir()
    for part in range(PARTS):
        with tf.io.TFRecordWriter(str(folder / f"{part}.tfrecord")) as writer:
            for number in range(part * BAGS_A_PART, (part + 1) * BAGS_A_PART):
                crops = tf.train.Feature(bytes_list=tf.train.BytesList(value=bags.crops(number)))
                writer.write(tf.train.Example(features=tf.train.Features(feature={"crops": crops})).SerializeToString())
    return [str(path) for path in sorted(folder.iterdir())]


def bare(pngs):
    """Decode PNGs in memory on all cores, in pieces of the size of a bag, and throw the pixels away."""

    def piece(start):
        for png in pngs[start : start + CELLS]:
            cv2.imdecode(png, cv2.IMREAD_UNCHANGED)

    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(piece, range(0, len(pngs), CELLS)))


def take(batches, steps):
    for _, _batch in zip(range(steps), batches):
        pass


def tf_decoding(bags, sampler):
    """tf.io.decode_png in a parallel map, fed with the drawn PNGs by a Python generator."""
    import tensorflow as tf

    blank = encode_crop(np.zeros((SIZE, SIZE, 4), np.uint8))

    def draw():
        step = 0
        while True:
            for number, cells in zip(*sampler.batch(step)):
                pngs = bags.crops(number)
                yield [pngs[i] for i in cells] + [blank] * (CELLS - len(cells))
            step += 1

    dataset = tf.data.Dataset.from_generator(draw, output_signature=tf.TensorSpec((CELLS,), tf.string))
    return dataset.map(tf_decode, num_parallel_calls=tf.data.AUTOTUNE).batch(BAGS_A_BATCH).prefetch(2)


def tf_decode(pngs):
    import tensorflow as tf

    return tf.stack([tf.io.decode_png(pngs[k], channels=4) for k in range(CELLS)])


def tfrecords(paths):
    """Bags shuffled in a buffer, K of their cells decoded."""
    import tensorflow as tf

    blank = encode_crop(np.zeros((SIZE, SIZE, 4), np.uint8))

    def draw(record):
        crops = tf.io.parse_single_example(record, {"crops": tf.io.RaggedFeature(tf.string)})["crops"]
        drawn = tf.random.shuffle(crops)[:CELLS]
        return tf_decode(tf.pad(drawn, [[0, CELLS - tf.size(drawn)]], constant_values=blank))

    records = tf.data.TFRecordDataset(paths, num_parallel_reads=CORES).shuffle(64, seed=0).repeat()
    return records.map(draw, num_parallel_calls=tf.data.AUTOTUNE).batch(BAGS_A_BATCH).prefetch(2)


def grey(folder, sampler, steps):
    """The same draws from four grey files a cell, read and decoded in threads."""

    def bag(number, cells):
        crops = np.zeros((CELLS, SIZE, SIZE, 4), np.uint8)
        for crop, position in zip(crops, cells):
            for channel in range(4):
                png = np.fromfile(folder / f"{number}_{position}_{channel}.png", np.uint8)
                crop[..., channel] = cv2.imdecode(png, cv2.IMREAD_GRAYSCALE)
        return crops

    draws = [draw for step in range(steps) for draw in zip(*sampler.batch(step))]
    with ThreadPoolExecutor(CORES) as pool:
        for start in range(0, len(draws), BAGS_A_BATCH):
            np.stack(list(pool.map(lambda draw: bag(*draw), draws[start : start + BAGS_A_BATCH])))


def drop_pages(paths):
    """Write the files to disk and ask the kernel to forget their pages."""
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def seconds(function):
    """Wall and CPU time."""
    start = time.perf_counter(), time.process_time()
    function()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def resident_mb():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6


def main():
    fields = field_crops(Path(sys.argv[1]) if len(sys.argv) > 1 else REAL)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        parts = write_parts(folder, fields)
        bags = Bags(folder, "train")
        sampler = BagSampler(range(len(bags)), bags.counts, CELLS, BAGS_A_BATCH, seed=0)
        files = write_grey(folder / "grey", bags)
        records = write_tfrecords(folder / "records", bags)
        steps = 4 * sampler.steps_per_epoch
        drawn = [(n, p) for step in range(steps) for n, cells in zip(*sampler.batch(step)) for p in cells]
        pngs = [bags.views(number)[position].copy() for number, position in drawn]
        print(f"{platform.machine()}, {CORES} cores, Python {platform.python_version()}, OpenCV {cv2.__version__}")
        print(f"{len(bags)} bags, {bags.counts.sum()} cells of {SIZE} px, {np.mean([len(p) for p in pngs]):.0f} bytes "
              f"a crop; {steps} steps of {BAGS_A_BATCH} × {CELLS} cells, {len(pngs)} crops")  # fmt: skip
        datasets = {
            "the library's batches in tf.data": training_dataset(bags, sampler, SIZE),
            "tf.io.decode_png in tf.data, fed by a generator": tf_decoding(bags, sampler),
            "TFRecords of bags, tf.io.decode_png": tfrecords(records),
        }
        # started once and going on, as in training
        running = {"the library's batches, NumPy": training_batches(bags, sampler, SIZE)}
        running |= {name: iter(dataset) for name, dataset in datasets.items()}
        ways = {
            "bare decoding": lambda: bare(pngs),
            **{name: lambda batches=batches: take(batches, steps) for name, batches in running.items()},
            "four grey PNG files a cell, warm": lambda: grey(folder / "grey", sampler, steps),
        }
        cold = {
            "the library's batches, NumPy, cold": (
                parts,
                lambda: take(training_batches(Bags(folder, "train"), sampler, SIZE), steps),
            ),
            "four grey PNG files a cell, cold": (files, lambda: grey(folder / "grey", sampler, steps)),
        }
        times = {name: [] for name in [*ways, *cold]}
        for turn in range(TURNS + 1):
            for name, way in ways.items():
                taken = seconds(way)
                if turn:  # the first warms up
                    times[name].append(taken)
        del datasets, running, ways, bags
        for _ in range(TURNS):
            for name, (paths, way) in cold.items():
                drop_pages(paths)
                times[name].append(seconds(way))
        wall, cpu = np.median(times["bare decoding"], axis=0)
        print(f"\n{f'medians of {TURNS} turns':50}{'crops/s':>9}{'of bare':>9}{'of bare by CPU time':>21}")
        for name, taken in times.items():
            own_wall, own_cpu = np.median(taken, axis=0)
            print(f"{name:50}{len(pngs) / own_wall:9.0f}{wall / own_wall:9.2f}{cpu / own_cpu:21.2f}")
        bags = Bags(folder, "train")
        print("\nresident memory after each of 5 × 4 epochs, MB:", end=" ")
        batches = training_batches(bags, sampler, SIZE)
        for _ in range(5):
            take(batches, steps)
            print(f"{resident_mb():.0f}", end=" ")
        print()


if __name__ == "__main__":
    main()
