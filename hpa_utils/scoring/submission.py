"""The submission: a row a field, `label confidence mask` for each cell and class; written, read, checked."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import masks
from hpa_utils.dataset import check_ids, read_csv
from hpa_utils.labels import N_CLASSES, NEGATIVE
from hpa_utils.paths import replacing

COLUMNS = ("ID", "ImageWidth", "ImageHeight", "PredictionString")
NO_CELLS_CONFIDENCE = "0.00001"
KAGGLE_SUBMISSION = "/kaggle/working/submission.csv"


def write_submission(
    path: str | Path, rows: pd.DataFrame, cells: pd.DataFrame, predictions: pd.DataFrame, confidences: np.ndarray
) -> None:
    """Write a submission in one rename.

    Parameters
    ----------
    rows : pandas.DataFrame
        `ID`, `ImageWidth`, `ImageHeight` of every field it must have, in order.
    cells : pandas.DataFrame
        Cell table: `image_id`, `cell_id`, `rle`.
    predictions : pandas.DataFrame
        `image_id` and `cell_id` of each row of `confidences`.
    confidences : numpy.ndarray
        float32 (n, 19) in [0, 1]; written with all their digits, since rounding makes ties.

    Raises
    ------
    ValueError
        If a confidence is no number in [0, 1], or a predicted cell is not in the cell table.
    """
    if not ((confidences >= 0) & (confidences <= 1)).all():  # False for NaN, too
        raise ValueError("confidences are not all numbers in [0, 1]")
    counts = {(image_id, cell): rle for image_id, cell, rle in cells[["image_id", "cell_id", "rle"]].itertuples(False)}
    cells_of = predictions.reset_index(drop=True).groupby("image_id", sort=False).indices
    cell_ids = predictions["cell_id"].to_numpy()
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for image_id, width, height in rows[["ID", "ImageWidth", "ImageHeight"]].itertuples(index=False):
            triples = []
            for place in cells_of.get(image_id, ()):
                if (image_id, cell_ids[place]) not in counts:
                    raise ValueError(f"predicted cell {cell_ids[place]} of {image_id} is not in the cell table")
                text = masks.counts_to_text(counts[image_id, cell_ids[place]])
                triples += [f"{label} {value:.9g} {text}" for label, value in enumerate(confidences[place])]
            prediction = " ".join(triples) or empty_prediction(width, height)
            writer.writerow((image_id, width, height, prediction))


def empty_prediction(width: int, height: int) -> str:
    """What a field without cells gets: the whole field as Negative, at almost no confidence."""
    whole = masks.box_counts(np.ones((height, width), bool), 0, 0, height, width)
    return f"{NEGATIVE} {NO_CELLS_CONFIDENCE} {masks.counts_to_text(whole)}"


def submission_rows(fields: pd.DataFrame, sample: pd.DataFrame | None) -> pd.DataFrame:
    """`ID`, `ImageWidth`, `ImageHeight` of the fields a submission must have: the sample's, else all of `fields`.

    Sizes are the fields' own where they were read, since the masks have that size; a field set aside has the
    sample's, or without one 1 × 1.
    """
    own = fields.set_index("image_id")[["width", "height"]]
    if sample is None:
        sizes = own.clip(lower=1)
        return sizes.reset_index().set_axis(["ID", "ImageWidth", "ImageHeight"], axis=1)
    rows = sample[["ID", "ImageWidth", "ImageHeight"]].copy()
    read = own[own["height"] > 0].reindex(rows["ID"])
    rows["ImageWidth"] = read["width"].fillna(pd.Series(rows["ImageWidth"].values, read.index)).astype(int).values
    rows["ImageHeight"] = read["height"].fillna(pd.Series(rows["ImageHeight"].values, read.index)).astype(int).values
    return rows


def publish_submission(source: str | Path, target: str | Path = KAGGLE_SUBMISSION) -> None:
    """Copy a submission to where Kaggle looks for it, in one rename, so that there is a whole one at any moment."""
    with replacing(target) as temporary:
        shutil.copyfile(source, temporary)


def read_submission(path: str | Path) -> pd.DataFrame:
    """Read a submission into a row a detection, in the order of the file.

    Returns
    -------
    pandas.DataFrame
        `image_id`, `height`, `width`, `label` (int), `confidence` (float), `counts` (bytes, COCO).

    Raises
    ------
    FileNotFoundError
    ValueError
        Naming the row that cannot be read. An empty prediction is none.
    """
    table = read_csv(Path(path), COLUMNS)
    detections = []
    for row, (image_id, width, height, text) in enumerate(table[list(COLUMNS)].itertuples(index=False), start=2):
        try:
            size = (int(height), int(width))
            detections += [(image_id, *size, *triple) for triple in parse_prediction(text, *size)]
        except ValueError as error:
            raise ValueError(f"{path}, row {row} ({image_id}): {error}") from None
    columns = ["image_id", "height", "width", "label", "confidence", "counts"]
    return pd.DataFrame(detections, columns=columns)


def parse_prediction(text: str, height: int, width: int) -> list[tuple[int, float, bytes]]:
    """The (label, confidence, COCO counts) of a prediction string, every mask checked against the field's size."""
    words = text.split()
    if len(words) % 3:
        raise ValueError(f"{len(words)} words, no whole number of `label confidence mask`")
    triples, checked = [], {}
    for label, confidence, mask in zip(words[0::3], words[1::3], words[2::3], strict=True):
        if not (label.isascii() and label.isdigit() and int(label) < N_CLASSES):
            raise ValueError(f"label {label!r} is no class number 0…{N_CLASSES - 1}")
        if not 0 <= float(confidence) <= 1:
            raise ValueError(f"confidence {confidence} is not in [0, 1]")
        if mask not in checked:  # the same mask comes once for each class
            counts = masks.text_to_counts(mask)
            masks.check_counts(counts, height, width)
            checked[mask] = counts
        triples.append((int(label), float(confidence), checked[mask]))
    return triples


