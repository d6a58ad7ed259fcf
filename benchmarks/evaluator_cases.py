"""Small cases with the figures of the TF Object Detection API's own evaluator, for the tests of the metric.

    python benchmarks/evaluator_cases.py [--more 200]

Makes the cases, asks the evaluator for the average precisions, writes ``tests/data/evaluator_cases.json``, and compares
this library's with it on `--more` further random cases that are not written. The evaluator (`object_detection`, with
TensorFlow) is not among the requirements: have the source package tf-models-research-object-detection 2.8.0 on
PYTHONPATH, and set PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION=python for its old protocol buffers.

A case: `truth`: [field, height, width, label, mask], `detections`: [field, height, width, label, confidence, mask],
where a mask is a list of boxes [y0, x0, height, width] that are filled; and the evaluator's average precisions of the
19 classes, null without truth, by `absent` (as of `score`): "false_positive", "ignored".
"""

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import masks
from hpa_utils.labels import CLASS_NAMES
from hpa_utils.scoring.metrics import ABSENT, mean_average_precision

TARGET = Path(__file__).resolve().parent.parent / "tests" / "data" / "evaluator_cases.json"
CELL, PART, MISS = [[2, 2, 10, 10]], [[2, 2, 10, 6]], [[2, 20, 10, 10]]  # a box, six tenths of it, one apart from it


def hand_made() -> dict:
    """Name → (truth, detections), in fields of 20 × 32 px."""

    def truth(*rows):
        return [[field, 20, 32, label, mask] for field, label, mask in rows]

    def found(*rows):
        return [[field, 20, 32, label, confidence, mask] for field, label, confidence, mask in rows]

    crowded = found(*(("a", 0, 0.5, mask) for mask in (MISS, CELL, PART, MISS, CELL)), ("b", 0, 0.5, CELL))
    return {
        "one cell": (truth(("a", 0, CELL)), found(("a", 0, 0.5, CELL))),
        "double hit": (truth(("a", 0, CELL)), found(("a", 0, 0.4, CELL), ("a", 0, 0.9, PART), ("a", 0, 0.95, MISS))),
        "miss": (truth(("a", 0, CELL)), found(("a", 0, 0.4, MISS))),
        "IoU of exactly 0.6": (truth(("a", 0, CELL)), found(("a", 0, 0.4, PART))),
        "IoU below 0.6": (truth(("a", 0, CELL)), found(("a", 0, 0.4, [[2, 2, 10, 5], [2, 7, 9, 1]]))),
        "empty field": (truth(("a", 0, CELL)), found(("b", 0, 0.9, CELL), ("a", 0, 0.4, CELL))),
        "field missing from the submission": (truth(("a", 0, CELL), ("b", 0, CELL)), found(("a", 0, 0.4, CELL))),
        "best cell taken, second best free": (
            truth(("a", 0, [[0, 0, 10, 10]]), ("a", 0, [[0, 2, 10, 10]])),
            found(("a", 0, 0.9, [[0, 0, 10, 10]]), ("a", 0, 0.8, [[0, 0, 10, 11]])),
        ),
        "the same true cell twice": (
            truth(("a", 0, CELL), ("a", 0, CELL)),
            found(("a", 0, 0.9, CELL), ("a", 0, 0.8, CELL)),
        ),
        "mask without pixels": (truth(("a", 0, CELL), ("b", 0, [])), found(("a", 0, 0.9, []), ("a", 0, 0.4, CELL))),
        "class without truth": (truth(("a", 3, CELL)), found(("a", 3, 0.5, CELL), ("a", 4, 0.9, CELL))),
        "class without detections": (truth(("a", 3, CELL), ("a", 4, CELL)), found(("a", 3, 0.5, CELL))),
        "ties": (truth(("a", 0, CELL), ("b", 0, CELL)), crowded),
    }


def random_case(rng: np.random.Generator, levels: int = 0) -> tuple[list, list]:
    """Truth and detections of a few classes, shifted, merged, split, repeated and invented, in fields of any shape.

    Parameters
    ----------
    levels : int
        How many different confidences there are; 0: all differ.
    """
    truth, detections = [], []
    for field in "abcd"[: rng.integers(1, 5)]:
        height, width = (int(size) for size in rng.integers(24, 49, 2))
        for _ in range(rng.integers(0, 5)):
            cell = _box(rng, height, width)
            labels = rng.choice(5, rng.integers(1, 3), replace=False)
            truth += [[field, height, width, int(label), [cell]] for label in labels]
            for _ in range(rng.integers(0, 4)):
                mask = [_moved(rng, cell)] + ([_box(rng, height, width)] if rng.random() < 0.15 else [])
                classes = rng.choice(6, rng.integers(1, 7), replace=False)
                detections += [[field, height, width, int(label), 0, mask] for label in classes]
        if rng.random() < 0.5:
            mask = [_box(rng, height, width)] if rng.random() < 0.8 else []
            detections += [[field, height, width, label, 0, mask] for label in range(6)]
    rng.shuffle(detections)
    values = rng.integers(levels, size=len(detections)) / levels if levels else rng.permutation(len(detections)) / 997
    for row, confidence in zip(detections, values):
        row[4] = float(confidence)
    return truth, detections


