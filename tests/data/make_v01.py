"""Write what version 0.1 puts out on three small simulated fields: the fixtures of ``tests/test_v01.py``.

It needs a checkout of commit 514e0e5, version 0.1, and no other: the modules that it calls are gone since. From the
root of that checkout, with the environment of the project::

    PYTHONPATH=$PWD python WHERE_THE_PROJECT_IS/tests/data/make_v01.py

The fields themselves are stored, so that the fixtures do not depend on the simulator. Running it again writes the
same content.

=====================  ================================================================================================
``v01.npz``            `field_0` … `field_2`: uint8 (256, 256, 4), red, green, blue, yellow, 0.32 µm/px. `crops`: uint8
                       (3, 64, 64, 4). `normalised`: float32 (64, 64, 4), of the second crop by `percentiles`, float32
                       (4, 4). `logits`, `cell_scores`, `field_scores`, `confidences`: float32 (cells, 19), in the order
                       of the cell table. `labels`: int8 (60, 19), `groups`, `folds`, `folds_of_groups`: int (60,).
``v01.json``           rows of the field and cell table, crops' cells and scales, the metric's figures, digests of the
                       submission's rows, spindle scores, near-duplicates, values of the backbone's feature map
``v01_truth.csv``      made-up labels on the cells that the watershed found
``v01_submission.csv`` the same cells, some shifted, some missing, with confidences that often are equal
``v01_other.csv``      another submission, to be compared with
=====================  ================================================================================================
"""

# ruff: noqa: I001  (some of the modules of version 0.1 are gone, and then ruff takes them for another package's)
import base64
import csv
import hashlib
import json
import tempfile
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from hpa_utils import duplicates, images, masks, tables
from hpa_utils.crops import CropConfig, cut_cell
from hpa_utils.dataset import open_dataset
from hpa_utils.detections import empty_prediction
from hpa_utils.inference.blending import blend
from hpa_utils.model import CELL_COLUMNS, FIELD_COLUMNS, FieldNormalisation, build_backbone
from hpa_utils.scoring import score_report, score_submission, write_submission
from hpa_utils.segmentation import WatershedSegmenter, plan_segmentation, segment_part
from hpa_utils.simulate import write_dataset  # version 0.1 alone has it there
from hpa_utils.training.folds import assign_folds
from hpa_utils.training.mitosis import mitosis_score

HERE = Path(__file__).resolve().parent
CHOSEN = {"train": [1], "test": [0, 1]}  # places of the fields among those of the split
CLASSES = (0, 7, 11, 16, 18)  # that truth and submissions are made up of
NO_CELLS = "field-without-cells"
SIZE = 256  # px, side of a field


def sigmoid(logits: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits))


def segmented(root: Path, stage: Path) -> tuple[list[np.ndarray], pd.DataFrame, pd.DataFrame]:
    """The chosen fields, their rows of the field table and of the cell table, both in order of the fields."""
    dataset = open_dataset(root)
    for part in plan_segmentation(dataset, ["train", "test"], WatershedSegmenter(dataset.pixel_size_um), stage):
        segment_part(part)
    chosen = [(split, dataset.image_ids(split)[place]) for split, places in CHOSEN.items() for place in places]
    order = [image_id for _, image_id in chosen]
    fields = tables.read_parts(stage / "fields").set_index("image_id", drop=False).loc[order]
    cells = tables.read_parts(stage / "cells")
    cells = pd.concat([cells[cells["image_id"] == image_id] for image_id in order], ignore_index=True)
    return [images.read_field(dataset.folders[split], image_id) for split, image_id in chosen], fields, cells


def plain_rows(table: pd.DataFrame) -> list[dict]:
    """Rows of a table as JSON takes them."""
    table = table.drop(columns=[name for name in ("error", "error_files") if name in table])
    rows = table.to_dict("records")
    for row in rows:
        for name, value in row.items():
            row[name] = value.tolist() if isinstance(value, np.ndarray) else value
            row[name] = value.decode() if isinstance(value, bytes) else row[name]
    return rows


def enlarged_labels(field: np.ndarray) -> dict:
    """The watershed's labels of a field brought to 0.08 µm/px, where it works on a smaller copy."""
    field = cv2.resize(field, (4 * SIZE, 4 * SIZE), interpolation=cv2.INTER_LINEAR)
    nuclei, cells = WatershedSegmenter(0.08).segment(field)
    areas = [np.bincount(labels.ravel())[1:].tolist() for labels in (cells, nuclei)]
    return {"areas": areas[0], "nucleus_areas": areas[1], "sha256": hashlib.sha256(cells.tobytes()).hexdigest()}


