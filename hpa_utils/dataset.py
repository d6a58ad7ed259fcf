"""A data set: its splits, tables and files, in any of the accepted layouts."""

import contextlib
import functools
import os
import unicodedata
from dataclasses import dataclass, field
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import planes
from hpa_utils.checks import check_settings, parse_json
from hpa_utils.csv_files import read_csv
from hpa_utils.labels import N_CLASSES, parse_labels
from hpa_utils.paths import kaggle_folder

CHANNELS = ("red", "green", "blue", "yellow")  # microtubules, protein of interest, nucleus, endoplasmic reticulum
EXTENSIONS = (".png", ".tif", ".tiff", ".jpg", ".jpeg")  # in this order, where a channel has several files
PIXEL_SIZE_UM = 0.08  # of the competition's fields
SAMPLE = 8  # fields of a split that are looked at for the range of brightness
SETTINGS = {"pixel_size_um": float, "bit_depth": int}  # keys of dataset.json; the simulator adds its own
SIMULATED = ("simulate_version", "n_train", "n_test", "size", "seed", "weakness", "rare", "prior")


@dataclass(frozen=True)
class Dataset:
    """A data set, opened by `open_dataset`."""

    root: Path
    folders: dict[str, Path]  # image folder of each split there is, "train" before "test"
    pixel_size_um: float  # from dataset.json, else 0.08
    given_depth: int  # bit_depth of dataset.json, 0 where it says nothing
    files: dict = field(repr=False)  # per split: image ID → channel → name of its file
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

    @functools.cached_property
    def bit_depth(self) -> int:
        """White is 2^bit_depth − 1 in files of 16 bit: as ``dataset.json`` says, else the least that a sample fits."""
        return self.given_depth or planes.fitting_depth(self._brightest)

    @property
    def range_note(self) -> str:
        """The range of brightness and where it is known from, for people."""
        if self.given_depth or not self._brightest:
            return f"{self.bit_depth} bit{', as dataset.json says' if self.given_depth else ''}"
        found = f"the brightest pixel of a sample is {self._brightest:,}"
        return f'{self.bit_depth} bit in files of 16: {found}; "bit_depth" in dataset.json overrules it'

    @functools.cached_property
    def _brightest(self) -> int:
        kinds = [extension for extension in EXTENSIONS if not extension.startswith(".jp")]  # a JPEG has 8 bit
        return max(self._brightest_of(split, kind) for split in self.folders for kind in kinds)

    def _brightest_of(self, split: str, kind: str) -> int:
        """The brightest value of a few fields, spread over those of a kind of file; 0 if the first file has 8 bit."""
        fields, brightest = self.files[split], 0
        ids = sorted(i for i, names in fields.items() if any(name.lower().endswith(kind) for name in names.values()))
        for place in np.linspace(0, len(ids) - 1, min(len(ids), SAMPLE)).astype(int):
            for channel, name in fields[ids[place]].items():
                try:
                    plane = planes.read_plane(self.folders[split] / name, channel)
                except (OSError, ValueError):
                    continue  # the field will be set aside
                if plane.dtype == np.uint8 and not brightest:
                    return 0
                brightest = max(brightest, planes.brightest_value(plane))
        return brightest

    @functools.cached_property
    def stamps(self) -> dict[str, dict[str, list]]:
        """What changed images are known by: split → image ID → name, bytes and time (ns) of each of its files.

        Where a look at each file takes long, on Kaggle's inputs, which do not change, these are the names alone.
        """
        stamps = {}
        with ThreadPool(16) as pool:  # a network disk answers many at once
            for split, fields in self.files.items():
                is_mounted = self.folders[split].resolve().is_relative_to(kaggle_folder("input").resolve())
                stamp = functools.partial(_stamp, self.folders[split], not is_mounted)
                stamps[split] = dict(zip(fields, pool.map(stamp, fields.values()), strict=True))
        return stamps

    def truth_path(self, split: str) -> Path | None:
        """The cell-level truth of a split, where the data set has one."""
        path = self.root / {"test": "truth.csv", "train": "truth_train.csv"}[split]
        return path if path.is_file() else None


