"""Bags: all crops of a field in one row of a Parquet part, with the field's weak label.

The label belongs to the field, so the field is the record. Each row group holds one bag: a bag is read by its
number, and only the crops that a step has drawn are decoded.
"""

import functools
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from hpa_utils import images, masks, processes, tables
from hpa_utils.crops.cut import CropConfig, choose_cells, cut_cell, encode_crop
from hpa_utils.dataset import Dataset
from hpa_utils.deadlines import check_time
from hpa_utils.labels import N_CLASSES
from hpa_utils.manifest import FORMAT, digest
from hpa_utils.segmentation import stream

BAGS = pa.schema(
    {
        "image_id": pa.string(),
        "split": pa.string(),
        "labels": pa.list_(pa.int8(), N_CLASSES),
        "percentiles": pa.list_(pa.float32(), 16),
        "cell_ids": pa.list_(pa.int32()),
        "crops": pa.list_(pa.binary()),
        "scales": pa.list_(pa.float32()),  # µm per crop px
        "edge_fractions": pa.list_(pa.float32()),
    }
)


@dataclass(frozen=True)
class BagPart:
    """The work of one part; small enough to be sent to a worker, which reads the part's tables itself.

    Attributes
    ----------
    name : str
        File name of the part, the same in ``fields/``, ``cells/`` and ``bags/``.
    folder : Path
        Images of the split.
    segmented : Path
        Folder of 02_segmentation that holds the part's field and cell table.
    image_ids : tuple of str
        Fields that have cells and get a bag.
    n_crops : int
        Crops they give.
    key : str
        Digest of what the part is made from: format, crop configuration, masks, labels, which fields.
    isolated : bool
        Read and cut each field in a process of its own: for a part whose worker was lost again and again.
    until : float
        Unix time from which on no field is begun: the rest is set aside.
    """

    name: str
    split: str
    folder: Path
    segmented: Path
    image_ids: tuple
    n_crops: int
    config: CropConfig
    stage: Path
    key: str
    isolated: bool = False
    until: float = float("inf")

    def __len__(self):
        return len(self.image_ids)


def plan_bags(
    dataset: Dataset,
    splits: list[str],
    segmented: list[Path],
    config: CropConfig,
    stage: str | Path,
    left_out: frozenset = frozenset(),
    until: float = float("inf"),
) -> list[BagPart]:
    """The parts of the bags of the given splits: one for each part of the field table.

    Parameters
    ----------
    segmented : list of Path
        Folders of 02_segmentation; several where shards of it were made apart.
    left_out : frozenset of str
        Fields that get no bag.
    until : float
        As in `BagPart`.
    """
    plan = []
    for path in (path for split in splits for path in tables.list_parts([s / "fields" for s in segmented], split)):
        fields = tables.read_part(path, ["image_id", "split", "n_cells", "labels"])
        fields = fields[(fields["n_cells"] > 0) & ~fields["image_id"].isin(left_out)]
        masked = tables.part_metadata(path.parents[1] / "cells" / path.name).get("cells_fingerprint", "")
        made_from = [masked, list(fields["image_id"]), tables.label_matrix(fields).tolist()]
        split = path.name.split("-")[1]
        limit = config.cells_per_field if split == "train" and config.cells_per_field else np.inf
        plan.append(
            BagPart(
                name=path.name,
                split=split,
                folder=dataset.folders[split],
                segmented=path.parents[1],
                image_ids=tuple(fields["image_id"]),
                n_crops=int(np.minimum(fields["n_cells"], limit).sum()),
                config=config,
                stage=Path(stage),
                key=digest([FORMAT, asdict(config), made_from]),
                until=until,
            )
        )
    return plan


