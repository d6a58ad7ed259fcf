"""Submissions and truth, read a field at a time: into tables, or for `validate`, which goes on after a fault."""

import csv
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pandas as pd

from hpa_utils import masks
from hpa_utils.dataset import read_csv
from hpa_utils.labels import N_CLASSES
from hpa_utils.scoring.submission import COLUMNS

LONGEST_VALUE = 1 << 26  # characters; a field of 5,000 cells needs less, an unclosed quote would take the whole file
LONGEST_SIDE = 65_535  # px
LABELS = {str(label): label for label in range(N_CLASSES)}
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")  # no nan, inf or 1_000, which float() takes
MARK = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}
HARMLESS = ("blank line", "byte order mark", "column order", "columns", "line ends")  # faults that hide no value

Report = Callable[[str, int, str], None]  # told of a fault: a rule of `findings`, the row (0: the file), what is wrong


class Unreadable(Exception):
    """Nothing more can be read; the arguments are those of `Report`."""


def read_submission(path: str | Path) -> pd.DataFrame:
    """Read a submission into a row a detection, in the order of the file; an empty prediction is none.

    Columns: `image_id`, `height`, `width`, `label` (int), `confidence` (float), `counts` (bytes, COCO). Raises
    FileNotFoundError, or ValueError with the row that cannot be read.
    """
    return _detections(path, read_rows(path, _refuse))


def read_truth(path: str | Path) -> pd.DataFrame:
    """Read a truth file into a row a (cell, label): `image_id`, `height`, `width`, `label`, `counts`.

    Raises FileNotFoundError, or ValueError with the row that cannot be read.
    """
    table = read_csv(Path(path), ("ID", "ImageWidth", "ImageHeight", "Label", "Mask"))
    table["Prediction"] = table["Label"] + " 1 " + table["Mask"]
    rows = table[["ID", "ImageWidth", "ImageHeight", "Prediction"]].itertuples(index=False)
    return _detections(path, enumerate(rows, start=2)).drop(columns="confidence")


def _detections(path: str | Path, rows: Iterable[tuple]) -> pd.DataFrame:
    """A row a detection, of numbered rows (ID, width, height, prediction)."""
    detections = []
    try:
        for row, (image_id, width, height, text) in rows:
            size = read_size(width, height, row, _refuse)
            detections += [(image_id, *size, *triple) for triple in read_prediction(text, size, row, _refuse)]
    except Unreadable as stop:
        _, row, what = stop.args
        raise ValueError(f"{path}, row {row}: {what}" if row else f"{path}: {what}") from None
    table = pd.DataFrame(detections, columns=["image_id", "height", "width", "label", "confidence", "counts"])
    return table.astype({"height": int, "width": int, "label": int, "confidence": float})


def _refuse(rule: str, row: int, what: str) -> None:
    if rule not in HARMLESS:
        raise Unreadable(rule, row, what)


def read_rows(path: str | Path, report: Report) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row of a submission, the header being 1, and its values in the order of `COLUMNS`.

    What is no plain CSV with these columns is reported; rows without all values are left out. Raises
    FileNotFoundError, or `Unreadable` where nothing more can be read.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    row, found = 0, False
    previous_limit = csv.field_size_limit(LONGEST_VALUE)  # 131,072 characters are too few for a field with many cells
    try:
        with open(path, "rb") as file:
            rows = csv.reader(_read_lines(file, report), strict=True)
            header = next(rows, None)
            if not header:
                raise Unreadable("no rows", 0, "the file is empty" if header is None else "the first line is empty")
            row = 1
            _check_header(header, report)
            places = [header.index(column) for column in COLUMNS]
            for row, values in enumerate(rows, start=2):
                if not values:
                    report("blank line", row, "an empty line")
                elif len(values) != len(header):
                    report("number of values", row, f"{len(values)} values, the header has {len(header)} columns")
                else:
                    found = True
                    yield row, [values[place] for place in places]
            if not found:
                raise Unreadable("no rows", 0, "the file has a header but no rows")
    except csv.Error as error:
        raise Unreadable("CSV syntax", row + 1, f"no CSV from here on: {error}") from None
    except UnicodeDecodeError as error:
        raise Unreadable("text encoding", row + 1, f"no UTF-8 from here on: {error.reason}") from None
    finally:
        csv.field_size_limit(previous_limit)


def _read_lines(file, report: Report) -> Iterator[str]:
    first = file.readline(LONGEST_VALUE)
    for start, program in PACKED.items():
        if first.startswith(start):
            raise Unreadable("packed file", 0, f"the file is packed with {program}")
    if first.startswith(UTF_16):
        raise Unreadable("text encoding", 0, "the file is UTF-16")
    if first.startswith(MARK):
        report("byte order mark", 1, "a byte order mark stands before the first column's name")
        first = first.removeprefix(MARK)
    if first.endswith(b"\r\n"):
        report("line ends", 0, "lines end with \\r\\n")
    if first:
        yield first.decode("utf-8")
    while line := file.readline(LONGEST_VALUE):
        yield line.decode("utf-8")


def _check_header(header: list[str], report: Report) -> None:
    missing = [f"no column {column}" for column in COLUMNS if column not in header]
    others = [f"a column {name[:40]!r} too many" for name in dict.fromkeys(header) if name not in COLUMNS]
    others += [f"column {column} {header.count(column)} times" for column in COLUMNS if header.count(column) > 1]
    what = f"{', '.join((missing + others)[:5])}; the header is {','.join(header)[:80]!r}"
    if missing:
        raise Unreadable("columns", 1, what)
    if others:
        report("columns", 1, what)
    elif tuple(header) != COLUMNS:
        report("column order", 1, f"the columns stand in the order {', '.join(header)}")


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