def read_truth(path: str | Path) -> pd.DataFrame:
    """Read a truth file into a row a (cell, label): `image_id`, `height`, `width`, `label`, `counts`.

    Raises
    ------
    FileNotFoundError, ValueError
    """
    table = read_csv(Path(path), ("ID", "ImageWidth", "ImageHeight", "Label", "Mask"))
    rows = []
    for row, (image_id, width, height, label, mask) in enumerate(
        table[["ID", "ImageWidth", "ImageHeight", "Label", "Mask"]].itertuples(index=False), start=2
    ):
        try:
            ((label, _, counts),) = parse_prediction(f"{label} 1 {mask}", int(height), int(width))
        except ValueError as error:
            raise ValueError(f"{path}, row {row} ({image_id}): {error}") from None
        rows.append((image_id, int(height), int(width), label, counts))
    return pd.DataFrame(rows, columns=["image_id", "height", "width", "label", "counts"])


def validate_submission(path: str | Path, sample: str | Path = "") -> list[dict]:
    """Find what Kaggle would refuse, or what would silently cost score.

    Parameters
    ----------
    sample : path
        ``sample_submission.csv``, to compare IDs and sizes with.

    Returns
    -------
    list of dict
        `level` ("error": refused, "loss": costs score), `row` (of the file; 0 for the whole), `what`, `mend`.

    Raises
    ------
    FileNotFoundError
        If a file is missing.
    """
    findings = []

    def found(level, row, what, mend):
        findings.append({"level": level, "row": row, "what": what, "mend": mend})

    try:
        table = read_csv(Path(path), COLUMNS)
    except ValueError as error:
        return [{"level": "error", "row": 0, "what": str(error), "mend": "write the four columns of the sample"}]
    try:
        check_ids(table["ID"], Path(path).name)
    except ValueError as error:
        found("error", 0, str(error), "one row a field")
    expected = {}
    if sample:
        wanted = read_csv(Path(sample), COLUMNS[:3])
        expected = dict(zip(wanted["ID"], zip(wanted["ImageWidth"], wanted["ImageHeight"], strict=True), strict=True))
        for image_id in sorted(set(expected) - set(table["ID"])):
            found("error", 0, f"field {image_id} is missing", "add its row, with an empty prediction if need be")
    for row, (image_id, width, height, text) in enumerate(table[list(COLUMNS)].itertuples(index=False), start=2):
        if expected and image_id not in expected:
            found("error", row, f"field {image_id} is not in the sample", "remove the row")
        elif expected and (width, height) != expected[image_id]:
            swapped = (height, width) == expected[image_id]
            what = f"size {width} × {height}, the sample has {' × '.join(expected[image_id])} (width × height)"
            found("loss", row, what, "swap ImageWidth and ImageHeight" if swapped else "write the field's own size")
        if not text.strip():
            found("loss", row, f"field {image_id} has no prediction", "predict its whole field as 18, 0.00001")
        try:
            triples = parse_prediction(text, int(height), int(width))
        except ValueError as error:
            found("error", row, str(error), "encode masks with hpa_utils.masks.encode_mask, rows × columns")
            continue
        keys = [(label, counts) for label, _, counts in triples]
        if len(set(keys)) < len(keys):
            found("loss", row, "the same mask and class twice", "keep one: the second hit is a false positive")
    return findings
