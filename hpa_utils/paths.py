"""Where things are: the data set, earlier stages' output, Kaggle's mounts; and how files are replaced."""

import contextlib
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
COMPETITION = "hpa-single-cell-image-classification"
REPOSITORY = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Dataset:
    """A data set root, opened by `open_dataset`.

    Attributes
    ----------
    root : Path
    folders : dict of str to Path
        Image folder of each split there is, ``train`` before ``test``.
    pixel_size_um : float
        From ``dataset.json``, else 0.08.
    files : dict of str to dict
        Per split: image ID → sorted names of its channel files, from one directory listing.
    """

    root: Path
    folders: dict
    pixel_size_um: float
    files: dict = field(repr=False)

    def image_ids(self, split: str) -> list[str]:
        """Sorted IDs of a split: those of ``train.csv`` or ``sample_submission.csv``, else of the files."""
        if split == "train":
            return sorted(self.labels["image_id"])
        sample = self.sample_submission
        return sorted(self.files[split]) if sample is None else sorted(sample["ID"])

    @property
    def labels(self) -> pd.DataFrame:
        """``train.csv`` as a table: `image_id` and `labels`, a uint8 vector (19,) a row."""
        return read_label_table(self.root / "train.csv")

    @property
    def sample_submission(self) -> pd.DataFrame | None:
        """``sample_submission.csv`` where there is one."""
        path = self.root / "sample_submission.csv"
        if not path.is_file():
            return None
        table = read_csv(path, ("ID", "ImageWidth", "ImageHeight", "PredictionString"))
        check_ids(table["ID"], path)
        return table.astype({"ImageWidth": int, "ImageHeight": int})

    def choose_splits(self, names: str) -> list[str]:
        """The splits named in ``"train,test"``; empty for all there are.

        Raises
        ------
        ValueError
            If the data set does not have one.
        """
        chosen = [name.strip() for name in names.split(",")] if names else list(self.folders)
        missing = [name for name in chosen if name not in self.folders]
        if missing:
            raise ValueError(f"{self.root} has no {missing[0]!r} split; it has {', '.join(self.folders)}")
        return chosen

    def truth_path(self, split: str) -> Path | None:
        """The cell-level truth of a split, where the data set has one."""
        path = self.root / {"test": "truth.csv", "train": "truth_train.csv"}[split]
        return path if path.is_file() else None

    def label_vectors(self, split: str, image_ids: list[str]) -> np.ndarray:
        """Labels of the given fields, int8 (n, 19); −1 where they are not known."""
        if split != "train":
            return np.full((len(image_ids), N_CLASSES), -1, np.int8)
        known = self.labels.set_index("image_id")["labels"]
        return np.stack([known[image_id] for image_id in image_ids]).astype(np.int8)


def open_dataset(root: str | Path) -> Dataset:
    """Open a data set in any of the accepted layouts.

    ``train.csv`` + ``train/`` and/or ``test/`` (Kaggle's), ``train.csv`` + ``images/`` (a train split alone), or
    a folder of images (an unlabelled test split). The tables are checked here, so a bad one stops the run before
    any work.

    Raises
    ------
    FileNotFoundError
        If the folder, its images or the ``train.csv`` of its train split are missing.
    ValueError
        If a table is malformed (`read_label_table`), or ``dataset.json`` is.
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
    dataset = Dataset(root, folders, _pixel_size(root), files)
    for split in folders:
        dataset.image_ids(split)
    return dataset


def read_csv(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """Read a CSV as text, no value turned into NaN; it must have the given columns and at least one row.

    Raises
    ------
    FileNotFoundError, ValueError
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


