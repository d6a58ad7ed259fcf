"""Crop sets read back: a cell's crop by its number, its bytes and no others."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from hpa_utils import paths, tables
from hpa_utils.crops import INDEX, decode_crop

READERS = 4  # threads that read a batch: on Kaggle's network disk each crop is waited for
_POOL = ThreadPoolExecutor(READERS)


def open_crops(
    out: str | Path, name: str, split: str, extra_outputs: str | Path = ""
) -> tuple["CropSet", pd.DataFrame, pd.DataFrame]:
    """A crop set of an output root (else of Kaggle's inputs), maybe mixed with that of another root, and its tables.

    The tables are the field table, a row each of `crops.image_ids`, in their order; and the cell table of these fields,
    of a crop set of whole fields `tables.whole_fields`. Raises FileNotFoundError if 02 or 03 has not finished;
    ValueError if the split has no cells, or the crops were cut from other ones.
    """
    segmented = paths.find_stages(out, "02_segmentation", extra_outputs)
    crops = CropSet(paths.find_stages(out, f"03_cell_crops/{name}", extra_outputs), split)
    if not len(crops):
        what = f"crop set {name} has no cell of the {split} split: there is nothing to learn from"
        raise ValueError(f"{what}; see the fields in 02_segmentation: is pixel_size_um in dataset.json their own?")
    fields = tables.read_parts([folder / "fields" for folder in segmented], split=split)
    fields = fields.set_index("image_id", drop=False).loc[crops.image_ids].reset_index(drop=True)
    if crops.whole:
        cells = tables.whole_fields(fields)
    else:
        cells = tables.read_parts([folder / "cells" for folder in segmented], split=split)
        cells = cells[cells["image_id"].isin(crops.image_ids)].reset_index(drop=True)
    crops.check_cells(cells)
    return crops, fields, cells


class CropSet:
    """The crops of a split, read by the number of their cell.

    Each folder holds parts of the same crop set: several for shards made apart, or for other data mixed in. A part
    found twice is read once. With a `name`, only the part with this file name is read.

    Its attributes: `size`, side of the crops, px; `whole`, whether they are whole fields; `image_ids`, str (F,), the
    fields; and of each cell, int (n,), `field`, number of its field in `image_ids`, `cell_id`, its number in the field,
    `length`, bytes of its crop.

    Raises FileNotFoundError if the split has no part in any of the folders, or a part lacks its crops; ValueError if
    two parts hold the same field or crops of different sizes.
    """

    def __init__(self, folders: list[Path], split: str, name: str = ""):
        found = [path for folder in folders for path in Path(folder).glob(name or f"part-{split}-*.parquet")]
        if not found:
            raise FileNotFoundError(f"no crops of the {split} split in {', '.join(map(str, folders))}")
        metadata = {path: tables.part_metadata(path) for path in found}
        once = {(path.name, metadata[path].get("key", "")): path for path in reversed(found)}
        paths = sorted(once.values(), key=lambda path: path.name)
        parts = [pq.read_table(path) for path in paths]
        tables.check_disjoint({path: part["image_id"].unique().to_pylist() for path, part in zip(paths, parts)})
        made = [metadata[path] for path in paths]
        sizes = {int(own["size"]) for own in made}
        if len(sizes) > 1:
            found = " and ".join(map(str, sorted(sizes)))
            raise ValueError(f"crops of {found} px in {', '.join(map(str, folders))}: name crop sets of one size")
        self.size, self.whole = sizes.pop(), made[0].get("whole") == "True"
        self._files = [os.open(path.with_suffix(".crops"), os.O_RDONLY) for path in paths]
        self._file = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        table = pa.concat_tables(part.replace_schema_metadata() for part in parts)
        image_ids = table["image_id"].combine_chunks().dictionary_encode()
        self.image_ids = np.asarray(image_ids.dictionary.to_pylist(), object)
        self.field = image_ids.indices.to_numpy(zero_copy_only=False).astype(np.int32)
        self.cell_id, self.offset, self.length, self.um_per_px = (table[name].to_numpy() for name in INDEX.names[1:])
        self._fingerprints = {path: own["cells_fingerprint"] for path, own in zip(paths, made)}

    def __len__(self):
        return len(self.field)

    def __del__(self):
        for file in getattr(self, "_files", []):
            os.close(file)

    def read(self, cells: np.ndarray) -> np.ndarray:
        """The crops of these cells (their numbers 0…n − 1), uint8 (len(cells), S, S, 4), from any number of threads.

        Raises ValueError, naming the field and the cell, if its bytes are damaged.
        """
        cells = np.asarray(cells)
        crops = np.empty((len(cells), self.size, self.size, 4), np.uint8)
        shares = [slice(first, None, READERS) for first in range(READERS)]
        list(_POOL.map(self._read_into, [crops[share] for share in shares], [cells[share] for share in shares]))
        return crops

    def _read_into(self, crops: np.ndarray, cells: np.ndarray) -> None:
        for cell, crop in zip(cells.tolist(), crops, strict=True):
            data = os.pread(self._files[self._file[cell]], int(self.length[cell]), int(self.offset[cell]))
            try:
                decode_crop(data, self.size, crop)
            except (OSError, ValueError):
                image_id = self.image_ids[self.field[cell]]
                raise ValueError(f"the crop of cell {self.cell_id[cell]} of field {image_id} is damaged") from None

    def keys(self) -> pd.DataFrame:
        """`image_id` and `cell_id` int64 of each cell."""
        return pd.DataFrame({"image_id": self.image_ids[self.field], "cell_id": self.cell_id.astype(np.int64)})

    def find(self, table: pd.DataFrame) -> np.ndarray:
        """Numbers of the cells that the rows of a table name by `image_id` and `cell_id`, int (m,); −1 for no crop."""
        keys = pd.MultiIndex.from_frame(self.keys())
        wanted = table[["image_id", "cell_id"]].astype({"image_id": object, "cell_id": np.int64})
        return keys.get_indexer(pd.MultiIndex.from_frame(wanted))

    def check_cells(self, cells: pd.DataFrame) -> None:
        """Raise ValueError unless the crops were cut from these cells."""
        part_of = pd.Series(self._file).groupby(self.field).first()
        for number, (path, fingerprint) in enumerate(self._fingerprints.items()):
            own = cells["image_id"].isin(self.image_ids[part_of.index[part_of == number]])
            tables.check_cells(fingerprint, cells[own], path)
