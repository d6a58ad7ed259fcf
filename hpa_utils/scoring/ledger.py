"""The ablation ledger: what each choice of the blend gains or costs on cell-level truth, with 95 % intervals."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import manifest, paths, tables
from hpa_utils.dataset import open_dataset
from hpa_utils.labels import N_CLASSES
from hpa_utils.scoring.metrics import match_detections
from hpa_utils.scoring.submission import read_truth
from hpa_utils.scoring.uncertainty import compare

# `inference` loads Keras: it is imported where it is used, for scoring alone must not.

COLUMNS = ["step", "choice", "score", "difference", "low", "high"]


def blend_ledger(
    truth: pd.DataFrame,
    fields: pd.DataFrame,
    cells: pd.DataFrame,
    predictions: pd.DataFrame,
    calibration=None,
    config=None,
    others: dict[str, pd.DataFrame] | None = None,
    absent: str = "false_positive",
    rounds: int = 1000,
) -> pd.DataFrame:
    """Score the blend with each step switched, alone, to each of its other choices.

    Parameters
    ----------
    truth : pandas.DataFrame
        As of `submission.read_truth`.
    fields, cells : pandas.DataFrame
        Field table (`image_id`, `height`, `width`) and cell table of the predicted fields.
    predictions : pandas.DataFrame
        As of `predict_bags`.
    calibration : inference.Calibration, optional
    config : inference.BlendConfig, optional
        The blend that all others are compared with; its defaults where None.
    others : dict, optional
        Name → other predictions of the same cells (with more augmentations, of other models), blended as `config` says.
    absent : {"false_positive", "ignored"}
        As of `metrics.match_detections`.
    rounds : int
        Of the bootstrap over fields.

    Returns
    -------
    pandas.DataFrame
        A row an alternative: `step` and `choice`, `score` (mean over 19 classes), its `difference` to the first row,
        which is `config` itself, and the difference's 95 % interval `low`…`high`. Fields without predictions count.

    Raises
    ------
    ValueError
        If a table of `others` is not of the same cells.
    """
    from hpa_utils.inference import BlendConfig, blend

    config = config or BlendConfig()
    alternatives = [("blend", "all as configured", predictions, config), *_switched(predictions, config)]
    alternatives += [
        ("predictions", name, _aligned(name, t, predictions), config) for name, t in (others or {}).items()
    ]
    matched = match_detections(truth, _detections(fields, cells, predictions), absent)
    first, rows = None, []
    for step, choice, table, blending in alternatives:
        matches = matched.reranked(blend(table, cells, blending, calibration).ravel())
        first = first or matches
        found = compare(first, matches, rounds)["mean_average_precision"]
        rows.append((step, choice, found["second"], found["difference"], found["low"], found["high"]))
    return pd.DataFrame(rows, columns=COLUMNS)


def run_ledger(
    out: str | Path,
    data: str | Path = "",
    model: str | Path = "",
    config: str | Path = "",
    others: dict[str, str] | None = None,
    absent: str = "false_positive",
    rounds: int = 1000,
) -> pd.DataFrame:
    """`blend_ledger` of a finished run; written to ``ledger.csv`` and ``ledger.md`` in its ``05_inference/``.

    Parameters
    ----------
    out, data : path
        Output root with 02 and 05; data set root with the truth of the split that 05 predicted.
    model : path
        Model folder whose calibration is used; empty: ``04_train`` of the output root.
    config : path
        JSON of overrides, section ``blending``.
    others : dict, optional
        Name → path of another ``predictions.parquet`` of the same cells.

    Raises
    ------
    FileNotFoundError, ValueError
        If a stage or the truth is missing, or predictions are of other cells.
    """
    from hpa_utils.inference import BlendConfig, read_calibration

    dataset, stage = open_dataset(paths.find_data(data)), paths.find_stage(out, "05_inference")
    split = manifest.read_manifest(stage)["configuration"]["split"]
    path = dataset.truth_path(split)
    if path is None:
        raise FileNotFoundError(f"{dataset.root} has no cell-level truth of its {split} split: nothing to compare with")
    segmented = paths.find_stages(out, "02_segmentation")
    fields, cells = (tables.read_parts([made / table for made in segmented]) for table in ("fields", "cells"))
    cells = cells[cells["split"] == split]
    names = {"": stage / "predictions.parquet", **(others or {})}
    predictions = {name: tables.read_keyed(source, cells) for name, source in names.items()}
    calibration = read_calibration(paths.find_model(out, model))
    blending = manifest.configure(BlendConfig, "blending", config)
    own = predictions.pop("")
    table = blend_ledger(read_truth(path), fields, cells, own, calibration, blending, predictions, absent, rounds)
    with paths.atomic_write(stage / "ledger.csv") as temporary:
        table.to_csv(temporary, index=False)
    with paths.atomic_write(stage / "ledger.md") as temporary:
        temporary.write_text(ledger_text(table))
    return table


def ledger_text(table: pd.DataFrame) -> str:
    """The ledger as a Markdown table; a difference whose interval leaves out 0 is bold."""
    lines = ["| step | choice | score | difference | 95 % interval |", "| --- | --- | --- | --- | --- |"]
    for row in table.itertuples():
        difference = f"{row.difference:+.4f}"
        if row.low > 0 or row.high < 0:
            difference = f"**{difference}**"
        cells = (row.step, row.choice, f"{row.score:.4f}", difference, f"{row.low:+.4f} … {row.high:+.4f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _switched(predictions: pd.DataFrame, config) -> list[tuple]:
    """The blend with no step at all, and with each step switched to each of its other choices."""
    from hpa_utils.inference.blending import CHOICES

    plain = dataclasses.replace(config, **{name: choices[0] for name, choices in CHOICES.items()})
    rows = [("blend", "the cell's scores alone", predictions, plain)]
    for step, choices in CHOICES.items():
        for choice in choices:
            if choice != getattr(config, step):
                rows.append((step, choice, predictions, dataclasses.replace(config, **{step: choice})))
    return rows


def _aligned(name: str, table: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """`table` in the order of `predictions`."""
    keys = ["image_id", "cell_id"]
    joined = predictions[keys].merge(table, on=keys, how="left", validate="one_to_one", indicator=True)
    if len(table) != len(predictions) or (joined["_merge"] != "both").any():
        raise ValueError(f"predictions {name!r} are of other cells than those they are compared with")
    return joined.drop(columns="_merge")


def _detections(fields: pd.DataFrame, cells: pd.DataFrame, predictions: pd.DataFrame) -> pd.DataFrame:
    """19 detections a cell, in the order of `predictions`; their confidences come later."""
    keys = ["image_id", "cell_id"]
    table = predictions[keys].merge(cells[[*keys, "rle"]], on=keys, how="left", validate="one_to_one")
    table = table.merge(fields[["image_id", "height", "width"]], on="image_id", how="left", validate="many_to_one")
    table = table.rename(columns={"rle": "counts"}).loc[table.index.repeat(N_CLASSES)].reset_index(drop=True)
    return table.assign(label=np.tile(np.arange(N_CLASSES), len(predictions)), confidence=0.0)
