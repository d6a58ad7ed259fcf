"""Time and memory of the score on a submission of the test set's size: `python benchmarks/metrics.py [--fields N]`.

1,776 fields of 2048² with 22 cells, all 19 classes of each: 740,000 detections, outlines as smooth as a segmenter's.
Each in a process of its own, on one core: reading and scoring the CSV; scoring alone; pycocotools' COCOeval on the
same detections, the usual alternative; 1,000 rounds of the bootstrap; comparing two submissions; the diagnosis.
COCOeval takes the best free cell where the competition's rule takes the best, and 101 points of the curve: its figure
differs.
"""

import argparse
import csv
import json
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from hpa_utils import masks
from hpa_utils.labels import N_CLASSES

SIZE, CELLS, PATTERNS = 2048, 22, 24


def field_masks(rng: np.random.Generator) -> tuple[list[bytes], list[bytes]]:
    """COCO counts of the cells of one field and of a segmenter's, whose outlines are a few pixels off."""
    grid = np.stack(np.meshgrid(np.arange(4), np.arange(6)), axis=-1).reshape(-1, 2)[:CELLS]
    seeds = (grid + 0.5) * SIZE / (4, 6) + rng.normal(0, 60, (CELLS, 2))
    axes = np.meshgrid(*[np.arange(SIZE, dtype=np.float32)] * 2, indexing="ij")
    waves = rng.normal(0, 40, (2, 24, 24))
    both = []
    for shifts in (waves, waves + rng.normal(0, 10, waves.shape)):
        y, x = (axis + cv2.resize(shift.astype(np.float32), (SIZE, SIZE)) for axis, shift in zip(axes, shifts))
        owner, nearest = np.zeros((SIZE, SIZE), np.uint8), np.full((SIZE, SIZE), 260.0, np.float32)
        for cell, (centre_y, centre_x) in enumerate(seeds, start=1):
            distance = cv2.magnitude(y - np.float32(centre_y), x - np.float32(centre_x))
            closer = distance < nearest
            owner[closer], nearest[closer] = cell, distance[closer]
        both.append([masks.encode_counts(owner == cell) for cell in range(1, CELLS + 1)])
    return both[0], both[1]


def write_files(folder: Path, fields: int) -> None:
    """``truth.csv``, ``submission.csv`` and ``other.csv``: patterns of cells in turn, labels and confidences drawn."""
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(min(PATTERNS, fields)):
        texts.append([[masks.counts_to_text(counts) for counts in part] for part in field_masks(rng)])
    share = np.linspace(0.01, 0.25, N_CLASSES)
    with (
        open(folder / "truth.csv", "w", newline="") as truth,
        open(folder / "submission.csv", "w", newline="") as own,
        open(folder / "other.csv", "w", newline="") as other,
    ):
        writers = [csv.writer(file) for file in (truth, own, other)]
        writers[0].writerow(["ID", "ImageWidth", "ImageHeight", "Label", "Mask"])
        for writer in writers[1:]:
            writer.writerow(["ID", "ImageWidth", "ImageHeight", "PredictionString"])
        for number in range(fields):
            true, found = texts[number % len(texts)]
            labels = rng.random((CELLS, N_CLASSES)) < share
            for cell, label in zip(*np.nonzero(labels)):
                writers[0].writerow([f"field-{number:05d}", SIZE, SIZE, label, true[cell]])
            for writer, noise in ((writers[1], 0.3), (writers[2], 0.35)):
                confidence = 1 / (1 + np.exp(-(labels * 2 - 3 + rng.normal(0, 3 * noise, labels.shape))))
                words = [
                    f"{label} {confidence[cell, label]:.9g} {found[cell]}"
                    for cell in range(CELLS)
                    for label in range(N_CLASSES)
                ]
                writer.writerow([f"field-{number:05d}", SIZE, SIZE, " ".join(words)])


def score_file(folder: Path) -> dict:
    from hpa_utils.scoring import score_submission

    start = time.process_time()
    scores = score_submission(folder / "truth.csv", folder / "submission.csv")
    return {"CPU s": time.process_time() - start, "score": scores["mean_average_precision"]}


def _read(folder: Path, name: str = "submission.csv"):
    from hpa_utils.scoring import read_submission, read_truth

    return read_truth(folder / "truth.csv"), read_submission(folder / name)