def _box(rng, height, width):
    size = rng.integers(5, 13, 2)
    return [int(rng.integers(0, height - size[0])), int(rng.integers(0, width - size[1])), int(size[0]), int(size[1])]


def _moved(rng, box):
    y0, x0, height, width = (int(value) for value in np.array(box) + rng.integers(-1, 2, 4))
    return [max(y0, 0), max(x0, 0), height, width]


def tables(truth: list, detections: list) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A case as `hpa_utils.scoring` takes it."""
    names = ["image_id", "height", "width", "label"]
    truth = pd.DataFrame([[*row[:4], _counts(*row)] for row in truth], columns=[*names, "counts"])
    rows = [[*row[:5], _counts(*row[:4], row[5])] for row in detections]
    return truth, pd.DataFrame(rows, columns=[*names, "confidence", "counts"])


def _counts(field, height, width, label, boxes):
    mask = np.zeros((height, width), bool)
    for y0, x0, rows, columns in boxes:
        mask[y0 : y0 + rows, x0 : x0 + columns] = True
    return masks.encode_counts(mask)


def evaluate(truth: pd.DataFrame, detections: pd.DataFrame, absent: str) -> list[float | None]:
    """Average precision of the 19 classes, by the Open Images challenge's evaluator for masks.

    A class that is not verified in a field is skipped there: with "false_positive" all classes are, with "ignored"
    those of the field's cells.
    """
    from object_detection.metrics import oid_challenge_evaluation_utils as rows
    from object_detection.utils import object_detection_evaluation as evaluation

    np.float, np.NAN = float, np.nan  # names it uses that NumPy has dropped
    numbers = {name: number for number, name in enumerate(CLASS_NAMES, start=1)}
    categories = [{"id": number, "name": name} for name, number in numbers.items()]
    challenge = evaluation.OpenImagesInstanceSegmentationChallengeEvaluator(categories, matching_iou_threshold=0.6)
    for field in sorted({*truth["image_id"], *detections["image_id"]}):
        cells = _rows(truth[truth["image_id"] == field])
        boxes = rows._decode_raw_data_into_masks_and_boxes(cells["Mask"], cells["ImageWidth"], cells["ImageHeight"])[1]
        cells[["YMin", "XMin", "YMax", "XMax"]] = np.reshape(boxes, (-1, 4))
        cells["IsGroupOf"] = 0
        verified = pd.DataFrame({"LabelName": CLASS_NAMES if absent == "false_positive" else []}, dtype=object)
        verified["ConfidenceImageLabel"] = 1
        known = rows.build_groundtruth_dictionary(pd.concat([cells, verified], ignore_index=True), numbers)
        known = {name: np.array(values) for name, values in known.items()}  # it writes into them
        challenge.add_single_ground_truth_image_info(field, known)
        own = detections[detections["image_id"] == field]
        found = _rows(own).assign(Score=own["confidence"].to_numpy())
        challenge.add_single_detected_image_info(field, rows.build_predictions_dictionary(found, numbers))
    precision = challenge._evaluation.evaluate().average_precisions
    return [None if np.isnan(value) else float(value) for value in precision]


def _rows(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "LabelName": [CLASS_NAMES[label] for label in table["label"]],
            "ImageWidth": table["width"].to_numpy(),
            "ImageHeight": table["height"].to_numpy(),
            "Mask": [masks.counts_to_text(counts) for counts in table["counts"]],
        }
    )


def distances(case: tuple[list, list], absent: str, figures: list) -> tuple[float, float]:
    """How far this library's average precisions are from the evaluator's at most, and these outside its tie range."""
    scores = mean_average_precision(*tables(*case), absent)
    apart, outside = 0.0, 0.0
    for label, figure in enumerate(figures):
        own, ties = scores["average_precision"][str(label)], scores["tie_range"]["average_precision"][str(label)]
        if (own is None) != (figure is None):
            return np.inf, np.inf
        if own is not None:
            apart, outside = max(apart, abs(own - figure)), max(outside, ties[0] - figure, figure - ties[1])
    return apart, outside


def main(more: int) -> None:
    rng = np.random.default_rng(0)
    named = hand_made() | {f"random {number}": random_case(rng) for number in range(12)}
    named |= {f"random with ties {number}": random_case(rng, levels=4) for number in range(4)}
    cases = []
    for name, (truth, detections) in named.items():
        figures = {absent: evaluate(*tables(truth, detections), absent) for absent in ABSENT}
        cases.append({"name": name, "truth": truth, "detections": detections} | figures)
    TARGET.write_text("[\n" + ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases) + "\n]\n")
    print(f"{len(cases)} cases written to {TARGET.relative_to(TARGET.parents[2])}")
    for levels, which in ((0, 0), (4, 1)):
        worst = 0.0
        for number in range(more):
            case, absent = random_case(rng, levels), ABSENT[number % 2]
            worst = max(worst, distances(case, absent, evaluate(*tables(*case), absent))[which])
        words = ("with ties: largest distance from the tie range", "without ties: largest difference")[not levels]
        print(f"{more} more random cases {words} {worst:.1e}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--more", type=int, default=200, help="random cases to compare on and not to write")
    main(parser.parse_args().more)
