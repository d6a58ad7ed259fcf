"""Submissions read back, a field at a time: a file of the test set's size is as large as the memory to score it."""

import csv
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils.scoring.submission import COLUMNS, parse_prediction

LONGEST_VALUE = 1 << 26  # characters of a field's prediction; the module's own limit is far too low


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
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    fields, labels, confidences, counts = [], [], [], []
    previous_limit = csv.field_size_limit(LONGEST_VALUE)
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            for row, (image_id, width, height, text) in _rows(path, csv.reader(file)):
                try:
                    size = (int(height), int(width))
                    triples = parse_prediction(text, *size)
                except ValueError as error:
                    raise ValueError(f"{path}, row {row} ({image_id}): {error}") from None
                fields.append((image_id, *size, len(triples)))
                for label, confidence, own_counts in triples:
                    labels.append(label)
                    confidences.append(confidence)
                    counts.append(own_counts)
    finally:
        csv.field_size_limit(previous_limit)
    if not fields:
        raise ValueError(f"{path} has a header but no rows")
    image_ids, heights, widths, times = zip(*fields)
    return pd.DataFrame(
        {
            "image_id": pd.Series(image_ids, dtype=str).repeat(times).to_numpy(),
            "height": np.repeat(heights, times),
            "width": np.repeat(widths, times),
            "label": np.array(labels, np.int64),
            "confidence": np.array(confidences, np.float64),
            "counts": pd.Series(counts, dtype=object),
        }
    )


def _rows(path: Path, rows):
    """The number of each row, the header being 1, and its values in the order of `COLUMNS`."""
    try:
        header = next(rows, None)
        if header is None:
            raise ValueError(f"{path} is empty; expected the columns {', '.join(COLUMNS)}")
        missing = [column for column in COLUMNS if column not in header]
        if missing:
            raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(header)}")
        places = [header.index(column) for column in COLUMNS]
        for row, values in enumerate(rows, start=2):
            if values and len(values) != len(header):
                raise ValueError(f"{path}, row {row}: {len(values)} values, the header has {len(header)} columns")
            if values:
                yield row, [values[place] for place in places]
    except csv.Error as error:
        raise ValueError(f"{path} is no CSV from line {rows.line_num} on: {error}") from None
