"""Model folders: written, found, chosen by member and round. Nothing here loads Keras."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import manifest, tables
from hpa_utils.crop_sets import CropSet
from hpa_utils.labels import N_CLASSES
from hpa_utils.paths import atomic_write, find_named, run_name, write_json

PLAN = "plan.json"  # in 04_train: names of the models that the runner has planned


def save_model(
    folder: str | Path,
    network,
    config: dict,
    history: pd.DataFrame,
    oof: pd.DataFrame,
    scores: dict,
    fingerprint: str,
) -> None:
    """Write a model folder, each file in one rename, ``config.json`` last.

    `oof` has `image_id`, `cell_id`, `p00`…`p18` of the held-out cells; the fingerprint is that of the cells learned.
    """
    folder = Path(folder)
    with atomic_write(folder / "model.keras") as temporary:
        network.save(temporary)
    with atomic_write(folder / "history.csv") as temporary:
        history.to_csv(temporary, index=False)
    tables.write_keyed(folder / "oof.parquet", oof, fingerprint)
    write_json(folder / "scores.json", scores)
    write_json(folder / "config.json", config)


def find_models(out: str | Path, model: str | Path = "") -> list[Path]:
    """The model folders that predict together.

    They are, of each member, those of its highest round whose planned folds are all finished. What ``04_train`` of the
    output root lacks is looked for among Kaggle's inputs; `model` is a model folder, or a folder of them, to use
    instead. Raises FileNotFoundError if there is no finished model.
    """
    model = Path(model) if model else None
    if model and (model / "config.json").is_file():
        manifest.read_config(model)
        return [model]
    named = sorted(path.parent for path in model.glob("*/config.json")) if model else []
    found = {folder.name: folder for folder in named} if model else finished_models(out)
    if not found:
        raise FileNotFoundError(
            f"no finished model in {model or Path(out) / '04_train'}: run notebook 04 first, or set `model` to a model "
            "folder; on Kaggle, attach the output of 04 (Add Input → Notebook Output)"
        )
    planned = set()
    for parent in {folder.parent for folder in found.values()}:
        planned |= set(manifest.read_json(parent / PLAN).get("models", []))
    configs = {name: manifest.read_config(folder) for name, folder in found.items()}
    return [found[name] for name in choose_models(configs, planned)]


def finished_models(out: str | Path) -> dict[str, Path]:
    """Name → folder of the models in ``04_train`` of the output root and of Kaggle's inputs that have been finished."""
    found = find_named(out, "04_train").items()
    return {name: folder for name, folder in found if manifest.read_manifest(folder).get("complete")}


def choose_models(configs: dict[str, dict], planned: set[str]) -> list[str]:
    """Names of the models to use: of each member, its highest round of which no planned model is missing.

    `configs` has the name of each finished model and its configuration; `planned` the names of all that the runner
    planned. If no round of a member is complete, its highest is used as far as it goes, with a warning.
    """
    chosen = []
    for member in sorted({config["name"] for config in configs.values()}):
        rounds, missing = {}, {}
        for name, config in configs.items():
            if config["name"] == member:
                rounds.setdefault(config["training_round"], []).append(name)
        for number in rounds:
            wanted = {name for name in planned if name.startswith(f"{member}-r{number}-")}
            missing[number] = sorted(wanted - set(configs))
        complete, last = [number for number in rounds if not missing[number]], max(rounds)
        if not complete:
            warnings.warn(f"no round of {member} is complete; missing: {', '.join(missing[last])}", stacklevel=2)
        chosen += sorted(rounds[max(complete, default=last)])
    return chosen


def out_of_fold(
    out: str | Path, name: str, training_round: int, n_folds: int, crops: CropSet, cells: pd.DataFrame
) -> np.ndarray:
    """Scores of cells by a member's models of a round that had not seen them, float32 (n, 19), as in the crop set.

    Raises FileNotFoundError, naming the models of the round that are missing; ValueError if a model was trained on
    other cells, or with another number of folds.
    """
    found, wanted = finished_models(out), [run_name(name, training_round, fold) for fold in range(n_folds)]
    missing = [one for one in wanted if one not in found]
    if missing:
        raise FileNotFoundError(
            f"round {training_round + 1} of {name} needs all {n_folds} models of round {training_round}; "
            f"missing: {', '.join(missing)}"
        )
    scores = np.full((len(crops), N_CLASSES), np.nan, np.float32)
    for one in wanted:
        learned = manifest.read_config(found[one])["n_folds"]
        if learned != n_folds:
            raise ValueError(f"{one} was trained with {learned} folds, not {n_folds}: its held-out fields are others")
        oof = tables.read_keyed(found[one] / "oof.parquet", cells)
        rows = crops.find(oof)
        scores[rows[rows >= 0]] = oof.loc[rows >= 0, tables.CELL_COLUMNS]
    return scores