def crops_of(fields: list[np.ndarray], cells: pd.DataFrame, rows: pd.DataFrame) -> tuple[np.ndarray, list[dict]]:
    """Crops of three cells, of one within its field, one at the border and the smallest, and their scales."""
    places = [cells["edge_fraction"].idxmin(), cells["edge_fraction"].idxmax(), cells["area"].idxmin()]
    crops, described = [], []
    for place in places:
        cell = cells.loc[place]
        number = list(rows["image_id"]).index(cell["image_id"])
        of_field = cells[cells["image_id"] == cell["image_id"]]
        labels = masks.paint_labels(list(of_field["rle"]), list(of_field["cell_id"]), SIZE, SIZE)
        box = tuple(int(cell[name]) for name in ("y0", "x0", "y1", "x1"))
        crop, scale = cut_cell(
            fields[number], labels, cell["cell_id"], box, np.float32(0.32).item(), CropConfig(size=64)
        )
        crops.append(crop)
        described.append({"field": number, "cell_id": int(cell["cell_id"]), "box": box, "scale": scale})
    return np.stack(crops), described


def shifted(mask: np.ndarray, rows: int) -> np.ndarray:
    """The mask so many rows further down; what leaves the field is lost."""
    return np.concatenate([np.zeros_like(mask[:rows]), mask[: len(mask) - rows]])


