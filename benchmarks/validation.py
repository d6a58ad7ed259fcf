"""What `validate` costs at the size of the whole test set: `python benchmarks/validation.py [fields]`.

1,776 fields of 2048² px, 22 round cells of about 450 px in each with a wavy outline, 19 classes: 742,368 triples. The
outlines of 20 fields come again and again, the confidences do not. Once as it should be, and once with every mask of
another size and every label above 18. Time is of this process, memory the peak of a process that does nothing
else, less what it has after the imports.
"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

from hpa_utils import masks
from hpa_utils.labels import N_CLASSES

FIELDS, CELLS, SIDE = 1776, 22, 2048
OUTLINES = 20  # fields with outlines of their own
MEASURED = """
import json, resource, sys, time
from hpa_utils.scoring import validate_submission
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before, wall, cpu = peak(), time.perf_counter(), time.process_time()
findings = validate_submission(*sys.argv[1:])
took = time.perf_counter() - wall, time.process_time() - cpu
print(json.dumps([len(findings), *took, peak() - before, before]))
"""


def field_masks(rng):
    """The mask texts of one field's cells, which stand on a grid and do not touch."""
    step = SIDE // 5
    angles = np.linspace(0, 2 * np.pi, 200, endpoint=False)
    texts = []
    for place in rng.permutation(25)[:CELLS]:
        waves = sum(rng.normal(0, 5) * np.cos(order * angles + rng.uniform(0, 7)) for order in range(2, 9))
        radius = np.clip(step * 0.45 + waves, 50, step * 0.49)
        points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None] + step / 2
        mask = cv2.fillPoly(np.zeros((step, step), np.uint8), [points.astype(np.int32)], 1)
        counts = masks.box_counts(mask.astype(bool), *(np.array(divmod(place, 5)) * step), SIDE, SIDE)
        texts.append(masks.counts_to_text(counts))
    return texts


def write(path, fields, side=SIDE, shift=0):
    """Write a submission; another `side` than the masks' or a `shift` of the labels breaks every triple."""
    rng = np.random.default_rng(0)
    outlines = [field_masks(rng) for _ in range(OUTLINES)]
    with open(path, "w") as file:
        file.write("ID,ImageWidth,ImageHeight,PredictionString\n")
        for field in range(fields):
            confidences = rng.random((CELLS, N_CLASSES), np.float32)
            words = [
                f"{label + shift} {value:.9g} {text}"
                for text, row in zip(outlines[field % OUTLINES], confidences, strict=True)
                for label, value in enumerate(row)
            ]
            file.write(f"field-{field:04d},{side},{side},{' '.join(words)}\n")


def main():
    fields = int(sys.argv[1]) if len(sys.argv) > 1 else FIELDS
    print(f"{platform.processor() or platform.machine()}, Python {platform.python_version()}, one process")
    print("| submission | MB | findings | seconds | CPU seconds | MB of memory | after the imports |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        path, sample = Path(folder) / "submission.csv", Path(folder) / "sample_submission.csv"
        rows = [f"field-{field:04d},{SIDE},{SIDE}," for field in range(fields)]
        sample.write_text("\n".join(["ID,ImageWidth,ImageHeight,PredictionString", *rows, ""]))
        for name, options in (("good", {}), ("broken", {"side": SIDE - 1, "shift": N_CLASSES})):
            write(path, fields, **options)
            command = [sys.executable, "-c", MEASURED, str(path), str(sample)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found, wall, cpu, peak, before = json.loads(output)
            size = path.stat().st_size / 1e6
            print(f"| {name} | {size:.0f} | {found} | {wall:.1f} | {cpu:.1f} | {peak:.0f} | {before:.0f} |", flush=True)


if __name__ == "__main__":
    main()
