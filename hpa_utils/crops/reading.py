"""Bags read back by number."""

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from hpa_utils import tables
from hpa_utils.crops.bags import BAGS

LIGHT_COLUMNS = [name for name in BAGS.names if name != "crops"]


class Bags:
    """The bags of a split, read by number, from any number of threads.

    Parameters
    ----------
    folders : path, or sequence of paths
        Each holds ``part-*.parquet`` of `write_bags`: several for shards made apart, or for other data mixed in; or
        is one such part. A part found twice is read once.
    split : str

    Attributes
    ----------
    table : pandas.DataFrame
        A row a bag: every column but the crops.
    counts : numpy.ndarray
        int64 (n,), cells of each bag.

    Raises
    ------
    FileNotFoundError
        If the split has no part in any of the folders.
    ValueError
        If two parts hold the same field.
    """

    def __init__(self, folders: str | Path | Sequence[str | Path], split: str):
        paths = _find_parts([folders] if isinstance(folders, str | Path) else folders, split)
        self._files = [pq.ParquetFile(path, memory_map=True) for path in paths]
        self._locks = [threading.Lock() for _ in paths]  # a Parquet reader serves one thread at a time
        lights = [file.read(LIGHT_COLUMNS).to_pandas() for file in self._files]
        tables.check_disjoint({path: light["image_id"] for path, light in zip(paths, lights, strict=True)})
        self.table = pd.concat(lights, ignore_index=True)
        self.counts = self.table["cell_ids"].map(len).to_numpy(np.int64)
        self._places = [(file, row) for file, light in enumerate(lights) for row in range(len(light))]
        self._fingerprints = {
            frozenset(light["image_id"]): file.metadata.metadata[b"cells_fingerprint"].decode()
            for file, light in zip(self._files, lights, strict=True)
        }

    def __len__(self):
        return len(self.table)

    @property
    def labels(self) -> np.ndarray:
        """Weak labels of the bags, int8 (n, 19); −1 where unknown."""
        return tables.label_matrix(self.table)

    @property
    def percentiles(self) -> np.ndarray:
        """Brightness of the bags' fields, float32 (n, 4 channels, 4 of p1, p50, p99, p99.9)."""
        return np.asarray(self.table["percentiles"].tolist(), np.float32).reshape(-1, 4, 4)

    def views(self, number: int) -> list[np.ndarray]:
        """The PNGs of all cells of a bag, uint8 (bytes,), in the order of its `cell_ids`; nothing is copied."""
        file, row = self._places[number]
        with self._locks[file]:
            column = self._files[file].read_row_group(row, columns=["crops"], use_threads=False)["crops"]
        pngs = column.chunk(0).flatten()
        _, offsets, data = pngs.buffers()
        if data is None:
            return []
        offsets = np.frombuffer(offsets, np.int32)[pngs.offset : pngs.offset + len(pngs) + 1]
        data = np.frombuffer(data, np.uint8)
        return [data[start:end] for start, end in zip(offsets[:-1], offsets[1:])]

    def crops(self, number: int) -> list[bytes]:
        """The PNGs of all cells of a bag, in the order of its `cell_ids`."""
        return [view.tobytes() for view in self.views(number)]

    def check_cells(self, cells: pd.DataFrame) -> None:
        """Raise ValueError unless the bags were cut from these cells."""
        for image_ids, fingerprint in self._fingerprints.items():
            tables.check_cells(fingerprint, cells[cells["image_id"].isin(image_ids)], "a part of the bags")


def _find_parts(folders: Sequence[str | Path], split: str) -> list[Path]:
    """The parts of the split in all folders, by name; one that is in several of them once."""
    paths = [
        path
        for place in map(Path, folders)
        for path in ([place] if place.is_file() else place.glob(f"part-{split}-*.parquet"))
    ]
    if not paths:
        raise FileNotFoundError(f"no bags of the {split} split in {', '.join(map(str, folders))}")
    once = {(path.name, tables.part_key(path)): path for path in reversed(paths)}
    return sorted(once.values(), key=lambda path: path.name)
