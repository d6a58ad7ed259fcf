"""The submission, a row a field with `label confidence mask` for each cell and class: written, and read as truth is."""

import csv
import re
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import masks
from hpa_utils.csv_files import Report, Unreadable, one_line, read_csv, read_rows, refuse
from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.paths import atomic_write, kaggle_folder
from hpa_utils.scoring.findings import RULES

SUBMISSION = "submission.csv"  # the name Kaggle looks for
COLUMNS = ("ID", "ImageWidth", "ImageHeight", "PredictionString")
NO_CELLS_CONFIDENCE = "0.00001"
LONGEST_SIDE = 65_535  # px
LABELS = {str(label): label for label in range(N_CLASSES)}
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # no nan, inf or 1_000, which float() takes
TRUTH_COLUMNS = ("ID", "ImageWidth", "ImageHeight", "Label", "Mask")
REMEDIES = {rule: remedy for rule, (_, remedy) in RULES.items()}


def write_submission(
    path: str | Path,
    rows: pd.DataFrame,
    cells: pd.DataFrame | None = None,
    predictions: pd.DataFrame | None = None,
    confidences: np.ndarray | None = None,
) -> None:
    """Write a submission, a field at a time and in one rename; a field without predictions gets `empty_prediction`.

    `rows` are the `ID`, `ImageWidth`, `ImageHeight` of every field it must have, in order (`submission_rows`).
    Predictions of other fields are left out. Alone they make the placeholder, a valid submission before any prediction.
    `predictions` name the `image_id` and `cell_id`, of the cell table `cells`, of each row of the confidences, float32
    (n, 19) in [0, 1]; these are written with all their digits, since rounding makes ties. Raises ValueError if a
    confidence is no number in [0, 1], or a predicted cell is not in the cell table.
    """
    places_of = {}
    if predictions is not None and len(predictions):
        if not ((confidences >= 0) & (confidences <= 1)).all():  # False for NaN, too
            raise ValueError("confidences are not all numbers in [0, 1]; see why the prediction or the blend left it")
        places_of = predictions.reset_index(drop=True).groupby("image_id", sort=False).indices
        counts = _counts_of(predictions, cells)
    with atomic_write(path) as temporary, open(temporary, "w", newline="", encoding="utf-8") as file:
        file.write(",".join(COLUMNS) + "\n")
        writer = csv.writer(file, lineterminator=",")  # a prediction never needs quotes, and looking for them is slow
        for image_id, width, height in rows[list(COLUMNS[:3])].itertuples(index=False):
            places = places_of.get(image_id, [])
            text = _prediction(counts[places], confidences[places]) if len(places) else empty_prediction(width, height)
            writer.writerow((image_id, width, height))
            file.write(text + "\n")


def empty_prediction(width: int, height: int) -> str:
    """What a field without cells gets: the whole field as Negative, at almost no confidence."""
    whole = masks.run_counts(np.array([0]), np.array([height * width]), height, width)
    return f"{NEGATIVE} {NO_CELLS_CONFIDENCE} {masks.counts_to_text(whole)}"


def submission_rows(fields: pd.DataFrame, sample: pd.DataFrame | None) -> pd.DataFrame:
    """`ID`, `ImageWidth`, `ImageHeight` of the fields a submission must have: the sample's, else all of `fields`.

    Sizes are the fields' own where they were read, since the masks have that size; a field set aside has the
    sample's, or without one 1 × 1.
    """
    own = fields.set_index("image_id")[["width", "height"]].set_axis(["ImageWidth", "ImageHeight"], axis=1)
    if sample is None:
        return own.clip(lower=1).rename_axis("ID").reset_index()
    given = sample.set_index("ID")[["ImageWidth", "ImageHeight"]]
    read = own[own["ImageHeight"] > 0].reindex(given.index)
    return read.fillna(given).astype(int).reset_index()


def publish_submission(source: str | Path, target: str | Path = "") -> None:
    """Copy a submission to `target`, else where Kaggle looks for it, in one rename: a whole one at any time."""
    with atomic_write(target or kaggle_folder("working") / SUBMISSION) as temporary:
        shutil.copyfile(source, temporary)


def _counts_of(predictions: pd.DataFrame, cells: pd.DataFrame) -> np.ndarray:
    """COCO counts of the predicted cells, in their order."""
    found = predictions[["image_id", "cell_id"]].merge(cells[["image_id", "cell_id", "rle"]], "left")
    for image_id, cell_id, _ in found[found["rle"].isna()].itertuples(index=False):
        raise ValueError(f"predicted cell {cell_id} of {image_id} is not in the cell table: they are of different runs")
    return found["rle"].to_numpy()


def _prediction(counts: np.ndarray, confidences: np.ndarray) -> str:
    """The prediction of a field: each cell's mask once for each class."""
    triples = []
    for own_counts, values in zip(counts, confidences.tolist(), strict=True):
        text = masks.counts_to_text(own_counts)
        triples += [f"{label} {value:.9g} {text}" for label, value in enumerate(values)]
    return " ".join(triples)


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
