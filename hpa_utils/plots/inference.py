"""Figures of 05_inference."""

import matplotlib.pyplot as plt
import numpy as np

from hpa_utils.crop_sets import CropSet
from hpa_utils.plots.pictures import SHORT_NAMES, composite, finished, image_grid, outlined, shrink, stretched


def predicted_field(field: np.ndarray, cells: np.ndarray, cell_ids, confidences: np.ndarray, title: str):
    """A field, uint8 (H, W, 4), with the most probable class of each cell, beside its protein channel.

    `cells` are its labels, uint16 (H, W); `cell_ids` the numbers of those to name, with `confidences` (n, 19).
    """
    figure, axes = image_grid(1, 2, 6.0)
    factor = min(1, 900 / max(field.shape[:2]))
    width = max(1, max(field.shape) // 400)
    axes[0, 0].imshow(shrink(outlined(composite(field), cells, width), 900))
    axes[0, 1].imshow(shrink(stretched(field[..., 1]), 900), cmap="gray", vmin=0, vmax=255)
    box = {"facecolor": "black", "alpha": 0.5, "pad": 1, "edgecolor": "none"}
    for cell_id, scores in zip(cell_ids, confidences):
        rows, columns = np.nonzero(cells == cell_id)
        label = f"{SHORT_NAMES[scores.argmax()]}\n{scores.max():.2f}"
        place = (columns.mean() * factor, rows.mean() * factor)
        for axis in axes[0]:
            text = axis.text(*place, label, color="white", fontsize=7, ha="center", va="center", bbox=box, clip_on=True)
            text.set_in_layout(False)  # a label at the border must not shrink the picture
    axes[0, 0].set_title(title, fontsize=9, loc="left")
    axes[0, 1].set_title("protein channel", fontsize=9, loc="left")
    return finished(figure)


def most_confident(crops: CropSet, confidences: np.ndarray, columns: int = 6):
    """For each class, its most confident cells; `confidences` (n, 19), a row a cell of the crop set, NaN for none."""
    figure, axes = image_grid(19, columns, 1.15)
    ranked = np.argsort(-np.nan_to_num(confidences, nan=-1.0), axis=0, kind="stable")[:columns]
    for label in range(19):
        for axis, cell, crop in zip(axes[label], ranked[:, label], crops.read(ranked[:, label])):
            axis.imshow(stretched(crop[..., 1]), cmap="gray", vmin=0, vmax=255)
            axis.set_title(f"{confidences[cell, label]:.2f}", fontsize=7)
        axes[label, 0].text(-0.1, 0.5, SHORT_NAMES[label], ha="right", va="center", transform=axes[label, 0].transAxes)
    return finished(figure)


def confidence_histogram(confidences: np.ndarray):
    """How confident the submission is, by class: median and spread of the confidences."""
    figure, axis = plt.subplots(figsize=(9, 3.4), layout="constrained")
    axis.boxplot(list(confidences.T), tick_labels=SHORT_NAMES, sym=".", flierprops={"markersize": 2})
    axis.tick_params(axis="x", rotation=90)
    axis.set(ylabel="confidence", title=f"Confidences of {len(confidences):,} cells")
    return finished(figure)
