"""Memory and processor time of 04's and 05's tables at the competition's size: `python benchmarks/kaggle_tables.py`.

Tables are made up: 21,806 fields, 472,558 cells with run lengths of 1 kB, scores of five models out of fold. Each part
is a process of its own that does what the notebook does with its tables, without images or a network. 05 is given all
train fields, twelve times the hidden test set, and writes the submission of 1,776 of them.
"""

import argparse
import csv
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hpa_utils import blending, inference, manifest, model_folders, scoring, tables, weak_labels
from hpa_utils.batches import CellBatches, rare_weights
from hpa_utils.crop_sets import open_crops
from hpa_utils.crops import INDEX, CropConfig, encode_crop
from hpa_utils.labels import N_CLASSES
from hpa_utils.paths import REPOSITORY, run_name, write_json

N_FIELDS, N_CELLS, RLE_BYTES, N_TEST, FOLDS = 21_806, 472_558, 1000, 1_776, 5
CROPS = {"name": "128", "config": {"size": 128, "um_per_px": 0.0, "margin_um": 0.8}}
CONFIG = {"format": manifest.FORMAT, "name": "b0", "training_round": 1, "n_folds": FOLDS, "crops": CROPS}
CONFIG |= {"segmenter": "hpacellseg"}


@contextmanager
def timed(what: str):
    """Print what the block took of a processor, and the process's largest memory until then."""
    start = time.process_time()
    yield
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"  {what}: {time.process_time() - start:.1f} s, at most {peak:.1f} GiB", flush=True)


def make_fields(rng) -> pd.DataFrame:
    with open(REPOSITORY / "hpa_simulator" / "label_sets.csv") as file:
        sets = [row["labels"].split("|") for row in csv.DictReader(file) for _ in range(int(row["images"]))]
    labels = np.zeros((N_FIELDS, N_CLASSES), np.int8)
    for row, names in enumerate(rng.permutation(np.array(sets, object))):
        labels[row, [int(name) for name in names]] = 1
    ids = [f"{number:08x}-bbad-11e8-b2ba-ac1f6b6435d0" for number in range(N_FIELDS)]
    count = np.bincount(rng.integers(N_FIELDS, size=N_CELLS - N_FIELDS), minlength=N_FIELDS) + 1
    made = {"image_id": ids, "split": "train", "height": 2048, "width": 2048, "pixel_size_um": 0.08, "n_cells": count}
    made |= {"labels": list(labels), "percentiles": list(rng.random((N_FIELDS, 16), np.float32))}
    made |= {"blue_hash": [rng.bytes(8).hex() for _ in ids], "error": "", "error_files": ""}
    return pd.DataFrame(made)


def make_cells(fields: pd.DataFrame, rng) -> pd.DataFrame:
    repeated = fields.loc[fields.index.repeat(fields["n_cells"]), ["image_id", "split"]].reset_index(drop=True)
    numbers = pd.DataFrame(rng.integers(1, 2000, (len(repeated), 10)), columns=tables.CELLS.names[3:13])
    shares = pd.DataFrame(rng.random((len(repeated), 3)), columns=tables.CELLS.names[13:16])
    cell_id = repeated.groupby("image_id").cumcount() + 1
    rle = [rng.integers(48, 112, RLE_BYTES, np.uint8).tobytes() for _ in range(len(repeated))]
    return pd.concat([repeated, numbers, shares], axis=1).assign(cell_id=cell_id, rle=rle)[tables.CELLS.names]


def make_root(out: Path) -> None:
    """Tables, a crop set of one picture, and the models of a first round."""
    rng = np.random.default_rng(0)
    fields = make_fields(rng)
    cells, crop = make_cells(fields, rng), encode_crop(np.zeros((128, 128, 4), np.uint8))
    of_field = dict(list(cells.groupby("image_id")))
    for number, ids in enumerate(tables.plan_parts(sorted(fields["image_id"]))):
        own, name = pd.concat([of_field[image_id] for image_id in ids]), f"part-train-{number:04d}.parquet"
        for stage, table, schema in (
            ("fields", fields[fields["image_id"].isin(ids)], tables.FIELDS),
            ("cells", own, tables.CELLS),
        ):
            made = pa.Table.from_pandas(table, schema, preserve_index=False)
            tables.write_table(out / "02_segmentation" / stage / name, made, {"key": str(number)})
        columns = [own["image_id"], own["cell_id"], np.zeros(len(own)), np.full(len(own), len(crop)), np.ones(len(own))]
        index = pa.table([pa.array(column, kind) for column, kind in zip(columns, INDEX.types)], schema=INDEX)
        told = {"key": str(number), "size": "128", "cells_fingerprint": tables.cells_fingerprint(own)}
        path = out / "03_cell_crops" / "128" / name
        tables.write_table(path, index, told)
        path.with_suffix(".crops").write_bytes(crop)
    manifest.finish(out / "02_segmentation", {"segmenter": "hpacellseg"}, {})
    manifest.finish(out / "03_cell_crops" / "128", {"crops": CROPS}, {})
    fingerprint, fold_of = tables.cells_fingerprint(cells), pd.factorize(cells["image_id"])[0] % FOLDS
    for fold in range(FOLDS):
        held = cells.loc[fold_of == fold, ["image_id", "cell_id"]].astype({"cell_id": np.int64})
        scores = rng.random((len(held), N_CLASSES), np.float32)
        folder = out / "04_train" / run_name("b0", 1, fold)
        tables.write_keyed(folder / "oof.parquet", held.assign(**dict(zip(tables.CELL_COLUMNS, scores.T))), fingerprint)
        write_json(folder / "config.json", CONFIG | {"fold": fold})
        manifest.finish(folder, {}, {})


