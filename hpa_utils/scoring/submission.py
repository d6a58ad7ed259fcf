"""The submission: a row a field, `label confidence mask` for each cell and class; written and read."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import masks
from hpa_utils.dataset import read_csv
from hpa_utils.detections import COLUMNS, check_confidences, csv_line, empty_prediction, prediction_string
from hpa_utils.labels import N_CLASSES
from hpa_utils.paths import atomic_write, kaggle_folder

SUBMISSION = "submission.csv"  # the name Kaggle looks for


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
    check_confidences(confidences)
    counts = {(image_id, cell): rle for image_id, cell, rle in cells[["image_id", "cell_id", "rle"]].itertuples(False)}
    cells_of = predictions.reset_index(drop=True).groupby("image_id", sort=False).indices
    cell_ids = predictions["cell_id"].to_numpy()
    with atomic_write(path) as temporary, open(temporary, "wb") as file:
        file.write(csv_line(*COLUMNS))
        for image_id, width, height in rows[["ID", "ImageWidth", "ImageHeight"]].itertuples(index=False):
            places = cells_of.get(image_id, np.zeros(0, np.int64))
            unknown = [cell_ids[place] for place in places if (image_id, cell_ids[place]) not in counts]
            if unknown:
                raise ValueError(f"predicted cell {unknown[0]} of {image_id} is not in the cell table")
            of_field = [counts[image_id, cell_ids[place]] for place in places]
            text = prediction_string(of_field, confidences[places]) or empty_prediction(width, height)
            file.write(csv_line(image_id, width, height, text))


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


def publish_submission(source: str | Path, target: str | Path = "") -> None:
    """Copy a submission to `target`, else where Kaggle looks for it, in one rename: a whole one at any time."""
    with atomic_write(target or kaggle_folder("working") / SUBMISSION) as temporary:
        shutil.copyfile(source, temporary)


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