def write_csv(path: Path, rows: list[tuple]) -> None:
    with open(path, "w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def write_truth(path: Path, cells: pd.DataFrame, rng: np.random.Generator) -> list[list[int]]:
    """Write a truth of one or two labels a cell, of no more than three classes a field; returns them."""
    number, _ = pd.factorize(cells["image_id"])
    drawn = [sorted(rng.choice(CLASSES[i : i + 3], rng.integers(1, 3), replace=False).tolist()) for i in number]
    rows = [
        (cell.image_id, SIZE, SIZE, label, masks.counts_to_text(cell.rle))
        for cell, labels in zip(cells.itertuples(), drawn)
        for label in labels
    ]
    write_csv(path, [("ID", "ImageWidth", "ImageHeight", "Label", "Mask"), *rows])
    return drawn


def write_made_up(path: Path, cells: pd.DataFrame, truth: list[list[int]], rng, shifts: tuple, drop: float) -> None:
    """Write a submission that finds the true cells more or less, some of them twice, with ties.

    Every cell is predicted in all of the classes, those of which its field has no cell among them.
    """
    predicted = {image_id: [] for image_id in dict.fromkeys(cells["image_id"])}
    for cell, labels in zip(cells.itertuples(), truth):
        if rng.random() < drop:
            continue
        mask = masks.decode_counts(cell.rle, SIZE, SIZE)
        for shift in rng.choice(shifts, 2 if rng.random() < 0.15 else 1, replace=False):
            text = masks.encode_mask(shifted(mask, int(shift)))
            for label in CLASSES:
                confidence = round(0.3 * (label in labels) + 0.7 * rng.random(), 1)
                predicted[cell.image_id].append(f"{label} {confidence} {text}")
    rows = [(image_id, SIZE, SIZE, " ".join(words)) for image_id, words in predicted.items()]
    rows.append((NO_CELLS, SIZE, SIZE, empty_prediction(SIZE, SIZE)))
    write_csv(path, [("ID", "ImageWidth", "ImageHeight", "PredictionString"), *rows])


def metric(cells: pd.DataFrame, rng: np.random.Generator) -> dict:
    """Write the truth and the two submissions, and score them."""
    truth, submission, other = (HERE / f"v01_{name}.csv" for name in ("truth", "submission", "other"))
    labels = write_truth(truth, cells, rng)
    write_made_up(submission, cells, labels, rng, (0, 2, 5, 30), 0.15)
    write_made_up(other, cells, labels, rng, (0, 2), 0)
    return {
        "false_positive": score_submission(truth, submission),
        "ignored": score_submission(truth, submission, absent="ignored"),
        "report": score_report(truth, submission, rounds=200, against=other, diagnosis=True),
    }


def blended(cells: pd.DataFrame, rng: np.random.Generator) -> tuple[pd.DataFrame, dict]:
    """Made-up predictions, and the arrays that go into the fixture; a field's scores are made from its cells'."""
    logits = rng.normal(-2, 3, (len(cells), 19)).astype(np.float32)
    logits[0, 3], logits[1, 3] = -80, -90  # products below 1e-30 are squeezed
    by_field = pd.DataFrame(logits).groupby(cells["image_id"].to_numpy())
    pooled = by_field.transform("mean").to_numpy().copy()
    pooled[:, 18] = by_field.transform("min").to_numpy()[:, 18]
    own, of_field = (sigmoid(values.astype(np.float64)).astype(np.float32) for values in (logits, pooled))
    scores = pd.DataFrame(np.hstack([own, of_field]), columns=CELL_COLUMNS + FIELD_COLUMNS)
    predictions = pd.concat([cells[["image_id", "cell_id"]], scores], axis=1)
    arrays = {"logits": logits, "cell_scores": own, "field_scores": of_field, "confidences": blend(predictions)}
    return predictions, arrays


def row_digests(path: Path) -> dict:
    """SHA-256 of each row of a submission by ID, masks as COCO counts: zlib's bytes are not the same everywhere."""
    digests = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            words = row["PredictionString"].split(" ")
            words[2::3] = [zlib.decompress(base64.b64decode(text)).decode() for text in words[2::3]]
            line = ",".join([row["ID"], row["ImageWidth"], row["ImageHeight"], " ".join(words)])
            digests[row["ID"]] = hashlib.sha256(line.encode()).hexdigest()
    return digests


def folds(rng: np.random.Generator) -> dict:
    """Random labels and groups of 60 fields with the folds that they get, without and with the groups."""
    labels = (rng.random((60, 19)) < 0.15).astype(np.int8)
    groups = rng.integers(45, size=60)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few fields of the rare classes
        alone, grouped = assign_folds(labels, 5, 0), assign_folds(labels, 5, 0, groups)
    return {"labels": labels, "groups": groups, "folds": alone, "folds_of_groups": grouped}


def hashes(rng: np.random.Generator) -> list[str]:
    """Hashes of which some are near: 3, 6 and 7 bits from the first, its equal, an even plane, none, and others."""
    first = int(rng.integers(1 << 63))
    numbers = [first, first ^ 0b111, first ^ (0b111111 << 20), first ^ (0b1111111 << 40), first, 1 << 63]
    numbers += [int(number) for number in rng.integers(1 << 63, size=3)]
    return [f"{number:016x}" for number in numbers] + [""]


def feature_map() -> dict:
    """Values of Lite0's feature map, with ImageNet's weights, of a made input of 64 px."""
    backbone, _ = build_backbone("lite0", 64)
    inputs = (np.arange(64 * 64 * 4) * 37 % 256).reshape(1, 64, 64, 4).astype(np.float32)
    features = np.asarray(backbone(inputs))
    values = {"mean": float(features.mean()), "std": float(features.std())}
    return values | {"shape": list(features.shape), "first": features.ravel()[:20].tolist()}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = write_dataset(Path(folder) / "data", 6, 4, SIZE, seed=3)
        fields, rows, cells = segmented(root, Path(folder) / "stage")
        rng = np.random.default_rng(17)
        crops, described = crops_of(fields, cells, rows)
        percentiles = rows["percentiles"].iloc[described[1]["field"]].reshape(4, 4).copy()
        percentiles[:, 0] += (2, 1, 3, 4)  # the fields have a black background, which would leave a part untested
        figures = metric(cells, rng)
        predictions, blend_arrays = blended(cells, rng)
        places = pd.DataFrame({"ID": [NO_CELLS, *rows["image_id"][::-1]], "ImageWidth": SIZE, "ImageHeight": SIZE})
        write_submission(Path(folder) / "sub.csv", places, cells, predictions, blend_arrays["confidences"])
        written = row_digests(Path(folder) / "sub.csv")
    made_up_hashes = hashes(rng)
    content = {
        "fields": plain_rows(rows),
        "cells": plain_rows(cells),
        "enlarged": enlarged_labels(fields[1]),
        "crops": described,
        "metric": figures,
        "submission_rows": written,
        "mitosis_scores": mitosis_score(cells).tolist(),
        "hashes": made_up_hashes,
        "near_duplicates": duplicates.near_duplicates(made_up_hashes).tolist(),
        "feature_map": feature_map(),
    }
    arrays = {f"field_{number}": field for number, field in enumerate(fields)}
    normalised = np.asarray(FieldNormalisation()(crops[None, 1:2], percentiles[None]))[0, 0]
    arrays |= {"crops": crops, "percentiles": percentiles, "normalised": normalised}
    np.savez_compressed(HERE / "v01.npz", **arrays, **blend_arrays, **folds(rng))
    (HERE / "v01.json").write_text(json.dumps(content, indent=0, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
