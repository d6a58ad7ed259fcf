"""Memory and speed of inference: bags → networks → rows of the submission, N and 4 N fields.

    python benchmarks/inference.py [N]

Each size runs in a process of its own, on bags of simulated cells many times over under other names, with a network
that has not learned. Peak memory (resident set) is read before the first part and after the submission is written;
what is left of a file mapped into memory counts. Then one batch of cells by Keras' `predict_on_batch`, by a
tf.function, and by one compiled with XLA.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import pyarrow as pa  # noqa: E402

SIZE, FIELD, CELLS, FIELDS_A_PART, BATCH = 64, 2048, 20, 50, 64


def write_tables(root, n_fields):
    """Bags and cell table of so many fields of 20 cells."""
    from loading import field_crops

    from hpa_utils import masks, tables
    from hpa_utils.crops import encode_crop
    from hpa_utils.crops.bags import BAGS

    pngs = [encode_crop(crop) for crops in field_crops("no real fields", SIZE) for crop in crops]
    rng = np.random.default_rng(0)
    yy, xx = np.mgrid[-100:100, -80:80]
    round_cell = (yy / 100) ** 2 + (xx / 80) ** 2 < 1
    for first in range(0, n_fields, FIELDS_A_PART):
        name, rows = f"part-test-{first // FIELDS_A_PART:04d}.parquet", []
        ids = [f"field-{number:06d}" for number in range(first, min(first + FIELDS_A_PART, n_fields))]
        for image_id in ids:
            places = rng.integers(0, FIELD - 200, (CELLS, 2))
            for cell, (y, x) in enumerate(places, start=1):
                rle = masks.box_counts(round_cell, y, x, FIELD, FIELD)
                known = {"image_id": image_id, "split": "test", "cell_id": cell, "area": 25000, "rle": rle}
                rows.append({**dict.fromkeys(tables.CELLS.names, 0), **known})
        tables.write_part(root / "02" / "cells" / name, rows, tables.CELLS, "benchmark")
        with tables.part_writer(root / "03" / "bags" / name, BAGS, "benchmark", plain=("crops",)) as writer:
            for image_id in ids:
                bag = {"image_id": image_id, "split": "test", "labels": [-1] * 19, "percentiles": [0.0, 5, 90, 200] * 4}
                bag |= {"cell_ids": list(range(1, CELLS + 1)), "scales": [0.3] * CELLS}
                bag |= {"crops": [pngs[number] for number in rng.integers(0, len(pngs), CELLS)]}
                writer.write_table(pa.Table.from_pylist([bag | {"edge_fractions": [0.0] * CELLS}], schema=BAGS))
            writer.add_key_value_metadata({"cells_fingerprint": tables.cells_fingerprint(pd.DataFrame(rows))})


def predict(root, n_fields):
    """One run, measured; prints a line of JSON."""
    from hpa_utils.inference import (
        BlendConfig,
        Calibration,
        PredictionConfig,
        join_predictions,
        join_rows,
        plan_predictions,
        predict_parts,
    )
    from hpa_utils.inference.models import Ensemble
    from hpa_utils.model import build_backbone, build_bag_model, cell_model
    from hpa_utils.model.prediction import predict_batch, prepare_batch

    model = build_bag_model(build_backbone("lite0", SIZE, "none")[0], SIZE)
    ensemble = Ensemble((), (model,), ("none",), {"size": SIZE}, "none", Calibration())
    ids = [f"field-{number:06d}" for number in range(n_fields)]
    rows = pd.DataFrame({"ID": ids, "ImageWidth": FIELD, "ImageHeight": FIELD})
    blank = {"cells": np.zeros((BATCH, SIZE, SIZE, 4), np.uint8), "percentiles": np.zeros((BATCH, 4, 4), np.float32)}
    for _ in range(3):
        predict_batch([cell_model(model)], prepare_batch(blank), BATCH)
    before, start = peak_mb(), time.monotonic()
    config, stage = PredictionConfig(batch=BATCH), root / "05"
    parts = plan_predictions([root / "03"], [root / "02"], "test", rows, stage, ensemble, config)
    outcome = predict_parts(parts, stage, ensemble, config, BlendConfig())
    join_rows(parts, rows, stage / "submission.csv")
    join_predictions(parts, [root / "02"], "test", stage / "predictions.parquet")
    seconds = time.monotonic() - start
    found = {"before": before, "peak": peak_mb(), "fields/s": n_fields / seconds, "cells/s": CELLS * n_fields / seconds}
    found["busy"] = outcome.network_seconds / outcome.seconds
    print(json.dumps(found | {"CSV MB": (stage / "submission.csv").stat().st_size / 1e6}))


def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare_calls():
    """Cells a second of one network called in three ways."""
    import tensorflow as tf

    from hpa_utils.model import build_backbone, build_bag_model, cell_model

    net = cell_model(build_bag_model(build_backbone("lite0", SIZE, "none")[0], SIZE))
    inputs = {"cells": np.random.default_rng(0).integers(0, 256, (BATCH, 1, SIZE, SIZE, 4)).astype(np.uint8)}
    inputs |= {"percentiles": np.tile(np.float32([0, 5, 90, 200]), (BATCH, 4, 1)), "valid": np.ones((BATCH, 1), "f4")}
    plain, compiled = (tf.function(net, jit_compile=jit) for jit in (None, True))
    ways = {"predict_on_batch": net.predict_on_batch, "tf.function": plain, "XLA": compiled}
    for name, way in ways.items():
        taken = []
        for _ in range(8):
            start = time.perf_counter()
            np.asarray(way(inputs)["cells"])
            taken.append(time.perf_counter() - start)
        print(f"{name:18}{BATCH / np.median(taken[1:]):8.0f} cells/s, the first call {taken[0]:.1f} s")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("fields", type=int, nargs="?", default=200)
    parser.add_argument("--root", type=Path)
    options = parser.parse_args()
    if options.root:
        return predict(options.root, options.fields)
    print(
        f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, lite0, crops of {SIZE} px, {CELLS} cells a field"
    )
    for n_fields in (options.fields, 4 * options.fields):
        with tempfile.TemporaryDirectory() as folder:
            write_tables(Path(folder), n_fields)
            command = [sys.executable, __file__, str(n_fields), "--root", folder]
            line = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
        print(f"{n_fields} fields:", {name: round(value, 2) for name, value in json.loads(line).items()}, flush=True)
    compare_calls()


if __name__ == "__main__":
    main()
