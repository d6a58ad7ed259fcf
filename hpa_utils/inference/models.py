"""The trained models of a model folder."""

from pathlib import Path

from hpa_utils.model.backend import keras


def load_models(folder: str | Path) -> list:
    """The models of a model folder: its ``fold_*.keras`` where there are several, else ``model.keras``.

    Raises
    ------
    FileNotFoundError
        If the folder holds no model.
    """
    folder = Path(folder)
    paths = sorted(folder.glob("fold_*.keras")) or [folder / "model.keras"]
    if not paths[0].is_file():
        raise FileNotFoundError(f"no model.keras in {folder}: run 04_train first, or name a model folder")
    return [keras.models.load_model(path, compile=False) for path in paths]
