"""Submissions and truth, read a field at a time: into tables, or for `validate`, which goes on after a fault."""

import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from hpa_utils import masks
from hpa_utils.csv_files import Report, Unreadable, one_line, read_csv, read_rows, refuse
from hpa_utils.labels import N_CLASSES
from hpa_utils.scoring.findings import RULES
from hpa_utils.scoring.submission import COLUMNS

LONGEST_SIDE = 65_535  # px
LABELS = {str(label): label for label in range(N_CLASSES)}
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # no nan, inf or 1_000, which float() takes
TRUTH_COLUMNS = ("ID", "ImageWidth", "ImageHeight", "Label", "Mask")
REMEDIES = {rule: remedy for rule, (_, remedy) in RULES.items()}


def read_both(truth: str | Path, submission: str | Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """A truth file (`read_truth`) and a submission (`read_submission`) of the same fields.

    Raises ValueError if the submission predicts no field of the truth at its size; a UserWarning tells if only some.
    """
    cells, detections = read_truth(truth), read_submission(submission)
    fields = [table.drop_duplicates("image_id").iloc[:, :3].to_numpy().tolist() for table in (cells, detections)]
    sizes, here = ({image_id: size for image_id, *size in rows} for rows in fields)
    lacking = [image_id for image_id in sizes if here.get(image_id) != sizes[image_id]]
    if lacking:
        first, (height, width) = lacking[0], sizes[lacking[0]]
        what = f"{submission} has no prediction of their size for {len(lacking):,} of {len(sizes):,} fields of {truth}"
        what += f", such as {first!r} of {width} × {height} px (width × height)"
        if here and len(lacking) == len(sizes):
            raise ValueError(f"{what}; it begins with {next(iter(here))!r}: take the two of one split")
        warnings.warn(what, stacklevel=2)
    return cells, detections


def read_submission(path: str | Path) -> pd.DataFrame:
    """Read a submission into a row a detection, in the order of the file; an empty prediction is none.

    Columns: `image_id`, `height`, `width`, `label` (int), `confidence` (float), `counts` (bytes, COCO). Raises
    FileNotFoundError, or ValueError with the row that cannot be read, or repeats a field.
    """
    detections, rows_of = [], {}
    with one_line(path, REMEDIES):
        for row, (image_id, width, height, text) in read_rows(path, COLUMNS, refuse):
            if rows_of.setdefault(image_id, row) != row:
                raise Unreadable("repeated field", row, f"field {image_id!r} stands in row {rows_of[image_id]} already")
            size = read_size(width, height, row, refuse)
            detections += [(image_id, *size, *triple) for triple in read_prediction(text, size, row, refuse)]
    table = pd.DataFrame(detections, columns=["image_id", "height", "width", "label", "confidence", "counts"])
    return table.astype({"height": int, "width": int, "label": int, "confidence": float})


def read_truth(path: str | Path) -> pd.DataFrame:
    """Read a truth file into a row a (cell, label): `image_id`, `height`, `width`, `label`, `counts`.

    Raises FileNotFoundError, or ValueError with the row that cannot be read, repeats a cell's class, or has another
    size than an earlier row of its field.
    """
    cells, rows_of, sizes = [], {}, {}
    with one_line(path, REMEDIES):
        for row, image_id, width, height, label, mask in read_csv(path, TRUTH_COLUMNS).itertuples():
            size = read_size(width, height, row, refuse)
            if sizes.setdefault(image_id, size) != size:
                raise Unreadable("", row, f"field {image_id!r} has another size than in its first row")
            if len(label.split()) != 1 or len(mask.split()) != 1:
                raise Unreadable("", row, f"expected one class number and one mask, found {label!r} and {mask[:40]!r}")
            ((number, _, counts),) = read_prediction(f"{label} 1 {mask}", size, row, refuse)
            cell = (image_id, *size, number, counts)
            if rows_of.setdefault(cell, row) != row:
                raise Unreadable("", row, f"the same cell and class as in row {rows_of[cell]}; remove one of the two")
            cells.append(cell)
    return pd.DataFrame(cells, columns=["image_id", "height", "width", "label", "counts"])


def read_size(width: str, height: str, row: int, report: Report) -> tuple[int, int] | None:
    """(height, width) in px; None where they are no size, which is reported."""
    for name, text in (("ImageWidth", width), ("ImageHeight", height)):
        if not (re.fullmatch("[0-9]{1,5}", text) and 1 <= int(text) <= LONGEST_SIDE):
            report("size", row, f"{name} {text[:40]!r} is no whole number 1…{LONGEST_SIDE:,}")
            return None
    return int(height), int(width)


def read_prediction(text: str, size: tuple[int, int] | None, row: int, report: Report) -> Iterator[tuple]:
    """Yield the (label, confidence, COCO counts) of a prediction, None for what is none of these, which is reported.

    `size` is the field's (height, width), which every mask must have; without one no mask is read.
    """
    words = text.split()
    if len(words) % 3:
        report("number of words", row, f"{len(words)} words, no whole number of triples `label confidence mask`")
        return
    counts_of = {}
    for label, confidence, mask in zip(words[0::3], words[1::3], words[2::3], strict=True):
        if label not in LABELS:
            report("label", row, f"label {label[:40]!r} is no class number 0…{N_CLASSES - 1}")
        number = float(confidence) if NUMBER.fullmatch(confidence) else -1
        if not 0 <= number <= 1:
            report("confidence", row, f"confidence {confidence[:40]!r} is no number in [0, 1]")
            number = None
        if mask not in counts_of:  # a cell's mask comes once for each class
            counts_of[mask] = size and _read_mask(mask, size, row, report)
        yield LABELS.get(label), number, counts_of[mask]


def _read_mask(text: str, size: tuple[int, int], row: int, report: Report) -> bytes | None:
    rule = "damaged mask"
    try:
        counts = masks.text_to_counts(text)
        rule = "size of a mask"
        masks.check_counts(counts, *size)
        return counts
    except ValueError as error:
        report(rule, row, str(error))
        return None
