"""The model folder."""

import shutil
from pathlib import Path

import keras

from hpa_utils.paths import atomic_write


def save_models(folder: str | Path, models: list[keras.Model]) -> None:
    """Write ``model.keras``, and ``fold_k.keras`` for each where there are several, each in one rename.

    The states from which training would be resumed are then removed.
    """
    folder = Path(folder)
    for old in folder.glob("fold_*.keras"):
        old.unlink()
    named = {"model": models[0]} | ({f"fold_{k}": model for k, model in enumerate(models)} if models[1:] else {})
    for name, model in named.items():
        with atomic_write(folder / f"{name}.keras") as temporary:
            model.save(temporary)
    shutil.rmtree(folder / "state", ignore_errors=True)
