"""A data set: its splits, tables and files, in any of the accepted layouts."""

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils.labels import N_CLASSES, parse_labels

CHANNELS = ("red", "green", "blue", "yellow")  # microtubules, protein of interest, nucleus, endoplasmic reticulum
EXTENSIONS = (".png", ".jpg", ".jpeg", ".tif", ".tiff")
PIXEL_SIZE_UM = 0.08  # of the competition's fields


@dataclass(frozen=True)
class Dataset:
    """A data set, opened by `open_dataset`."""

    root: Path
    folders: dict[str, Path]  # image folder of each split there is, "train" before "test"
    pixel_size_um: float  # from dataset.json, else 0.08
    files: dict = field(repr=False)  # per split: image ID → sorted names of its channel files
    labels: dict = field(repr=False)  # image ID → uint8 (19,) of train.csv; empty without a train split
    sample_submission: pd.DataFrame | None = field(repr=False)  # as of `read_sample`, where the data set has one

    def image_ids(self, split: str) -> list[str]:
        """Sorted IDs of a split: those of ``train.csv`` or ``sample_submission.csv``, else of the files."""
        if split == "train":
            return sorted(self.labels)
        return sorted(self.files[split] if self.sample_submission is None else self.sample_submission["ID"])

    def label_vectors(self, split: str, image_ids: list[str]) -> np.ndarray:
        """Labels of the given fields, int8 (n, 19); −1 where they are not known."""
        if split != "train" or not image_ids:
            return np.full((len(image_ids), N_CLASSES), -1, np.int8)
        return np.stack([self.labels[image_id] for image_id in image_ids]).astype(np.int8)

    def choose_splits(self, names: str) -> list[str]:
        """The splits named in ``"train,test"``, empty for all there are; ValueError if the data set lacks one."""
        chosen = [name.strip() for name in names.split(",")] if names else list(self.folders)
        missing = [name for name in chosen if name not in self.folders]
        if missing:
            raise ValueError(f"{self.root} has no {missing[0]!r} split; it has {', '.join(self.folders)}")
        return chosen

    def truth_path(self, split: str) -> Path | None:
        """The cell-level truth of a split, where the data set has one."""
        path = self.root / {"test": "truth.csv", "train": "truth_train.csv"}[split]
        return path if path.is_file() else None


def open_dataset(root: str | Path) -> Dataset:
    """Open a data set in any of the accepted layouts.

    ``train.csv`` + ``train/`` and/or ``test/`` (Kaggle's), ``train.csv`` + ``images/`` (a train split alone), or
    a folder of images (an unlabelled test split). The tables are checked here, so a bad one stops the run before
    any work: ValueError if one or ``dataset.json`` is malformed, FileNotFoundError if the folder, its images or the
    ``train.csv`` of its train split are missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(f"data folder {root} does not exist; `make demo` simulates one, --data names another")
    folders = {split: root / split for split in ("train", "test") if (root / split).is_dir()}
    if not folders and (root / "images").is_dir():
        folders = {"train" if (root / "train.csv").is_file() else "test": root / "images"}
    if not folders:
        folders = {"test": root}
    if "train" in folders and not (root / "train.csv").is_file():
        raise FileNotFoundError(f"{root} has a train split ({folders['train'].name}/) but no train.csv")
    files = {split: _list_fields(folder) for split, folder in folders.items()}
    if not any(files.values()):
        raise FileNotFoundError(f"no fields in {root}: expected {{ID}}_green.png in train/, test/ or images/")
    labels = read_label_table(root / "train.csv") if "train" in folders else {}
    sample = root / "sample_submission.csv"
    return Dataset(root, folders, _pixel_size(root), files, labels, read_sample(sample) if sample.is_file() else None)


def read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV as text, no value turned into NaN.

    Raises FileNotFoundError, or ValueError unless it has the given columns and at least one row.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} does not exist")
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except pd.errors.EmptyDataError:
        raise ValueError(f"{path} is empty; expected the columns {', '.join(columns)}") from None
    missing = [column for column in columns if column not in table.columns]
    if missing:
        raise ValueError(f"{path} has no column {', '.join(missing)}; it has {', '.join(table.columns)}")
    if table.empty:
        raise ValueError(f"{path} has a header but no rows")
    return table


def read_label_table(path: str | Path) -> dict[str, np.ndarray]:
    """Read ``train.csv``: image ID → label vector, uint8 (19,), in the order of the file.

    Raises FileNotFoundError, or ValueError, naming file and row, if it is empty, has no ``ID`` or ``Label``, an ID
    twice or with a path separator, or a label that is no integer 0…18.
    """
    path = Path(path)
    table = read_csv(path, ("ID", "Label"))
    check_ids(table["ID"], path)
    vectors = {}
    for row, (image_id, text) in enumerate(zip(table["ID"], table["Label"], strict=True), start=2):
        try:
            vectors[image_id] = parse_labels(text)
        except ValueError as error:
            raise ValueError(f"{path}, row {row} ({image_id}): {error}") from None
    return vectors


def read_sample(path: str | Path) -> pd.DataFrame:
    """Read ``sample_submission.csv``: `ID`, `ImageWidth`, `ImageHeight` (int, px) of each field.

    Raises FileNotFoundError, or ValueError if it is malformed.
    """
    columns = ("ID", "ImageWidth", "ImageHeight")
    table = read_csv(path, columns)
    check_ids(table["ID"], path)
    try:
        return table[list(columns)].astype({"ImageWidth": int, "ImageHeight": int})
    except ValueError as error:
        raise ValueError(f"{path}: ImageWidth and ImageHeight must be whole numbers ({error})") from None


def check_ids(image_ids, source: str | Path) -> None:
    """Raise ValueError unless the IDs are unique, not empty, and no paths: an ID is data, never a place."""
    series = pd.Series(image_ids, dtype=str)
    for image_id in series:
        if not image_id.strip() or image_id in (".", "..") or any(sign in image_id for sign in "/\\\0"):
            raise ValueError(f"{source}: ID {image_id!r} is empty or contains a path separator")
    repeated = series[series.duplicated()].unique()
    if len(repeated):
        raise ValueError(f"{source}: ID {repeated[0]!r} stands there more than once ({len(repeated)} such IDs)")


def _list_fields(folder: Path) -> dict[str, tuple[str, ...]]:
    fields = {}
    for name in sorted(os.listdir(folder)):
        stem, extension = os.path.splitext(name)
        image_id, _, channel = stem.rpartition("_")
        if image_id and channel in CHANNELS and extension.lower() in EXTENSIONS:
            fields.setdefault(image_id, []).append(name)
    return {image_id: tuple(names) for image_id, names in fields.items()}


def _pixel_size(root: Path) -> float:
    path = root / "dataset.json"
    if not path.is_file():
        return PIXEL_SIZE_UM
    try:
        pixel_size = float(json.loads(path.read_text()).get("pixel_size_um", PIXEL_SIZE_UM))
    except (ValueError, TypeError, AttributeError) as error:
        raise ValueError(f"{path}: not a JSON object with a number pixel_size_um ({error})") from None
    if not 0.01 <= pixel_size <= 2:
        raise ValueError(f"{path}: pixel_size_um is {pixel_size}; expected 0.01…2 µm a pixel")
    return pixel_size