def score_tables(folder: Path) -> dict:
    from hpa_utils.scoring import mean_average_precision

    tables = _read(folder)
    start = time.process_time()
    scores = mean_average_precision(*tables)
    return {"CPU s": time.process_time() - start, "score": scores["mean_average_precision"]}


def coco_eval(folder: Path) -> dict:
    import contextlib

    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth, detections = _read(folder)
    start = time.process_time()
    number = {image_id: place for place, image_id in enumerate(truth["image_id"].unique(), start=1)}

    def rows(table):
        return [
            {
                "id": place,
                "image_id": number[row.image_id],
                "category_id": row.label,
                "segmentation": {"size": [row.height, row.width], "counts": row.counts},
                "iscrowd": 0,
            }
            for place, row in enumerate(table.itertuples(), start=1)
        ]

    with contextlib.redirect_stdout(sys.stderr):
        known, found = COCO(), COCO()
        images = [{"id": place, "height": SIZE, "width": SIZE} for place in number.values()]
        categories = [{"id": label} for label in range(N_CLASSES)]
        for coco, annotations in ((known, rows(truth)), (found, rows(detections))):
            coco.dataset = {"images": images, "categories": categories, "annotations": annotations}
        for annotation, score in zip(found.dataset["annotations"], detections["confidence"]):
            annotation["score"] = score
        for coco in (known, found):
            for annotation in coco.dataset["annotations"]:
                annotation["area"] = 1.0  # all sizes count
            coco.createIndex()
        evaluation = COCOeval(known, found, "segm")
        evaluation.params.iouThrs = np.array([0.6])
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluation.params.maxDets = [1000]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, :, 0, 0]
    return {"CPU s": time.process_time() - start, "score": float(np.mean(precision[precision > -1]))}


def bootstrap_rounds(folder: Path) -> dict:
    from hpa_utils.scoring.metrics import match_detections
    from hpa_utils.scoring.report import bootstrap

    matches = match_detections(*_read(folder))
    start = time.process_time()
    interval = bootstrap(matches, 1000)["mean_average_precision"]
    return {"CPU s": time.process_time() - start, "score": interval["estimate"]} | interval


def compare_rounds(folder: Path) -> dict:
    from hpa_utils.scoring.metrics import match_detections
    from hpa_utils.scoring.report import compare

    first, second = (match_detections(*_read(folder, name)) for name in ("submission.csv", "other.csv"))
    start = time.process_time()
    found = compare(first, second, 1000)["mean_average_precision"]
    return {"CPU s": time.process_time() - start, "score": found["difference"]} | found


def diagnose_tables(folder: Path) -> dict:
    from hpa_utils.scoring import diagnose

    tables = _read(folder)
    start = time.process_time()
    found = diagnose(*tables)
    loss = {name: part["mean_over_classes_with_truth"] for name, part in found["loss"].items()}
    return {"CPU s": time.process_time() - start, "score": 1 - sum(loss.values())} | loss


JOBS = {
    "read and score the CSV": score_file,
    "score the tables": score_tables,
    "COCOeval on the same tables": coco_eval,
    "bootstrap, 1,000 rounds": bootstrap_rounds,
    "compare two, 1,000 rounds": compare_rounds,
    "diagnose": diagnose_tables,
}


def _job(name: str, folder: Path, queue) -> None:
    start = time.perf_counter()
    found = JOBS[name](folder)
    status = Path("/proc/self/status").read_text()  # getrusage would tell the parent's peak, too
    peak = int(status.partition("VmHWM:")[2].split()[0]) / 1024
    queue.put(found | {"wall s": time.perf_counter() - start, "peak MiB": peak})


def main(fields: int, names: list[str]) -> None:
    context = multiprocessing.get_context("spawn")  # a fresh process each: its own peak of memory
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), fields)
        sizes = {name: (Path(folder) / f"{name}.csv").stat().st_size / 1e6 for name in ("truth", "submission")}
        print(
            f"{fields:,} fields, {fields * CELLS * N_CLASSES:,} detections; MB on disk:", json.dumps(sizes), flush=True
        )
        for name in names:
            queue = context.Queue()
            process = context.Process(target=_job, args=(name, Path(folder), queue))
            process.start()
            found = queue.get()
            process.join()
            print(f"{name:28s}", "  ".join(f"{key} {value:.4g}" for key, value in found.items()), flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fields", type=int, default=1776)
    parser.add_argument("--jobs", nargs="*", default=list(JOBS), choices=JOBS)
    options = parser.parse_args()
    main(options.fields, options.jobs)
