"""Bags: all crops of a field in one row of a Parquet part, with the field's weak label.

The label belongs to the field, so the field is the record. Each row group holds one bag: a bag is read by its
number, and only the crops that a step has drawn are decoded.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hpa_utils import images, masks, tables
from hpa_utils.crops.cut import CropConfig, cut_cell, encode_crop
from hpa_utils.dataset import Dataset
from hpa_utils.labels import N_CLASSES
from hpa_utils.manifest import FORMAT, digest

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
    """The work of one part: the fields and cells whose crops it holds; small enough to be sent to a worker."""

    name: str
    split: str
    folder: Path
    fields: pd.DataFrame
    cells: pd.DataFrame
    config: CropConfig
    stage: Path
    key: str

    def __len__(self):
        return len(self.fields)


def plan_bags(
    dataset: Dataset, fields: pd.DataFrame, cells: pd.DataFrame, config: CropConfig, stage: str | Path
) -> list[BagPart]:
    """The parts of the bags: the same fields in each as in the field table, those without cells left out."""
    plan = []
    for split in (name for name in dataset.folders if name in set(fields["split"])):
        of_split = fields[fields["split"] == split]
        for number, image_ids in enumerate(tables.plan_parts(sorted(of_split["image_id"]))):
            part_fields = of_split[of_split["image_id"].isin(image_ids) & (of_split["n_cells"] > 0)]
            part_cells = cells[(cells["split"] == split) & cells["image_id"].isin(image_ids)]
            made_from = [tables.cells_fingerprint(part_cells), tables.label_matrix(part_fields).tolist()]
            plan.append(
                BagPart(
                    name=f"part-{split}-{number:04d}.parquet",
                    split=split,
                    folder=dataset.folders[split],
                    fields=part_fields,
                    cells=part_cells,
                    config=config,
                    stage=Path(stage),
                    key=digest([FORMAT, asdict(config), made_from]),
                )
            )
    return plan


def write_bags(part: BagPart, reuse: bool = True) -> dict:
    """Write one part, unless it is there with the same key and no field wants another try.

    Returns
    -------
    dict
        `cells` and `bytes` (of their PNGs) written, and `set_aside`: the fields that could not be read.
    """
    path = part.stage / "bags" / part.name
    if reuse and tables.part_key(path) == part.key:
        done = part_summary(path)
        if images.set_aside_unchanged({part.split: part.folder}, done["set_aside"]):
            return done
    rows, set_aside = [], []
    by_field = dict(list(part.cells.groupby("image_id")))
    for row in part.fields.itertuples():
        try:
            rows.append(_bag(row, by_field[row.image_id], part))
        except (OSError, ValueError) as error:
            files = images.file_digest(part.folder, row.image_id)
            set_aside.append(
                {"image_id": row.image_id, "split": row.split, "error": str(error), "error_files": files}
            )
    summary = {
        "cells": sum(len(bag["crops"]) for bag in rows),
        "bytes": sum(len(png) for bag in rows for png in bag["crops"]),
        "set_aside": set_aside,
    }
    written = part.cells[part.cells["image_id"].isin([bag["image_id"] for bag in rows])]
    metadata = {"summary": json.dumps(summary), "cells_fingerprint": tables.cells_fingerprint(written)}
    tables.write_part(path, rows, BAGS, part.key, metadata, row_group_size=1)
    return summary


def part_summary(path: str | Path) -> dict:
    """What `write_bags` returned when it wrote this part."""
    return json.loads(pq.read_schema(path).metadata[b"summary"])


def _bag(row, cells: pd.DataFrame, part: BagPart) -> dict:
    field = images.read_field(part.folder, row.image_id)
    if field.shape[:2] != (row.height, row.width):
        raise ValueError(f"field {row.image_id} is {field.shape[:2]}, was {(row.height, row.width)} when segmented")
    labels = masks.paint_labels(list(cells["rle"]), list(cells["cell_id"]), row.height, row.width)
    crops, scales = [], []
    for cell in cells.itertuples():
        box = (cell.y0, cell.x0, cell.y1, cell.x1)
        crop, scale = cut_cell(field, labels, cell.cell_id, box, row.pixel_size_um, part.config)
        crops.append(encode_crop(crop))
        scales.append(scale)
    return {
        "image_id": row.image_id,
        "split": row.split,
        "labels": row.labels,
        "percentiles": row.percentiles,
        "cell_ids": cells["cell_id"].tolist(),
        "crops": crops,
        "scales": scales,
        "edge_fractions": cells["edge_fraction"].tolist(),
    }
