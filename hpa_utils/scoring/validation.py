"""Checks a submission, row by row, for all that Kaggle refuses and all that silently costs score."""

from array import array
from pathlib import Path

import numpy as np
from pycocotools import mask as coco

from hpa_utils.csv_files import Unreadable, read_rows
from hpa_utils.dataset import read_sample
from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.scoring.findings import Finding, Findings
from hpa_utils.scoring.submission import COLUMNS, NO_CELLS_CONFIDENCE, SUBMISSION, read_prediction, read_size

KAGGLE_BYTES = 20_000_000_000  # what /kaggle/working keeps
BLOCK = 100  # masks compared with all others at a time
OVERLAP = 2 / 3  # IoU of two masks above which no two disjoint cells can both be hit: docs/scoring.md says why
TIES, FEW_TIES = 0.05, 0.01  # shares of a class's confidences that are not alone
JUDGED = 10  # detections of a class from which on equal confidences mean something
UNFINISHED, UNFINISHED_SHARE = 5, 0.05  # fields without cells


def validate_submission(path: str | Path, sample: str | Path = "") -> list[Finding]:
    """Find what Kaggle would refuse, or what would silently cost score; ``docs/scoring.md`` has all rules.

    IDs, sizes and order are compared with ``sample_submission.csv``, if it is given as `sample`. Findings are errors,
    then warnings, then notes; of each rule the first few, and a count of the others; none if all is well. The file is
    read row by row, so memory is that of one row and of 8 bytes a confidence. Raises FileNotFoundError if a file is
    missing, ValueError if the sample is malformed.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    expected = {}
    if sample:
        table = read_sample(sample)
        expected = dict(zip(table["ID"], zip(table["ImageHeight"], table["ImageWidth"])))
    findings, rows_of = Findings(), {}
    confidences, unfinished = [array("d") for _ in range(N_CLASSES)], 0
    if path.name != SUBMISSION:
        findings.add("file name", 0, f"the file is called {path.name!r}, Kaggle looks for {SUBMISSION}")
    if path.stat().st_size > KAGGLE_BYTES:
        what = f"{path.stat().st_size / 1e9:.1f} GB; Kaggle keeps {KAGGLE_BYTES / 1e9:.0f} GB of output"
        findings.add("file size", 0, what)
    try:
        for row, (*field, text) in read_rows(path, COLUMNS, findings.add):
            size = _check_field(findings, row, field, rows_of, expected)
            unfinished += text.startswith(f"{NEGATIVE} {NO_CELLS_CONFIDENCE} ") and text.count(" ") == 2
            _check_prediction(findings, row, text, size, confidences)
        _check_fields(findings, rows_of, expected)
    except Unreadable as stop:
        findings.add(*stop.args)
    _check_confidences(findings, confidences)
    if unfinished >= max(UNFINISHED, UNFINISHED_SHARE * len(rows_of)):
        what = f"{unfinished:,} of {len(rows_of):,} fields have no cells, only their whole area as Negative"
        findings.add("unfinished", 0, what)
    return findings.listed()


def _check_field(findings: Findings, row: int, field: list[str], rows_of: dict, expected: dict) -> tuple | None:
    """Check a field's ID, width and height; returns (height, width), None where they are no size."""
    image_id, width, height = field
    if not image_id.strip() or image_id != image_id.strip() or any(sign in image_id for sign in "/\\\0\r\n"):
        findings.add("ID", row, f"ID {image_id[:40]!r} is empty, or has spaces or separators")
    elif image_id in rows_of:
        findings.add("repeated field", row, f"field {image_id[:40]!r} stands in row {rows_of[image_id]} already")
    elif expected and image_id not in expected:
        findings.add("unknown field", row, f"field {image_id[:40]!r} is not in the sample")
    rows_of.setdefault(image_id, row)
    size, given = read_size(width, height, row, findings.add), expected.get(image_id)
    if size and given and size != given:
        told = f"{size[1]} × {size[0]}, the sample has {given[1]} × {given[0]} (width × height)"
        if size == given[::-1]:
            findings.add("size swapped", row, f"width and height are swapped: {told}")
        else:
            findings.add("size of the sample", row, f"size {told}")
    return size


