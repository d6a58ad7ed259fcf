"""What a segmentation looks like as a whole: areas, and the fields that look wrong."""

import contextlib

import numpy as np
import pandas as pd

from hpa_utils import images, masks
from hpa_utils.dataset import Dataset
from hpa_utils.segmentation.watershed import WORK_PIXEL, find_nuclei, shrink

GIANT = 6.0  # times the usual cell area from which a cell is probably several, or background
ODD = 3.5  # robust standard deviations from which a field is not like the others
NARROWEST = 0.15  # of log areas and log counts; fields that are all but alike are not told apart


def usual_nucleus(dataset: Dataset, split: str, count: int = 8) -> float:
    """Median area, µm², of the nuclei in the first fields of a split; 0 where none is found.

    They are looked for whatever the pixel size, as it is in doubt where they are far from HPA's: 80…350 µm².
    """
    areas = []
    for image_id in dataset.image_ids(split)[:count]:
        with contextlib.suppress(Exception):  # the field will be set aside
            blue = images.read_field_of(dataset, split, image_id)[..., 2]
            small = shrink(blue, max(WORK_PIXEL / 4, WORK_PIXEL * 512 / max(blue.shape)))
            pixel = dataset.pixel_size_um * len(blue) / len(small)
            areas.extend(np.bincount(find_nuclei(small, WORK_PIXEL).ravel())[1:] * pixel**2)
    return float(np.median(areas)) if areas else 0.0


def areas_um2(fields: pd.DataFrame, cells: pd.DataFrame, column: str = "area") -> pd.Series:
    """An area column of the cell table in µm²."""
    pixel_size = cells["image_id"].map(fields.set_index("image_id")["pixel_size_um"])
    return cells[column] * pixel_size.astype(float) ** 2


def suspects(fields: pd.DataFrame, cells: pd.DataFrame) -> pd.DataFrame:
    """The fields that look wrong, worst first; those set aside are not among them.

    A field looks wrong that has no cells, a cell `GIANT` times the usual area, or a median area or a count far from the
    other fields'. Columns: `image_id`, `split`, `height`, `width`, `n_cells`, `why` and `score`, 1 at the limit.
    """
    read = fields[fields["error"] == ""].set_index("image_id")
    areas = areas_um2(fields, cells)
    of_field = areas.groupby(cells["image_id"])
    size_um2 = read["height"] * read["width"] * read["pixel_size_um"].astype(float) ** 2
    scores = {
        "no cells": (read["n_cells"] == 0) * 1e3,
        "giant cell": of_field.max() / (GIANT * areas.median()),
        "unusual cell area": _oddity(np.log(of_field.median())),
        "unusual number of cells": _oddity(np.log((read["n_cells"] / size_um2)[read["n_cells"] > 0])),
    }
    score = pd.DataFrame(scores).reindex(read.index).fillna(0.0)
    reasons = [", ".join(score.columns[row >= 1]) for row in score.to_numpy()]
    table = read[["split", "height", "width", "n_cells"]].assign(why=reasons, score=score.max(axis=1).round(2))
    return table[table["score"] >= 1].sort_values("score", ascending=False, kind="stable").reset_index()


def _oddity(values: pd.Series) -> pd.Series:
    """Distance from the median in robust standard deviations, divided by `ODD`."""
    away = (values - values.median()).abs()
    return away / (ODD * max(1.4826 * away.median(), NARROWEST)) if len(values) else away


def field_and_labels(dataset: Dataset, cells: pd.DataFrame, row) -> tuple[np.ndarray, np.ndarray]:
    """A field, uint8 (H, W, 4), and its `labels_of`; `row`, of the field table or `suspects`, is of ``itertuples``."""
    return images.read_field_of(dataset, row.split, row.image_id), labels_of(cells, row)


def labels_of(cells: pd.DataFrame, row) -> np.ndarray:
    """The labels, uint16 (H, W), that the cell table holds of a field; `row` as in `field_and_labels`."""
    own = cells[cells["image_id"] == row.image_id]
    return masks.paint_labels(list(own["rle"]), list(own["cell_id"]), row.height, row.width)
