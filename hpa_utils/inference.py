"""Predictions of the parts of a crop set by one model, kept until all are done."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import manifest, tables
from hpa_utils.crop_sets import CropSet
from hpa_utils.model import keras
from hpa_utils.paths import find_stages
from hpa_utils.prediction import predict_logits, sigmoid


@dataclass(frozen=True)
class Part:
    """The cells of one part of a crop set."""

    name: str  # file name of the part
    key: str  # digest of what its crops are made from
    crops: CropSet
    percentiles: np.ndarray  # float32 (F, 4, 4), of the fields of `crops.image_ids`
    rows: np.ndarray  # int (n,): row of each cell in the cell table


def load_network(folder: str | Path) -> keras.Model:
    """The network of a model folder, not compiled."""
    return keras.models.load_model(Path(folder) / "model.keras", compile=False)


def open_parts(out: str | Path, config: dict, split: str, fields: pd.DataFrame, cells: pd.DataFrame) -> list[Part]:
    """The parts of the crop set that a model of this configuration was trained on, with the tables of the split.

    Raises
    ------
    FileNotFoundError
        If there is no such crop set.
    ValueError
        If it was made otherwise, or from other cells.
    """
    wanted, parts = config["crops"], []
    folders = find_stages(out, f"03_cell_crops/{wanted['name']}")
    for folder in folders:
        made = manifest.read_manifest(folder)["configuration"]["crops"]
        manifest.check_same("crops", wanted["config"], made["config"], f"model {config['name']}", folder)
    index, fields = pd.MultiIndex.from_frame(cells[["image_id", "cell_id"]]), fields.set_index("image_id")
    for path in tables.list_parts(folders, split):
        key = tables.part_key(path)
        if key in {part.key for part in parts}:  # in several inputs
            continue
        crops = CropSet([path.parent], split, path.name)
        crops.check_cells(cells)
        percentiles = tables.percentile_array(fields.loc[crops.image_ids])
        rows = index.get_indexer(pd.MultiIndex.from_frame(crops.keys()))
        parts.append(Part(path.name, key, crops, percentiles, rows))
    return parts


def predict_part(
    part: Part, network: keras.Model, view: int, path: str | Path, made_from: str, reuse: bool = True
) -> np.ndarray:
    """Probabilities of all cells of a part by one model, float32 (n, 19), of one view of their crops.

    Parameters
    ----------
    path : path
        Where they are kept, and read from next time.
    made_from : str
        SHA-256 of the model's file: a file made from another one is not read.
    """
    key = manifest.digest([manifest.FORMAT, part.key, made_from, view])
    if reuse and tables.part_key(path) == key:
        return tables.read_part(path).to_numpy(np.float32)
    cells = np.arange(len(part.crops))
    probabilities = sigmoid(predict_logits(network, part.crops, part.percentiles, cells, view=view)).astype(np.float32)
    tables.write_table(path, pd.DataFrame(probabilities, columns=tables.CELL_COLUMNS), {"key": key})
    return probabilities
