"""The submission: a row a field, `label confidence mask` for each cell and class."""

import csv
import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import masks
from hpa_utils.labels import NEGATIVE
from hpa_utils.paths import atomic_write, kaggle_folder

SUBMISSION = "submission.csv"  # the name Kaggle looks for
COLUMNS = ("ID", "ImageWidth", "ImageHeight", "PredictionString")
NO_CELLS_CONFIDENCE = "0.00001"


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