def open_dataset(root: str | Path) -> Dataset:
    """Open a data set in any of the accepted layouts.

    ``train.csv`` + ``train/`` and/or ``test/`` (Kaggle's), ``train.csv`` + ``images/`` (a train split alone), or
    a folder of images (an unlabelled test split). The tables are checked here, so a bad one stops the run before
    any work: ValueError if one or ``dataset.json`` is malformed, if no field of a split has files, or if a field is in
    both splits; FileNotFoundError if the folder, its images or the ``train.csv`` of its train split are missing.
    """
    root = Path(root)
    if not root.is_dir():
        raise FileNotFoundError(
            f"data folder {root} does not exist: set `data` to the folder of the data set, in a notebook in its "
            "parameters cell; on Kaggle, attach the competition (Add Input → Competition)"
        )
    folders = {split: root / split for split in ("train", "test") if (root / split).is_dir()}
    if not folders and (root / "images").is_dir():
        folders = {"train" if (root / "train.csv").is_file() else "test": root / "images"}
    if not folders:
        folders = {"test": root}
    if "train" in folders and not (root / "train.csv").is_file():
        raise FileNotFoundError(f"{root} has a train split ({folders['train'].name}/) but no train.csv")
    files = {split: list_fields(folder) for split, folder in folders.items()}
    if not any(files.values()):
        raise FileNotFoundError(f"no fields in {root}: expected {{ID}}_green.png in train/, test/ or images/")
    labels = read_label_table(root / "train.csv") if "train" in folders else {}
    sample = root / "sample_submission.csv"
    sample = read_sample(sample) if sample.is_file() else None
    tabled = {"train": labels, "test": [] if sample is None else sample["ID"]}
    files = {split: _called_as_in(tabled[split], fields) for split, fields in files.items()}
    dataset = Dataset(root, folders, *_settings(root), files, labels, sample)
    _check_splits(dataset)
    return dataset


def read_label_table(path: str | Path) -> dict[str, np.ndarray]:
    """Read ``train.csv``: image ID → label vector, uint8 (19,), in the order of the file.

    Raises FileNotFoundError, or ValueError, naming file and row, if it is empty, has no ``ID`` or ``Label``, an ID
    twice or with a path separator, or a label that is no integer 0…18.
    """
    table = read_csv(path, ("ID", "Label"))
    check_ids(table["ID"], path)
    vectors = {}
    for row, image_id, text in table.itertuples():
        try:
            vectors[image_id] = parse_labels(text)
        except ValueError as error:
            raise ValueError(f"{path}, row {row} ({image_id}): {error}") from None
    return vectors


def read_sample(path: str | Path) -> pd.DataFrame:
    """Read ``sample_submission.csv``: `ID`, `ImageWidth`, `ImageHeight` (int, px) of each field.

    Raises FileNotFoundError, or ValueError, naming file and row, if it is malformed.
    """
    table = read_csv(path, ("ID", "ImageWidth", "ImageHeight"))
    check_ids(table["ID"], path)
    for row, _, *size in table.itertuples():
        if not all(text.isascii() and text.isdigit() and int(text) for text in size):
            found = f"ImageWidth × ImageHeight is {' × '.join(size)!r}"
            raise ValueError(f"{path}, row {row}: {found}; expected two whole numbers, px")
    return table.astype({"ImageWidth": int, "ImageHeight": int}).reset_index(drop=True)


def check_ids(image_ids: pd.Series, source: str | Path) -> None:
    """Raise ValueError unless the IDs are unique, not empty, and no paths: an ID is data, never a place.

    Their index has the rows of the file `source` (`csv_files.read_csv`).
    """
    first_row = {}
    for row, image_id in image_ids.items():
        bare = image_id.strip()
        if not bare or bare != image_id or bare in (".", "..") or any(sign in bare for sign in "/\\\0"):
            what = "is empty, or has a path separator or spaces at an end; expected what its files' names begin with"
            raise ValueError(f"{source}, row {row}: ID {image_id!r} {what}")
        if first_row.setdefault(image_id, row) != row:
            what = f"stands there more than once, first in row {first_row[image_id]}; keep one of them"
            raise ValueError(f"{source}, row {row}: ID {image_id!r} {what}")