def train(out: Path) -> None:
    """What 04 does with its tables, in the second round."""
    with timed("crop set and tables opened, and checked"):
        crops, fields, cells = open_crops(out, "128", "train")
    with timed("folds"):
        percentiles, labels = tables.percentile_array(fields), tables.label_matrix(fields)
        fold_of = weak_labels.split_fields(fields, FOLDS, 0, "")
    with timed("scores out of fold read, and soft labels"):
        inherited = labels[crops.field].astype(np.float32)
        scores = model_folders.out_of_fold(out, "b0", 1, FOLDS, crops, cells)
        own = inference.logit(scores)
        evidence = own + 0.5 * inference.field_mean(own, crops.field)
        targets = weak_labels.soft_labels(inherited, evidence, blending.GRADED.share)
    with timed("grades of no cell, spindle candidates"):
        weak_labels.graded_cells(out, cells, fields)
        found = [crops.find(table) for table in weak_labels.spindle_cells(cells, fields)]
        targets = weak_labels.mark_spindles(targets, inherited, *found)
    with timed("a batch of 256 drawn"):
        learned = np.flatnonzero(fold_of != 0)
        weights = rare_weights(labels[learned], 4)
        CellBatches(crops, percentiles, targets, learned, 256, 320, 0, weights, found[0]).draw(0)
    with timed("scores of a fold written"):
        rows = np.flatnonzero(np.isin(crops.field, np.flatnonzero(fold_of == 0)))
        table = crops.keys().iloc[rows].assign(**dict(zip(tables.CELL_COLUMNS, scores[rows].T)))
        tables.write_keyed(out / "oof.parquet", table, tables.cells_fingerprint(cells))


def predict(out: Path) -> None:
    """What 05 does with its tables."""
    with timed("tables read"):
        fields = tables.read_parts(out / "02_segmentation" / "fields", split="train")
        cells = tables.read_parts(out / "02_segmentation" / "cells", split="train")
        field = pd.Index(fields["image_id"]).get_indexer(cells["image_id"])
    with timed("crop set opened part by part, and checked"):
        parts = inference.open_parts(out, {"name": "b0", "crops": CROPS}, "train", fields, cells)
    with timed("confidences blended"):
        own = np.random.default_rng(0).random((len(cells), N_CLASSES))
        for part in parts:
            own[part.rows] += 0.0
        geometry = cells["area"].to_numpy(float), field, cells["edge_fraction"].to_numpy(float)
        shown = blending.shown_part(*geometry)
        of_field = inference.sigmoid(inference.field_mean(inference.logit(own), field))
        odds = shown * blending.company_odds(of_field)
        confidences = own * of_field
        confidences[:, :18] = blending.change_odds(confidences[:, :18], odds)
        confidences[:, 11] = own[:, 11] * inference.field_max(own, field)[:, 11]
        confidences[:, 18] = own[:, 18] * blending.nothing_shown(of_field, shown)
        confidences = inference.as_confidences(confidences)
    with timed(f"submission of {N_TEST:,} fields written"):
        some = field < N_TEST
        rows = scoring.submission_rows(fields.iloc[:N_TEST], None)
        scoring.write_submission(out / "submission.csv", rows, cells, cells[some], confidences[some])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=("train", "predict"), help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        (train if options.part == "train" else predict)(options.out)
        return
    assert CropConfig(**CROPS["config"]).size == 128
    print(f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        make_root(Path(temporary))
        for part, title in (("train", "04, second round"), ("predict", "05, all train fields")):
            print(title, flush=True)
            subprocess.run([sys.executable, __file__, "--part", part, "--out", temporary], check=True)


if __name__ == "__main__":
    main()