def read_label_table(path: str | Path) -> pd.DataFrame:
    """Read ``train.csv``.

    Returns
    -------
    pandas.DataFrame
        `image_id` (str) and `labels` (uint8 vector (19,) a row), in the order of the file.

    Raises
    ------
    FileNotFoundError
    ValueError
        Naming file and row, if it is empty, has no ``ID`` or ``Label``, an ID twice or with a path separator, or
        a label that is no integer 0…18.
    """
    path = Path(path)
    table = read_csv(path, ("ID", "Label"))
    check_ids(table["ID"], path)
    vectors = []
    for row, (image_id, text) in enumerate(zip(table["ID"], table["Label"], strict=True), start=2):
        try:
            vectors.append(parse_labels(text))
        except ValueError as error:
            raise ValueError(f"{path}, row {row} ({image_id}): {error}") from None
    return pd.DataFrame({"image_id": table["ID"], "labels": vectors})


def check_ids(image_ids, source: str | Path) -> None:
    """Raise ValueError unless the IDs are unique, not empty, and no paths: an ID is data, never a place."""
    series = pd.Series(image_ids, dtype=str)
    for image_id in series:
        if not image_id.strip() or image_id in (".", "..") or any(sign in image_id for sign in "/\\\0"):
            raise ValueError(f"{source}: ID {image_id!r} is empty or contains a path separator")
    repeated = series[series.duplicated()].unique()
    if len(repeated):
        raise ValueError(f"{source}: ID {repeated[0]!r} stands there more than once ({len(repeated)} such IDs)")


def find_data(root: str | Path = "") -> Path:
    """The data set root: `root`, else ``HPA_DATA``, else the competition on Kaggle, else ``runs/demo/data``."""
    if root or os.environ.get("HPA_DATA"):
        return Path(root or os.environ["HPA_DATA"])
    mounted = find_inputs(COMPETITION)
    return mounted[0] if mounted else REPOSITORY / "runs" / "demo" / "data"


def find_out(out: str | Path = "") -> Path:
    """The output root: `out`, else ``HPA_OUT``, else Kaggle's working folder, else ``runs/demo/out``."""
    if out or os.environ.get("HPA_OUT"):
        return Path(out or os.environ["HPA_OUT"])
    return Path("/kaggle/working") if on_kaggle() else REPOSITORY / "runs" / "demo" / "out"


def find_stage(out: str | Path, name: str) -> Path:
    """Folder of an earlier stage: in the output root, else among Kaggle's inputs.

    Raises
    ------
    FileNotFoundError
        Naming the notebook to run first.
    """
    places = [Path(out) / name, *find_inputs(name)]
    for folder in places:
        if (folder / "manifest.json").is_file():
            return folder
    raise FileNotFoundError(f"no finished {name} in {Path(out)}: run that notebook first (`--notebooks {name[:2]}`)")


def find_model(out: str | Path, folder: str | Path = "") -> Path:
    """A model folder: the one given, else ``04_train`` of the output root.

    Raises
    ------
    FileNotFoundError
        If the given folder has no ``config.json``, or 04 has not run.
    """
    if not folder:
        return find_stage(out, "04_train")
    if not (Path(folder) / "config.json").is_file():
        raise FileNotFoundError(f"{folder} is no model folder: it has no config.json")
    return Path(folder)


def find_inputs(name: str) -> list[Path]:
    """Files or folders called `name` under Kaggle's input mounts, in both of its layouts, shallowest first."""
    inputs = Path(os.environ.get("KAGGLE_INPUT", "/kaggle/input"))
    return [path for depth in range(5) for path in sorted(inputs.glob("*/" * depth + name))] if inputs.is_dir() else []


def on_kaggle() -> bool:
    """Whether this process runs in a Kaggle kernel."""
    return "KAGGLE_KERNEL_RUN_TYPE" in os.environ


def scoring_rerun() -> bool:
    """Whether Kaggle is rerunning this kernel with the hidden test set: then no earlier test output holds."""
    return bool(os.environ.get("KAGGLE_IS_COMPETITION_RERUN"))


@contextlib.contextmanager
def replacing(path: str | Path):
    """Yield a temporary path beside `path`; renamed to it when the block ends well, removed when it fails."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: str | Path, content: dict) -> None:
    """Write a JSON file in one rename."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")


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
