"""Figures of 03_cell_crops."""

import cv2
import matplotlib.pyplot as plt
import numpy as np

from hpa_utils.crop_sets import CropSet
from hpa_utils.plots.pictures import composite, finished, image_grid, names_of, outlined, shrink, stretched


def one_cell(field: np.ndarray, cells: np.ndarray, cell_id: int, crop: np.ndarray, um_per_px: float):
    """How a crop comes about: the field with the cell outlined, the cell's mask, the crop, its protein channel.

    The field is uint8 (H, W, 4), its cells uint16 (H, W), the crop, of `crops.cut_cell`, uint8 (S, S, 4).
    """
    figure, axes = image_grid(1, 4, 2.8)
    own = np.where(cells == cell_id, cells, 0)
    mask = cv2.merge([np.uint8(60) * (cells > 0)] * 3)
    mask[cells == cell_id] = 255
    axes[0, 0].imshow(shrink(outlined(composite(field), own, max(2, len(field) // 200)), 700))
    axes[0, 1].imshow(shrink(mask, 700))
    axes[0, 2].imshow(composite(crop))
    axes[0, 3].imshow(stretched(crop[..., 1]), cmap="gray", vmin=0, vmax=255)
    size = f"{len(crop)} px of {um_per_px:.2f} µm"
    for axis, title in zip(axes[0], ("field", f"mask of cell {cell_id}", f"crop, {size}", "its protein channel")):
        axis.set_title(title, fontsize=9)
    return finished(figure)


def crop_sheet(crops: CropSet, fields: list[int], labels: np.ndarray, columns: int = 8):
    """Crops of some fields, a field a double row: colour composite above, the protein channel below.

    `fields` are their numbers in `crops.image_ids`, `labels`, (len(fields), 19), their label vectors.
    """
    figure, axes = image_grid(2 * len(fields), columns, 1.5)
    for row, field in enumerate(fields):
        cells = np.flatnonzero(crops.field == field)[:columns]
        for axis, below, crop in zip(axes[2 * row], axes[2 * row + 1], crops.read(cells)):
            axis.imshow(composite(crop))
            below.imshow(stretched(crop[..., 1]), cmap="gray", vmin=0, vmax=255)
        axes[2 * row, 0].set_title(f"{crops.image_ids[field][:8]}: {names_of(labels[row])}", fontsize=9, loc="left")
    return finished(figure)


def crop_statistics(crops: CropSet):
    """Cells of each field, and the scale of the crops."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    left.hist(np.bincount(crops.field), bins=20, color="#0b62a4")
    left.set(xlabel="cells of a field", ylabel="fields", title=f"{len(crops):,} crops, {len(crops.image_ids):,} fields")
    right.hist(crops.um_per_px, bins=30, color="#2a8c4a")
    right.set(xlabel="µm per crop px", ylabel="cells", title="Scale: a large cell is shrunk more")
    return finished(figure)