def _check_fields(findings: Findings, rows_of: dict, expected: dict) -> None:
    for image_id in expected:
        if image_id not in rows_of:
            findings.add("missing field", 0, f"field {image_id} is missing")
    wanted = [image_id for image_id in expected if image_id in rows_of]
    found = [image_id for image_id in rows_of if image_id in expected]
    if found != wanted:
        image_id, other = next(pair for pair in zip(found, wanted) if pair[0] != pair[1])
        what = f"the rows are not in the sample's order: {image_id} stands where {other} is expected"
        findings.add("row order", rows_of[image_id], what)


def _check_prediction(findings: Findings, row: int, text: str, size: tuple | None, confidences: list[array]) -> None:
    """Check one prediction, and append its confidences to those of their classes."""
    if not text.strip():
        findings.add("empty prediction", row, "the prediction is empty")
        return
    if text != " ".join(text.split()):
        if any(sign.isspace() and sign != " " for sign in set(text)):
            findings.add("separators", row, "line breaks, tabs or the like in the prediction")
        else:
            findings.add("spaces", row, "spaces at an end, or several in a row")
    numbers, pairs = {}, set()  # of each mask: 1 for the row's first that can be read; texts may differ in zlib alone
    for label, confidence, counts in read_prediction(text, size, row, findings.add):
        if label is not None and confidence is not None:
            confidences[label].append(confidence)
        pair = (counts and numbers.setdefault(counts, len(numbers) + 1), label)
        if None not in pair and pair in pairs:
            findings.add("same mask and class", row, f"class '{label}' twice for mask {pair[0]} of the row")
        pairs.add(pair)
    if numbers:
        _check_cells(findings, row, list(numbers), size)


def _check_cells(findings: Findings, row: int, masks: list[bytes], size: tuple[int, int]) -> None:
    """Find empty and overlapping masks of a field, given by their counts and told by their numbers, from 1 on."""
    rles = [{"size": list(size), "counts": counts} for counts in masks]
    areas = coco.area(rles).astype(float)
    for place in np.flatnonzero(areas == 0):
        findings.add("empty mask", row, f"mask {place + 1} of the row has no pixel")
    slight, most = 0, 0.0
    for start in range(0, len(rles), BLOCK):
        iou = np.triu(coco.iou(rles[start : start + BLOCK], rles[start:], [0] * (len(rles) - start)), k=1)
        for first, second in np.argwhere(iou > 0):
            pair, own = [start + first, start + second], iou[first, second]
            if own > OVERLAP:
                names = " and ".join(str(place + 1) for place in pair)
                findings.add("overlap", row, f"masks {names} of the row overlap by IoU {own:.2f}, above {OVERLAP:.2f}")
            else:
                shared = own / (1 + own) * areas[pair].sum()
                slight, most = slight + 1, max(most, shared / areas[pair].min())
    if slight:
        findings.add("slight overlap", row, f"{slight:,} pairs of masks overlap, at most by {most:.1%} of the smaller")


def _check_confidences(findings: Findings, confidences: list[array]) -> None:
    every = np.concatenate(confidences)
    if not every.size:
        return
    never = [str(label) for label, values in enumerate(confidences) if not values]
    if never:
        findings.add("class never predicted", 0, f"{len(never)} classes are never predicted: {', '.join(never)}")
    if every.size > 1 and every.min() == every.max():
        findings.add("equal confidences", 0, f"all {every.size:,} confidences of the file are {every[0]:g}")
        return
    for label, values in enumerate(confidences):
        values = np.array(values)
        if label == NEGATIVE:
            values = values[values != float(NO_CELLS_CONFIDENCE)]  # fields without cells
        repeats = np.unique(values, return_counts=True)[1]
        tied = int(repeats[repeats > 1].sum())
        if len(values) < JUDGED or tied < FEW_TIES * len(values):
            continue
        if len(repeats) == 1:
            findings.add("equal confidences", 0, f"all {tied:,} confidences of class {label} are {values[0]:g}")
        else:
            what = f"{tied / len(values):.0%} of the {len(values):,} confidences of class {label} are not alone"
            findings.add("ties" if tied >= TIES * len(values) else "few ties", 0, what)
