"""CSV files, read a row at a time: no value is guessed or moved, and what is wrong is told with its row."""

import contextlib
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd

LONGEST_VALUE = 1 << 26  # characters; a field of 5,000 cells needs less, an unclosed quote would take the whole file
MARK = b"\xef\xbb\xbf"
UTF_16 = (b"\xff\xfe", b"\xfe\xff")
PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}
HARMLESS = ("blank line", "byte order mark", "column order", "columns", "line ends")  # faults that hide no value
REMEDIES = {
    "packed file": "unpack it: plain CSV is wanted",
    "text encoding": "save it as UTF-8",
    "CSV syntax": "close every quote; if none is open, save it again as plain CSV",
    "columns": "name each column once in the first row, separated by commas",
    "number of values": "write one value a column, quote a value that holds commas, and join labels by |",
    "line break": "close the quote before it",
}

Report = Callable[[str, int, str], None]  # told of a fault: its rule, the row (0: the file), what is wrong


class Unreadable(Exception):
    """Nothing more can be read; the arguments are those of `Report`."""


def read_csv(path: str | Path, columns: tuple[str, ...], optional: tuple[str, ...] = ()) -> pd.DataFrame:
    """Read these columns of a CSV as text; the index has each row's number in the file, the header being 1.

    An optional column that the file lacks is empty. Raises FileNotFoundError, or ValueError naming file, row, cause and
    remedy: a column or all rows are missing, a row has more or fewer values than the header, or it is no UTF-8.
    """
    numbers, rows = [], []
    with one_line(path):
        for row, values in read_rows(path, columns, refuse, optional):
            if any(sign in value for value in values for sign in "\r\n"):
                raise Unreadable("line break", row, "a value goes on in the next line")
            numbers.append(row)
            rows.append(values)
    return pd.DataFrame(rows, columns=[*columns, *optional], index=numbers)


def refuse(rule: str, row: int, what: str) -> None:
    """A `Report` that stops at any fault by which a value could be lost."""
    if rule not in HARMLESS:
        raise Unreadable(rule, row, what)


@contextlib.contextmanager
def one_line(path: str | Path, remedies: dict[str, str] = REMEDIES):
    """Turn `Unreadable` into a ValueError that names file, row, cause and, by its rule, the remedy."""
    try:
        yield
    except Unreadable as stop:
        rule, row, what = stop.args
        remedy = f"; {remedies[rule]}" if rule in remedies else ""
        raise ValueError(f"{path}{f', row {row}' if row else ''}: {what}{remedy}") from None


def read_rows(
    path: str | Path, columns: tuple[str, ...], report: Report, optional: tuple[str, ...] = ()
) -> Iterator[tuple[int, list[str]]]:
    """Yield the number of each row, the header being 1, and its values in the order of `columns` and `optional`.

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
                what = "the file" if header is None else "the first line"
                raise Unreadable("no rows", 0, f"{what} is empty; expected the columns {', '.join(columns)}")
            row = 1
            _check_header(header, columns, optional, report)
            places = [header.index(name) if name in header else len(header) for name in (*columns, *optional)]
            for row, values in enumerate(rows, start=2):
                if not values:
                    report("blank line", row, "an empty line")
                elif len(values) != len(header):
                    report("number of values", row, f"{len(values)} values, the header has {len(header)} columns")
                else:
                    found = True
                    values.append("")  # of an optional column that is not there
                    yield row, [values[place] for place in places]
            if not found:
                raise Unreadable("no rows", 0, "the file has a header but no rows")
    except csv.Error as error:
        is_open = "unexpected end" in str(error)
        what = "a quote is opened here and not closed" if is_open else f"no CSV from here on: {error}"
        raise Unreadable("CSV syntax", row + 1, what) from None
    except UnicodeDecodeError as error:
        raise Unreadable("text encoding", row + 1, f"no UTF-8 from here on: {error.reason}") from None
    finally:
        csv.field_size_limit(previous_limit)


def _read_lines(file, report: Report) -> Iterator[str]:
    first = file.readline(LONGEST_VALUE)
    for start, program in PACKED.items():
        if first.startswith(start):
            raise Unreadable("packed file", 0, f"the file is packed with {program}")
    if first.startswith(UTF_16) or b"\0" in first:
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


def _check_header(header: list[str], columns: tuple, optional: tuple, report: Report) -> None:
    wanted = (*columns, *optional)
    if len(header) == 1 and set(";\t") & set(header[0]):
        raise Unreadable("columns", 1, f"values are separated by semicolons or tabs: {header[0][:80]!r}")
    faults = [f"no column {column}" for column in columns if column not in header]
    faults += [f"column {column} {header.count(column)} times" for column in wanted if header.count(column) > 1]
    others = [f"a column {name[:40]!r} too many" for name in dict.fromkeys(header) if name not in wanted]
    what = f"{', '.join((faults + others)[:5])}; the header is {','.join(header)[:80]!r}"
    if faults:
        raise Unreadable("columns", 1, what)
    if others:
        report("columns", 1, what)
    elif tuple(header) != columns:
        report("column order", 1, f"the columns stand in the order {', '.join(header)}")