def list_fields(folder: str | Path) -> dict[str, dict[str, str]]:
    """The fields of an image folder, by one listing: image ID (in NFC) → channel → name of its file.

    Hidden files are none. Where a channel has several files, the first of `EXTENSIONS` is taken. The atlas's composites
    (``ID_blue_red_green.jpg``) would be fields called ``ID_blue_red``: such an ID has to have all four channels.
    """
    found = []
    for name in os.listdir(folder):
        stem, extension = os.path.splitext(name)
        image_id, _, channel = unicodedata.normalize("NFC", stem).rpartition("_")
        if image_id and not name.startswith(".") and channel.lower() in CHANNELS and extension.lower() in EXTENSIONS:
            found.append((image_id, channel.lower(), EXTENSIONS.index(extension.lower()), name))
    fields = {}
    for image_id, channel, _, name in sorted(found):
        fields.setdefault(image_id, {}).setdefault(channel, name)
    composites = {i for i in fields if i.rpartition("_")[2].lower() in CHANNELS and len(fields[i]) < len(CHANNELS)}
    return {image_id: names for image_id, names in fields.items() if image_id not in composites}


def _called_as_in(ids, fields: dict[str, dict]) -> dict[str, dict]:
    """The listed fields under the IDs that a table has for them, which may be composed in another Unicode form."""
    own = {unicodedata.normalize("NFC", image_id): image_id for image_id in ids}
    return {own.get(image_id, image_id): names for image_id, names in fields.items()}


def _stamp(folder: Path, looked_at: bool, names: dict[str, str]) -> list:
    stamps = [[name] for name in names.values()]
    for stamp in stamps if looked_at else []:
        with contextlib.suppress(OSError):  # a dead link
            found = os.stat(folder / stamp[0])
            stamp += found.st_size, found.st_mtime_ns
    return stamps


def _check_splits(dataset: Dataset) -> None:
    """Raise ValueError if a table names none of the fields of its folder, or a field is in both splits."""
    for split, files in dataset.files.items():
        ids = dataset.image_ids(split)
        if files and not any(image_id in files for image_id in ids):
            table, folder = ("train.csv" if split == "train" else "sample_submission.csv"), dataset.folders[split].name
            what = f"none of its {len(ids):,} IDs, such as {ids[0]!r}, has files in {folder}/"
            raise ValueError(f"{dataset.root / table}: {what}, which has {next(iter(files))!r}; take their own table")
    both = set.intersection(*(set(dataset.image_ids(split)) for split in dataset.folders))
    if len(dataset.folders) == 2 and both:
        what = f"field {min(both)!r} is in train and in test ({len(both):,} such fields)"
        raise ValueError(f"{dataset.root}: {what}; remove it from one of the two, or give it another ID there")


def _settings(root: Path) -> tuple[float, int]:
    """`pixel_size_um` and `bit_depth` (0: not given) of ``dataset.json``."""
    path = root / "dataset.json"
    simulated = path.is_file() and b"simulate_version" in path.read_bytes()
    known = SETTINGS | (dict.fromkeys(SIMULATED, object) if simulated else {})
    found = check_settings(parse_json(path), known, path) if path.is_file() else {}
    pixel_size, bit_depth = found.get("pixel_size_um", PIXEL_SIZE_UM), found.get("bit_depth", 0)
    if not 0.01 <= pixel_size <= 2:
        raise ValueError(f"{path}: pixel_size_um is {pixel_size}; expected 0.01…2 µm a pixel")
    if "bit_depth" in found and not 8 <= bit_depth <= 16:
        raise ValueError(f"{path}: bit_depth is {bit_depth}; expected 8…16, such as 12: white is 4095")
    return float(pixel_size), bit_depth
