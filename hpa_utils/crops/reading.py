"""Bags read back by number."""

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from hpa_utils import tables
from hpa_utils.crops.bags import BAGS

LIGHT_COLUMNS = [name for name in BAGS.names if name != "crops"]


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
