"""Detections as the submission writes them: `label confidence mask` of each cell and class, a field a row."""

import csv
import io

import numpy as np

from hpa_utils import masks
from hpa_utils.labels import NEGATIVE

COLUMNS = ("ID", "ImageWidth", "ImageHeight", "PredictionString")
NO_CELLS_CONFIDENCE = "0.00001"


def prediction_string(counts: list[bytes], confidences: np.ndarray) -> str:
    """The detections of a field's cells: each cell's mask once for each class.

    Parameters
    ----------
    counts : list of bytes
        COCO counts of the cells' masks (n).
    confidences : numpy.ndarray
        float32 (n, 19) in [0, 1]; written with all their digits, since rounding makes ties.
    """
    triples = []
    for own_counts, values in zip(counts, confidences, strict=True):
        text = masks.counts_to_text(own_counts)
        triples += [f"{label} {value:.9g} {text}" for label, value in enumerate(values)]
    return " ".join(triples)


def empty_prediction(width: int, height: int) -> str:
    """What a field without cells gets: the whole field as Negative, at almost no confidence."""
    whole = masks.run_counts(np.array([0]), np.array([height * width]), height, width)
    return f"{NEGATIVE} {NO_CELLS_CONFIDENCE} {masks.counts_to_text(whole)}"


def csv_line(*values) -> bytes:
    """A row of a CSV file, its line feed included."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def check_confidences(confidences: np.ndarray) -> None:
    """Raise ValueError unless all are numbers in [0, 1]."""
    if not ((confidences >= 0) & (confidences <= 1)).all():  # False for NaN, too
        raise ValueError("confidences are not all numbers in [0, 1]")
