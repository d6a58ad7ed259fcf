"""What a segmentation looks like as a whole: summary, fields that look wrong, agreement with reference masks."""

import functools
import warnings
from pathlib import Path

import numpy as np
import pandas as pd

from hpa_utils import images, masks
from hpa_utils.dataset import Dataset
from hpa_utils.segmentation.agreement import Agreement, match_masks
from hpa_utils.segmentation.reference import has_mask, read_labels
from hpa_utils.segmentation.stream import attempt

GIANT = 6.0  # times the usual cell area from which a cell is probably several, or background
ODD = 3.5  # robust standard deviations from which a field is not like the others
NARROWEST = 0.15  # of log areas and log counts; fields that are all but alike are not told apart


def areas_um2(fields: pd.DataFrame, cells: pd.DataFrame, column: str = "area") -> pd.Series:
    """An area column of the cell table in µm²."""
    pixel_size = cells["image_id"].map(fields.set_index("image_id")["pixel_size_um"])
    return cells[column] * pixel_size.astype(float) ** 2


def summary(fields: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """A row a split: how many fields and cells, usual count and areas, share of cells cut by the image border."""
    read = fields[fields["error"] == ""]
    table = pd.DataFrame(
        {
            "fields": read.groupby("split").size(),
            "without cells": (read["n_cells"] == 0).groupby(read["split"]).sum(),
            "cells": read.groupby("split")["n_cells"].sum(),
            "cells a field (median)": read.groupby("split")["n_cells"].median(),
            "cell µm² (median)": areas_um2(fields, cells).groupby(cells["split"]).median(),
            "nucleus µm² (median)": areas_um2(fields, cells, "nucleus_area").groupby(cells["split"]).median(),
            "border cells": (cells["edge_fraction"] > 0).groupby(cells["split"]).mean(),
        }
    )
    return table.round(2)


def suspects(fields: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The fields that look wrong, worst first.

    A field looks wrong that has no cells, a cell `GIANT` times the usual area, or a median area or a count far
    from the other fields'.

    Returns
    -------
    pandas.DataFrame
        `image_id`, `split`, `height`, `width`, `n_cells`, `why` and `score`, 1 at the limit; fields set aside
        are not among them.
    """
    read = fields[fields["error"] == ""].set_index("image_id")
    area = areas_um2(fields, cells).groupby(cells["image_id"])
    usual = areas_um2(fields, cells).median()
    size_um2 = read["height"] * read["width"] * read["pixel_size_um"].astype(float) ** 2
    score = pd.DataFrame(
        {
            "no cells": (read["n_cells"] == 0) * 1e3,
            "giant cell": area.max() / (GIANT * usual),
            "unusual cell area": _oddity(np.log(area.median())),
            "unusual number of cells": _oddity(np.log((read["n_cells"] / size_um2)[read["n_cells"] > 0])),
        }
    ).reindex(read.index)
    score = score.fillna(0.0)
    reasons = [", ".join(score.columns[row >= 1]) for row in score.to_numpy()]
    table = read[["split", "height", "width", "n_cells"]].assign(why=reasons, score=score.max(axis=1).round(2))
    return table[table["score"] >= 1].sort_values("score", ascending=False, kind="stable").reset_index()


def _oddity(values: pd.Series) -> pd.Series:
    """Distance from the median in robust standard deviations, divided by `ODD`."""
    away = (values - values.median()).abs()
    return away / (ODD * max(1.4826 * away.median(), NARROWEST)) if len(values) else away


def field_and_labels(dataset: Dataset, cells: pd.DataFrame, row) -> tuple[np.ndarray, np.ndarray]:
    """A field, uint8 (H, W, 4), and the labels, uint16 (H, W), that the cell table holds of it.

    `row` is a row of the field table or of `suspects`, as ``itertuples`` gives it.
    """
    return images.read_field(dataset.folders[row.split], row.image_id), labels_of(cells, row)


def labels_of(cells: pd.DataFrame, row) -> np.ndarray:
    """The labels, uint16 (H, W), that the cell table holds of a field."""
    own = cells[cells["image_id"] == row.image_id]
    return masks.paint_labels(list(own["rle"]), list(own["cell_id"]), row.height, row.width)


def compare_with_masks(
    fields: pd.DataFrame, cells: pd.DataFrame, folder: str | Path, limit: int = 50, seed: int = 0
) -> tuple[pd.DataFrame, Agreement]:
    """Agreement with reference masks on at most `limit` of the fields that have one, drawn with `seed`.

    Returns
    -------
    (pandas.DataFrame, Agreement)
        A row a field, worst first: `image_id`, `cells`, `reference`, `hits`, `F1`, `IoU` (mean of the hits); and
        all of them together. The table is empty where there are no reference masks.
    """
    read = fields[fields["error"] == ""]
    known = read[[has_mask(Path(folder), image_id) for image_id in read["image_id"]]]
    chosen = np.sort(np.random.default_rng(seed).permutation(len(known))[:limit])
    rows, total = [], Agreement()
    for row in known.iloc[chosen].itertuples():
        reference = attempt(functools.partial(read_labels, Path(folder), shape=(row.height, row.width)), row.image_id)
        if isinstance(reference, Exception):  # the cells are found; a damaged mask must not stop their report
            warnings.warn(f"not compared: {reference}", stacklevel=2)
            continue
        found = match_masks(labels_of(cells, row), reference)
        total += found
        rows.append((row.image_id, found.cells, found.reference, found.hits, found.f1, found.mean_iou))
    table = pd.DataFrame(rows, columns=["image_id", "cells", "reference", "hits", "F1", "IoU"]).round(3)
    return table.sort_values("F1", kind="stable", ignore_index=True), total
