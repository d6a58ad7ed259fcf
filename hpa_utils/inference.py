"""Scores of cells and fields: logits of a network, and the predictions of a crop set's parts by each model, kept."""

import json
import zipfile
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import manifest, tables
from hpa_utils.batches import stream
from hpa_utils.checks import check_pixels
from hpa_utils.crop_sets import CropSet
from hpa_utils.crops import CropConfig
from hpa_utils.model import keras
from hpa_utils.paths import find_stages

TTA = (1, 2, 4, 8)  # how many variants of a crop may be looked at


def turn(crops: np.ndarray, view: int) -> np.ndarray:
    """One of the eight variants of crops uint8 (N, S, S, 4): how a square can be flipped and turned by right angles.

    0 as they are; 1 left and right swapped; 2 upside down; 3 both, half a turn; 4 to 7 the same of the crops
    transposed, rows for columns. So the first 1, 2, 4 or 8 are each closed under their flips and turns.
    """
    check_pixels(crops, "crops", axes=4)
    if not view:
        return crops
    pixels = np.ascontiguousarray(crops).view(np.uint32)[..., 0]  # four planes move as one number, faster
    pixels = pixels.swapaxes(1, 2) if view & 4 else pixels
    pixels = pixels[:, :: -1 if view & 2 else 1, :: -1 if view & 1 else 1]
    return np.ascontiguousarray(pixels)[..., None].view(np.uint8)


class _InOrder:
    """Batches of the given cells in their order, the last filled up: a network may be compiled anew for each shape."""

    def __init__(self, crops: CropSet, percentiles: np.ndarray, cells: np.ndarray, batch_size: int, view: int):
        self.crops, self.percentiles, self.batch_size, self.view = crops, percentiles, batch_size, view
        self.cells = np.resize(cells, -(-len(cells) // batch_size) * batch_size)

    def __len__(self) -> int:
        return len(self.cells) // self.batch_size

    def __getitem__(self, step: int):
        cells = self.cells[step * self.batch_size : (step + 1) * self.batch_size]
        return ((turn(self.crops.read(cells), self.view), self.percentiles[self.crops.field[cells]]),)


def predict_logits(
    network: keras.Model,
    crops: CropSet,
    percentiles: np.ndarray,
    cells: np.ndarray | None = None,
    batch_size: int = 64,
    view: int = 0,
) -> np.ndarray:
    """Logits of the cells with these numbers in a crop set, or of all, float32 (n, 19), of one view (`turn`) of them.

    The network takes crops (N, S, S, 4) in 0…255 and percentiles (N, 4, 4) of their fields, and gives logits (N, 19);
    `percentiles` are float32 (F, 4, 4), of the fields of `crops.image_ids`.
    """
    cells = np.arange(len(crops)) if cells is None else cells
    if not len(cells):
        return np.zeros((0, network.output_shape[-1]), np.float32)
    batches = _InOrder(crops, percentiles, cells, min(batch_size, len(cells)), view)
    return network.predict(stream(batches), verbose=0)[: len(cells)].astype(np.float32)


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits, float64."""
    return 1 / (1 + np.exp(-np.asarray(logits, np.float64)))


def logit(probabilities: np.ndarray) -> np.ndarray:
    """Logits of probabilities, float64; finite for 0 and 1, too."""
    clipped = np.clip(np.asarray(probabilities, np.float64), 1e-30, 1 - 1e-15)
    return np.log(clipped) - np.log1p(-clipped)


def field_mean(values: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Mean over the cells of a field, for each of its cells: values (n, k), numbers of the fields int (n,)."""
    count = np.bincount(field)
    sums = np.zeros((len(count), values.shape[1]))
    np.add.at(sums, field, values)
    return (sums / np.maximum(count, 1)[:, None])[field]


def field_max(values: np.ndarray, field: np.ndarray) -> np.ndarray:
    """Maximum over the cells of a field, for each of its cells; parameters as of `field_mean`."""
    highest = np.full((field.max(initial=-1) + 1, values.shape[1]), -np.inf)
    np.maximum.at(highest, field, values)
    return highest[field]


def as_confidences(values: np.ndarray) -> np.ndarray:
    """Float32 of float64 in [0, 1]: what float32 cannot hold is squeezed in below 1e-30, in its order, not made 0."""
    squeezed, small = np.array(values, np.float64), values < 1e-30
    squeezed[small] = 1e-30 / (1 + np.log(1e-30 / np.maximum(squeezed[small], np.finfo(float).tiny)))
    return squeezed.astype(np.float32)


def check_tta(tta: int) -> int:
    """The number of views, if a crop has so many that belong together; else ValueError."""
    if tta not in TTA:
        raise ValueError(f"tta is {tta}; expected one of {', '.join(map(str, TTA))}")
    return tta


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
