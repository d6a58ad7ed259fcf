"""The rows of a submission, read strictly and one by one: what is no plain CSV with the right columns is found."""

import csv
from collections.abc import Iterator
from pathlib import Path

from hpa_utils.detections import COLUMNS
from hpa_utils.scoring.findings import Findings

LONGEST_VALUE = 1 << 26  # characters; a field of 5,000 cells needs less, an unclosed quote would take the whole file
PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}
UTF16 = (b"\xff\xfe", b"\xfe\xff")
MARK = b"\xef\xbb\xbf"


class Unreadable(Exception):
    """Nothing more can be read; the arguments are those of `Findings.add`."""


def read_rows(path: Path, findings: Findings) -> Iterator[tuple[int, list[str]]]:
    """The number of each row, the header being 1, and its values in the order of `COLUMNS`.

    Only a row at a time is in memory. Rows without all values are left out.

    Raises
    ------
    Unreadable
        If nothing more can be read.
    """
    row = 0
    previous_limit = csv.field_size_limit(LONGEST_VALUE)  # 131,072 characters are too few for a field with many cells
    try:
        with open(path, "rb") as file:
            rows = csv.reader(_read_lines(file, findings), strict=True)
            header = next(rows, None)
            if not header:
                raise Unreadable("no rows", 0, "the file is empty" if header is None else "the first line is empty")
            row = 1
            _check_header(findings, header)
            places = [header.index(column) for column in COLUMNS]
            for row, values in enumerate(rows, start=2):
                if not values:
                    findings.add("blank line", row, "an empty line")
                elif len(values) != len(header):
                    findings.add("number of values", row, f"{len(values)} values, the header has {len(header)} columns")
                else:
                    yield row, [values[place] for place in places]
    except csv.Error as error:
        raise Unreadable("CSV syntax", row + 1, f"no CSV from here on: {error}") from None
    except UnicodeDecodeError as error:
        raise Unreadable("text encoding", row + 1, f"no UTF-8 from here on: {error.reason}") from None
    finally:
        csv.field_size_limit(previous_limit)


def _read_lines(file, findings: Findings) -> Iterator[str]:
    start = file.read(8)
    for magic, name in PACKED.items():
        if start.startswith(magic):
            raise Unreadable("packed file", 0, f"the file is packed with {name}")
    if start.startswith(UTF16):
        raise Unreadable("text encoding", 0, "the file is UTF-16")
    if start.startswith(MARK):
        findings.add("byte order mark", 1, "a byte order mark stands before the first column's name")
    file.seek(len(MARK) if start.startswith(MARK) else 0)
    windows = False
    while line := file.readline(LONGEST_VALUE):
        if line.endswith(b"\r\n") and not windows:
            windows = True
            findings.add("line ends", 0, "lines end with \\r\\n")
        yield line.decode("utf-8")


def _check_header(findings: Findings, header: list[str]) -> None:
    faults = [f"no column {column}" for column in COLUMNS if column not in header]
    missing = bool(faults)
    faults += [f"a column {shortened(name)} too many" for name in dict.fromkeys(header) if name not in COLUMNS]
    faults += [f"column {column} {header.count(column)} times" for column in COLUMNS if header.count(column) > 1]
    if faults:
        what = f"{', '.join(faults[:5])}; the header is {shortened(','.join(header))}"
        if missing:
            raise Unreadable("columns", 1, what)
        findings.add("columns", 1, what)
    elif tuple(header) != COLUMNS:
        findings.add("column order", 1, f"the columns stand in the order {', '.join(header)}")


def shortened(text: str) -> str:
    """A word of the file as it may be printed."""
    return repr(text if len(text) <= 40 else text[:39] + "…")
