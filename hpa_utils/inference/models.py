"""The trained models of one or several model folders."""

import warnings
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path

from hpa_utils import manifest
from hpa_utils.inference.calibration import Calibration, mean_calibration, read_calibration
from hpa_utils.model.backend import keras
from hpa_utils.paths import find_model


@dataclass(frozen=True)
class Ensemble:
    """Models that predict together; opened by `open_ensemble`.

    Attributes
    ----------
    folders : tuple of Path
    models : tuple of keras.Model
        One of each folder first, then the second of each, and so on: the first few are as unlike as can be.
    digests : tuple of str
        SHA-256 of the models' files.
    crops : dict
        The crops configuration that all of them were trained on.
    segmenter : str
        What the first folder's cells came from.
    calibration : Calibration
        The mean of the folders'.
    """

    folders: tuple
    models: tuple = field(repr=False)
    digests: tuple
    crops: dict
    segmenter: str
    calibration: Calibration


def find_models(out: str | Path, folders: str = "") -> list[Path]:
    """The model folders given, joined by a comma, else ``04_train`` of the output root.

    Raises
    ------
    FileNotFoundError
        As `paths.find_model`.
    """
    return [find_model(out, folder.strip()) for folder in folders.split(",")]


def model_paths(folder: str | Path) -> list[Path]:
    """The models' files of a model folder: its ``fold_*.keras`` where there are several, else ``model.keras``.

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    """
    paths = sorted(Path(folder).glob("fold_*.keras")) or [Path(folder) / "model.keras"]
    if not paths[0].is_file():
        raise FileNotFoundError(f"no model.keras in {folder}: run 04_train first, or name a model folder")
    return paths


def load_models(folder: str | Path) -> list:
    """The models of a model folder (`model_paths`).

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    """
    return [keras.models.load_model(path, compile=False) for path in model_paths(folder)]


def open_ensemble(folders: list[Path]) -> Ensemble:
    """Load all models of the given model folders, and warn where their cells came from different segmenters.

    Raises
    ------
    FileNotFoundError
        If a folder holds no model or no ``config.json``.
    ValueError
        Naming the value, if two folders' crops configurations differ.
    """
    configs = [manifest.read_config(folder) for folder in folders]
    for config, folder in zip(configs, folders):
        manifest.check_same("crops", configs[0]["crops"], config["crops"], folders[0], folder)
        if config["segmenter"] != configs[0]["segmenter"]:
            named = f"{folder} learned cells from {config['segmenter']}, {folders[0]} from {configs[0]['segmenter']}"
            warnings.warn(named, stacklevel=2)
    by_turns = [path for row in zip_longest(*map(model_paths, folders)) for path in row if path]
    return Ensemble(
        tuple(folders),
        tuple(keras.models.load_model(path, compile=False) for path in by_turns),
        tuple(manifest.digest(path) for path in by_turns),
        configs[0]["crops"],
        configs[0]["segmenter"],
        mean_calibration([read_calibration(folder) for folder in folders]),
    )
