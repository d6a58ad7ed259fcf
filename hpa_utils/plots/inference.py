"""Figures of 05_inference."""

import matplotlib.pyplot as plt
import numpy as np

from hpa_utils.crops import Bags, decode_crop
from hpa_utils.model.prediction import CELL_COLUMNS
from hpa_utils.plots.pictures import SHORT_NAMES, composite, finished, image_grid, outlined, shrink, stretched


def predicted_field(field: np.ndarray, cells: np.ndarray, predictions, title: str):
    """A field with the most probable class of each cell, beside its protein channel.

    Parameters
    ----------
    field : numpy.ndarray
        uint8 (H, W, 4).
    cells : numpy.ndarray
        uint16 (H, W).
    predictions : pandas.DataFrame
        Rows of the field's cells, as of `model.predict_bags`.
    """
    figure, axes = image_grid(1, 2, 6.0)
    factor = min(1, 900 / max(field.shape[:2]))
    width = max(1, max(field.shape) // 400)
    axes[0, 0].imshow(shrink(outlined(composite(field), cells, width), 900))
    axes[0, 1].imshow(shrink(stretched(field[..., 1]), 900), cmap="gray", vmin=0, vmax=255)
    box = {"facecolor": "black", "alpha": 0.5, "pad": 1, "edgecolor": "none"}
    for cell_id, scores in zip(predictions["cell_id"], predictions[CELL_COLUMNS].to_numpy()):
        rows, columns = np.nonzero(cells == cell_id)
        label = f"{SHORT_NAMES[scores.argmax()]}\n{scores.max():.2f}"
        for axis in axes[0]:
            place = (columns.mean() * factor, rows.mean() * factor)
            text = axis.text(*place, label, color="white", fontsize=7, ha="center", va="center", bbox=box, clip_on=True)
            text.set_in_layout(False)  # a label at the border must not shrink the picture
    axes[0, 0].set_title(title, fontsize=9, loc="left")
    axes[0, 1].set_title("protein channel", fontsize=9, loc="left")
    return finished(figure)


def most_confident(bags: Bags, confidences: np.ndarray, columns: int = 6):
    """For each class, its most confident cells; `confidences` (n, 19) of all cells of the bags, in their order."""
    places = [(bag, cell) for bag, cell_ids in enumerate(bags.table["cell_ids"]) for cell in range(len(cell_ids))]
    figure, axes = image_grid(19, columns, 1.15)
    for label in range(19):
        best = np.argsort(-confidences[:, label], kind="stable")[:columns]
        for axis, row in zip(axes[label], best):
            bag, cell = places[row]
            axis.imshow(stretched(decode_crop(bags.crops(bag)[cell])[..., 1]), cmap="gray", vmin=0, vmax=255)
            axis.set_title(f"{confidences[row, label]:.2f}", fontsize=7)
        axes[label, 0].text(-0.1, 0.5, SHORT_NAMES[label], ha="right", va="center", transform=axes[label, 0].transAxes)
    return finished(figure)


def confidence_histogram(confidences: np.ndarray):
    """How confident the submission is, by class: median and spread of the confidences."""
    figure, axis = plt.subplots(figsize=(9, 3.4), layout="constrained")
    axis.boxplot(list(confidences.T), tick_labels=SHORT_NAMES, sym=".", flierprops={"markersize": 2})
    axis.tick_params(axis="x", rotation=90)
    axis.set(ylabel="confidence", title=f"Confidences of {len(confidences):,} cells")
    return finished(figure)
