"""Bags: all crops of a field in one row of a Parquet part, with the field's weak label.

The label belongs to the field, so the field is the record. Each row group holds one bag: a bag is read by its
number, and only the crops that a step has drawn are decoded.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
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
LIGHT_COLUMNS = [name for name in BAGS.names if name != "crops"]


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


class Bags:
    """The bags of one split, read by number.

    Parameters
    ----------
    folder : path
        Holds the ``part-*.parquet`` of `write_bags`.
    split : str

    Attributes
    ----------
    table : pandas.DataFrame
        A row a bag: every column but the crops.
    """

    def __init__(self, folder: str | Path, split: str):
        paths = sorted(Path(folder).glob(f"part-{split}-*.parquet"))
        if not paths:
            raise FileNotFoundError(f"no bags of the {split} split in {folder}")
        self._files = [pq.ParquetFile(path, memory_map=True) for path in paths]
        lights = [tables.read_part(path, LIGHT_COLUMNS) for path in paths]
        self.table = pd.concat(lights, ignore_index=True)
        self._places = [(file, row) for file, light in enumerate(lights) for row in range(len(light))]
        self._fingerprints = {
            frozenset(light["image_id"]): pq.read_schema(path).metadata[b"cells_fingerprint"].decode()
            for path, light in zip(paths, lights, strict=True)
        }

    def __len__(self):
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        """Weak labels of the bags, int8 (n, 19); −1 where unknown."""
        return tables.label_matrix(self.table)

    def crops(self, number: int) -> list[bytes]:
        """The PNGs of all cells of a bag, in the order of its `cell_ids`."""
        file, row = self._places[number]
        return self._files[file].read_row_group(row, columns=["crops"])["crops"][0].as_py()

    def check_cells(self, cells: pd.DataFrame) -> None:
        """Raise ValueError unless the bags were cut from these cells."""
        for image_ids, fingerprint in self._fingerprints.items():
            tables.check_cells(fingerprint, cells[cells["image_id"].isin(image_ids)], "a part of the bags")


def draw_bags(
    bags: Bags, numbers: np.ndarray, cells_per_bag: int, rng: np.random.Generator, blank: bytes
) -> Iterator[dict]:
    """Yield the given bags in random order, K cells of each drawn without replacement, blanks where it has fewer.

    Yields
    ------
    dict
        `crops` (K PNGs), `valid` float32 (K,), `percentiles` float32 (4, 4), `labels` float32 (19,).
    """
    labels = bags.labels
    for number in rng.permutation(numbers):
        pngs = bags.crops(number)
        drawn = rng.permutation(len(pngs))[:cells_per_bag]
        lacking = cells_per_bag - len(drawn)
        yield {
            "crops": [pngs[i] for i in drawn] + [blank] * lacking,
            "valid": np.r_[np.ones(len(drawn)), np.zeros(lacking)].astype(np.float32),
            "percentiles": np.asarray(bags.table["percentiles"][number], np.float32).reshape(4, 4),
            "labels": labels[number].astype(np.float32),
        }


def training_dataset(bags: Bags, numbers: np.ndarray, size: int, cells_per_bag: int, bags_per_batch: int, seed: int):
    """An endless tf.data pipeline of training batches; the order depends on `seed` and nothing else.

    Yields
    ------
    inputs : dict
        `cells` uint8 (B, K, S, S, 4), `percentiles` float32 (B, 4, 4), `valid` float32 (B, K).
    targets : dict
        `cells` (B, K, 19): the field's labels inherited by each cell; `field` (B, 19).
    weights : dict
        `cells` (B, K): the validity; `field` (B,): ones.
    """
    import tensorflow as tf

    blank = encode_crop(np.zeros((size, size, 4), np.uint8))

    def draw():
        epoch = 0
        while True:
            yield from draw_bags(bags, numbers, cells_per_bag, np.random.default_rng([seed, epoch]), blank)
            epoch += 1

    def decode(bag):
        cells = tf.stack([decode_tensor(bag["crops"][k], size) for k in range(cells_per_bag)])
        inputs = {"cells": cells, "percentiles": bag["percentiles"], "valid": bag["valid"]}
        inherited = tf.tile(bag["labels"][None], [cells_per_bag, 1])
        return inputs, {"cells": inherited, "field": bag["labels"]}, {"cells": bag["valid"], "field": 1.0}

    signature = {
        "crops": tf.TensorSpec((cells_per_bag,), tf.string),
        "valid": tf.TensorSpec((cells_per_bag,), tf.float32),
        "percentiles": tf.TensorSpec((4, 4), tf.float32),
        "labels": tf.TensorSpec((N_CLASSES,), tf.float32),
    }
    drawn = tf.data.Dataset.from_generator(draw, output_signature=signature)
    decoded = drawn.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return decoded.batch(bags_per_batch, drop_remainder=True).prefetch(tf.data.AUTOTUNE)


def cell_dataset(bags: Bags, numbers: np.ndarray, size: int, batch: int):
    """A tf.data pipeline over all cells of the given bags, in order: `cells` uint8 (N, S, S, 4), `percentiles`."""
    import tensorflow as tf

    def cells():
        for number in numbers:
            percentiles = np.asarray(bags.table["percentiles"][number], np.float32).reshape(4, 4)
            for png in bags.crops(number):
                yield png, percentiles

    def decode(png, percentiles):
        return {"cells": decode_tensor(png, size), "percentiles": percentiles}

    signature = (tf.TensorSpec((), tf.string), tf.TensorSpec((4, 4), tf.float32))
    one_by_one = tf.data.Dataset.from_generator(cells, output_signature=signature)
    return one_by_one.map(decode, num_parallel_calls=tf.data.AUTOTUNE).batch(batch).prefetch(tf.data.AUTOTUNE)


def decode_tensor(png, size: int):
    """A crop's PNG as a uint8 tensor (S, S, 4): the four planes of RGBA are red, green, blue, yellow."""
    import tensorflow as tf

    return tf.ensure_shape(tf.io.decode_png(png, channels=4), (size, size, 4))


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