def write_bags(part: BagPart, reuse: bool = True) -> dict:
    """Write one part, field by field, unless it is there with the same key and no field wants another try.

    Returns
    -------
    dict
        `cells` and `bytes` (of their PNGs) written, and `set_aside`: the fields that could not be read, or
        for which there was no time.
    """
    path = part.stage / "bags" / part.name
    if reuse and is_written(part):
        done = part_summary(path)
        if images.set_aside_unchanged({part.split: part.folder}, done["set_aside"]):
            return done
    summary, written = {"cells": 0, "bytes": 0, "set_aside": []}, []
    make = functools.partial(processes.in_child, _bag, part) if part.isolated else functools.partial(_bag, part)
    with tables.part_writer(path, BAGS, part.key, plain=("crops",)) as writer:
        for row, of_field in _read_tables(part):
            bag = stream.attempt(functools.partial(make, row), of_field)
            if isinstance(bag, Exception):
                aside = images.describe_failure(part.folder, row["image_id"], bag)
                summary["set_aside"].append({"image_id": row["image_id"], "split": part.split, **aside})
                continue
            writer.write_table(pa.Table.from_pylist([bag], schema=BAGS))
            summary["cells"] += len(bag["crops"])
            summary["bytes"] += sum(map(len, bag["crops"]))
            written.append(of_field)
        written = pd.concat(written) if written else pd.DataFrame(columns=tables.CELLS.names)
        fingerprint = tables.cells_fingerprint(written)
        writer.add_key_value_metadata({"summary": json.dumps(summary), "cells_fingerprint": fingerprint})
    return summary


def is_written(part: BagPart) -> bool:
    """Whether the part is there, made from the same input and configuration."""
    return tables.part_key(part.stage / "bags" / part.name) == part.key


def part_summary(path: str | Path) -> dict:
    """What `write_bags` returned when it wrote this part."""
    return json.loads(tables.part_metadata(path)["summary"])


def estimate_bytes(plan: list[BagPart], looked_at: int = 6) -> int:
    """Bytes that the parts not yet written will take, from the crops of one field in each of a few parts."""
    lacking = [part for part in plan if part.n_crops and not is_written(part)]
    n_bytes = n_crops = 0
    for part in lacking[:: max(1, len(lacking) // looked_at)]:
        row, of_field = next(_read_tables(part))
        bag = stream.attempt(functools.partial(_bag, part, row), of_field)
        if not isinstance(bag, Exception):
            n_bytes += sum(map(len, bag["crops"]))
            n_crops += len(bag["crops"])
    return int(1.05 * n_bytes / max(n_crops, 1) * sum(part.n_crops for part in lacking))


def _read_tables(part: BagPart) -> Iterator[tuple[dict, pd.DataFrame]]:
    """(row of the field table, its rows of the cell table) of each field."""
    fields = tables.read_part(part.segmented / "fields" / part.name).set_index("image_id", drop=False)
    cells = dict(list(tables.read_part(part.segmented / "cells" / part.name).groupby("image_id")))
    for image_id in part.image_ids:
        yield fields.loc[image_id].to_dict(), cells[image_id]


def _bag(part: BagPart, row: dict, cells: pd.DataFrame) -> dict:
    check_time(part.until)
    shape = row["height"], row["width"]
    field = images.read_field(part.folder, row["image_id"])
    if field.shape[:2] != shape:
        raise ValueError(f"field {row['image_id']} is {field.shape[:2]}, was {shape} when segmented")
    labels = masks.paint_labels(list(cells["rle"]), list(cells["cell_id"]), *shape)
    limit = part.config.cells_per_field if part.split == "train" else 0
    cells = cells[cells["cell_id"].isin(choose_cells(cells["cell_id"].to_numpy(), row["image_id"], limit))]
    crops, scales = [], []
    for cell in cells.itertuples():
        box = (cell.y0, cell.x0, cell.y1, cell.x1)
        crop, scale = cut_cell(field, labels, cell.cell_id, box, row["pixel_size_um"], part.config)
        crops.append(encode_crop(crop))
        scales.append(scale)
    return {
        **{name: row[name] for name in ("image_id", "split", "labels", "percentiles")},
        "cell_ids": cells["cell_id"].tolist(),
        "crops": crops,
        "scales": scales,
        "edge_fractions": cells["edge_fraction"].tolist(),
    }
