"""Predictions of the parts of a crop set by one model, kept until all are done."""

import json
import zipfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import manifest, tables
from hpa_utils.crop_sets import CropSet
from hpa_utils.crops import CropConfig
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
    rows: np.ndarray  # int (n,): row of each cell in the cell table, or of each whole field in the field table


def load_network(folder: str | Path) -> keras.Model:
    """The network of a model folder, not compiled; ValueError if this Keras cannot read it."""
    path = Path(folder) / "model.keras"
    try:
        return keras.models.load_model(path, compile=False)
    except (TypeError, ValueError) as error:
        with zipfile.ZipFile(path) as file:
            saved_by = json.loads(file.read("metadata.json"))["keras_version"]
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(
            f"{path} was saved by Keras {saved_by} and cannot be read by Keras {keras.__version__}: "
            f"train with the older of the two ({reason})"
        ) from None


def open_sets(out: str | Path, configs: Collection[dict], *tables_of_split) -> dict[str, list[Part]]:
    """`open_parts` of each crop set that models of these configurations look at, by its name, those of cells first.

    ValueError if all of them look at whole fields.
    """
    by_name = {config["crops"]["name"]: config for config in configs}
    whole = {name: CropConfig(**config["crops"]["config"]).whole for name, config in by_name.items()}
    if all(whole.values()):
        raise ValueError("all models look at whole fields, and cells need a score of their own: add a model of cells")
    ordered = sorted(by_name, key=lambda name: (whole[name], name))
    return {name: open_parts(out, by_name[name], *tables_of_split) for name in ordered}


def open_parts(out: str | Path, config: dict, split: str, fields: pd.DataFrame, cells: pd.DataFrame) -> list[Part]:
    """The parts of the crop set that a model of this configuration was trained on, with the tables of the split.

    Raises FileNotFoundError if there is no such crop set, ValueError if it was made otherwise or from other cells.
    """
    wanted, parts = config["crops"], []
    settings = CropConfig(**wanted["config"])
    cells = tables.whole_fields(fields) if settings.whole else cells
    folders = find_stages(out, f"03_cell_crops/{wanted['name']}")
    for folder in folders:
        made = manifest.read_manifest(folder)["configuration"]["crops"]
        made = asdict(CropConfig(**made["config"]))
        manifest.check_same("crops", asdict(settings), made, f"model {config['name']}", folder)
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

    Kept in the file `path`, and read from it next time if cells, view and model (SHA-256 `made_from`) are the same.
    """
    key = manifest.digest([manifest.FORMAT, part.key, made_from, view])
    if reuse and tables.part_key(path) == key:
        return tables.read_part(path).to_numpy(np.float32)
    probabilities = sigmoid(predict_logits(network, part.crops, part.percentiles, view=view)).astype(np.float32)
    tables.write_table(path, pd.DataFrame(probabilities, columns=tables.CELL_COLUMNS), {"key": key})
    return probabilities
