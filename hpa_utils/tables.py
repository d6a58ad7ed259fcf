"""The field table and the cell table: a row a field, a row a cell, in Parquet parts.

A part holds the fields that `plan_parts` gives it, whatever the number of workers, and carries in its metadata
the key of the configuration and the input that it was made from. A part whose key matches is never made again.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hpa_utils import images, masks
from hpa_utils.labels import N_CLASSES
from hpa_utils.limits import OutOfTime
from hpa_utils.paths import atomic_write

FIELDS = pa.schema(
    {
        "image_id": pa.string(),
        "split": pa.string(),
        "height": pa.int32(),
        "width": pa.int32(),
        "pixel_size_um": pa.float32(),
        "n_cells": pa.int32(),
        "labels": pa.list_(pa.int8(), N_CLASSES),  # −1 where unknown
        "percentiles": pa.list_(pa.float32(), 16),  # red p1, p50, p99, p99.9, then green, blue, yellow
        "blue_hash": pa.string(),
        "error": pa.string(),  # empty, or why the field was set aside
        "error_files": pa.string(),  # SHA-256 of its files then: it is tried again when they change
    }
)
MEASURED = ("edge_fraction", "nucleus_edge_fraction", "nucleus_blue_mean", "nucleus_blue_std", "roundness")
MEASURED += ("nucleus_red_ratio", "red_focus")
CELLS = pa.schema(
    dict.fromkeys(("image_id", "split"), pa.string())
    | dict.fromkeys(("cell_id", "y0", "x0", "y1", "x1", "area", "nucleus_area"), pa.int32())
    | dict.fromkeys(MEASURED, pa.float32())
    | {"rle": pa.binary()}
)

CELL_COLUMNS = [f"p{number:02d}" for number in range(N_CLASSES)]  # probabilities of a cell, in tables of scores


def plan_parts(image_ids: list[str]) -> list[list[str]]:
    """Cut sorted IDs into parts of max(8, min(200, n // 16)) fields."""
    size = max(8, min(200, len(image_ids) // 16))
    return [image_ids[start : start + size] for start in range(0, len(image_ids), size)]


def field_row(image_id: str, split: str, field: np.ndarray, n_cells: int, labels, pixel_size: float) -> dict:
    """Row of the field table for a field, uint8 (H, W, 4), that was read and segmented."""
    return error_row(image_id, split, labels, pixel_size, "", "") | {
        "height": field.shape[0],
        "width": field.shape[1],
        "n_cells": n_cells,
        "percentiles": images.field_percentiles(field).ravel(),
        "blue_hash": images.perceptual_hash(field[..., 2]),
    }


def error_row(image_id: str, split: str, labels, pixel_size: float, error: str, error_files: str) -> dict:
    """Row of the field table for a field set aside: no size, no cells, but its labels and the reason."""
    known = {"image_id": image_id, "split": split, "labels": labels, "pixel_size_um": pixel_size}
    unknown = {"height": 0, "width": 0, "n_cells": 0, "percentiles": np.zeros(16, np.float32), "blue_hash": ""}
    return {**known, **unknown, "error": error, "error_files": error_files}


def whole_fields(fields: pd.DataFrame) -> pd.DataFrame:
    """A cell table in which each field of a field table is one cell, number 1, as large as the field."""
    sizes = list(zip(fields["height"], fields["width"], strict=True))
    cells = fields[["image_id", "split"]].assign(cell_id=1, y1=fields["height"], x1=fields["width"])
    cells["area"] = fields["height"] * fields["width"]
    cells["rle"] = [masks.run_counts(np.array([0]), np.array([h * w]), h, w) for h, w in sizes]
    return cells.reindex(columns=CELLS.names, fill_value=0).reset_index(drop=True)


def write_table(path: str | Path, table: pa.Table | pd.DataFrame, metadata: dict[str, str]) -> None:
    """Write a Parquet file with metadata beside its rows, under its final name in one rename."""
    if isinstance(table, pd.DataFrame):
        table = pa.Table.from_pandas(table, preserve_index=False)
    # pyarrow leaves a file that it opened itself open when the disk is full
    with atomic_write(path) as temporary, pa.OSFile(str(temporary), "wb") as file:
        pq.write_table(table.replace_schema_metadata(metadata), file)


def write_part(path: str | Path, rows: list[dict], schema: pa.Schema, key: str, metadata: dict | None = None) -> None:
    """Write the rows of one part with the `key` that they were made from."""
    write_table(path, pa.Table.from_pylist(rows, schema=schema), {"key": key} | (metadata or {}))


def part_metadata(path: str | Path) -> dict[str, str]:
    """What was written beside the rows of a part; empty if it is missing or not a whole Parquet file."""
    try:
        found = pq.read_metadata(path).metadata or {}
    except (OSError, pa.ArrowInvalid):
        return {}
    return {name.decode(): value.decode() for name, value in found.items()}


def part_key(path: str | Path) -> str:
    """The key in a part's metadata; "" if the part is missing or not a whole Parquet file."""
    return part_metadata(path).get("key", "")


def read_part(path: str | Path, columns: list[str] | None = None) -> pd.DataFrame:
    """One part as a table."""
    return pq.read_table(path, columns=columns).to_pandas()


def remove_stale_parts(folder: str | Path, plan: list) -> None:
    """Remove the parts in `folder` that `plan` (all shards) does not have or would make anew."""
    keys = {part.name: part.key for part in plan}
    for path in Path(folder).glob("part-*.parquet"):
        if part_key(path) != keys.get(path.name, "?"):
            path.unlink()
            path.with_suffix(".crops").unlink(missing_ok=True)  # what a crop set has beside its index


def list_parts(folders: str | Path | list[Path], split: str = "*") -> list[Path]:
    """The parts of a table in one or several folders, in the order of their names; none is a FileNotFoundError."""
    folders = folders if isinstance(folders, list) else [Path(folders)]
    found = [path for folder in folders for path in Path(folder).glob(f"part-{split}-*.parquet")]
    if not found:
        raise FileNotFoundError(f"no part-{split}-*.parquet in {', '.join(map(str, folders))}")
    return sorted(found, key=lambda path: path.name)


def read_parts(folders: str | Path | list[Path], columns: list[str] | None = None, split: str = "*") -> pd.DataFrame:
    """All parts of a table in one or several folders, or those of one split, in the order of their names.

    Raises FileNotFoundError if there is none; ValueError if two parts hold the same field.
    """
    parts = {path: read_part(path, columns) for path in list_parts(folders, split)}
    check_disjoint({path: part["image_id"] for path, part in parts.items() if "image_id" in part})
    return pd.concat(list(parts.values()), ignore_index=True)


def percentile_array(fields: pd.DataFrame) -> np.ndarray:
    """Brightness of the fields of a field table, float32 (n, 4 channels, 4 of p1, p50, p99, p99.9)."""
    return np.asarray(fields["percentiles"].tolist(), np.float32).reshape(-1, 4, 4)


def check_disjoint(image_ids: dict) -> None:
    """Raise ValueError if two sources (paths, each with the IDs it holds) hold the same field."""
    seen = {}
    for source, ids in image_ids.items():
        for image_id in set(ids):
            if image_id in seen:
                raise ValueError(f"field {image_id} stands in {seen[image_id]} and in {source}: leave one of them out")
            seen[image_id] = source


def failed_fields(fields: pd.DataFrame) -> list[dict]:
    """The fields set aside, as a manifest lists them: `image_id`, `split`, `error`, `error_files`."""
    return fields.loc[fields["error"] != "", ["image_id", "split", "error", "error_files"]].to_dict("records")


def check_some_left(splits: Iterable[str], set_aside: list[dict]) -> None:
    """Raise ValueError if every field of a split was set aside, with the first reason; lack of time is none.

    `splits` has the split of each field that was tried, `set_aside` is as of `failed_fields`.
    """
    for split, count in Counter(splits).items():
        reasons = [row["error"] for row in set_aside if row["split"] == split]
        failed = [reason for reason in reasons if not reason.startswith(OutOfTime.__name__)]
        if len(failed) == count:
            raise ValueError(f"all {count} {split} fields were set aside; the first: {failed[0]}")


def label_matrix(fields: pd.DataFrame) -> np.ndarray:
    """Labels of a field table as int8 (n, 19)."""
    return np.stack(fields["labels"]).astype(np.int8) if len(fields) else np.zeros((0, N_CLASSES), np.int8)


def cells_fingerprint(cells: pd.DataFrame) -> str:
    """SHA-256 of which cell is where: image IDs, cell numbers and masks of a cell table, in the order of the IDs.

    Whatever is keyed by cell number stores it, since the numbers of another segmentation mean other cells.
    """
    digest, ordered = hashlib.sha256(), cells.sort_values(["image_id", "cell_id"], kind="stable")
    for image_id, cell_id, rle in zip(ordered["image_id"], ordered["cell_id"], ordered["rle"], strict=True):
        digest.update(f"{image_id}:{cell_id}:".encode() + rle)
    return digest.hexdigest()


def check_cells(stored: str, cells: pd.DataFrame, source: str | Path) -> None:
    """Raise ValueError if `source` was made from other cells than these."""
    if stored != cells_fingerprint(cells):
        raise ValueError(f"{source} belongs to another cell table: its cell numbers mean other cells; make it again")


def write_keyed(path: str | Path, table: pd.DataFrame, fingerprint: str) -> None:
    """Write a cell-keyed table (out-of-fold scores, predictions) with the fingerprint of its cell table."""
    write_table(path, table, {"cells_fingerprint": fingerprint})


def read_keyed(path: str | Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Read a cell-keyed table, refusing one that belongs to other cells (`check_cells`)."""
    check_cells(part_metadata(path).get("cells_fingerprint", ""), cells, path)
    return read_part(path)
