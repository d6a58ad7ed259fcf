"""Figures of 03_cell_crops."""

import cv2
import numpy as np

from hpa_utils.crop_sets import CropSet
from hpa_utils.plots import pictures as pic


def one_cell(field: np.ndarray, cells: np.ndarray, cell_id: int, crop: np.ndarray, crop_um: float, field_um: float):
    """How a crop comes about: the field with the cell outlined, the cell's mask, the crop, its protein channel.

    The field is uint8 (H, W, 4), its cells uint16 (H, W), the crop, of `crops.cut_cell`, uint8 (S, S, 4); `crop_um` and
    `field_um` are their µm a px.
    """
    figure, ((whole, masked, cut, protein),) = pic.image_grid(1, 4, 2.4)
    own = np.where(cells == cell_id, cells, 0)
    mask = cv2.merge([np.uint8(60) * (cells > 0)] * 3)
    mask[cells == cell_id] = 255
    whole_um, cut_um = field.shape[1] * field_um, crop.shape[1] * crop_um
    marked = pic.outlined(pic.composite(field), own, max(2, len(field) // 150))
    pic.show(whole, pic.shrink(marked, 500), whole_um, "field")
    pic.show(masked, pic.shrink(mask, 500), whole_um, f"mask of cell {cell_id}")
    pic.show(cut, pic.composite(crop), cut_um, f"crop, {len(crop)} px of {crop_um:.2f} µm")
    pic.show(protein, pic.stretched(crop[..., 1]), cut_um, "its protein channel")
    return pic.finished(figure, "Microscopy: a field with one cell outlined, the mask of the cell, and its crop.")


def crop_sheet(crops: CropSet, fields: list[int], labels: np.ndarray, columns: int = 8):
    """Crops of some fields, a field a double row: colour composite above, the protein channel below.

    `fields` are their numbers in `crops.image_ids`, `labels`, (len(fields), 19), their label vectors.
    """
    figure, axes = pic.image_grid(2 * len(fields), columns, 1.15)
    for row, field in enumerate(fields):
        cells = np.flatnonzero(crops.field == field)[:columns]
        for axis, below, cell, crop in zip(axes[2 * row], axes[2 * row + 1], cells, crops.read(cells)):
            width_um = crops.size * crops.um_per_px[cell]
            pic.show(axis, pic.composite(crop), width_um, bar_um=10)
            pic.show(below, pic.stretched(crop[..., 1]), width_um, bar_um=10)
        title = f"{crops.image_ids[field][:8]}: {pic.names_of(labels[row])}"
        axes[2 * row, (columns - 1) // 2].set_title(title, fontsize=9)
    figure.supxlabel("bars: 10 µm", fontsize=9)
    return pic.finished(figure, f"Microscopy: crops of cells of {len(fields)} fields, in colour and protein alone.")


def crop_statistics(crops: CropSet):
    """Cells of each field, and the scale of the crops."""
    figure, ((left, right),) = pic.chart(9, 2.8, columns=2)
    left.hist(np.bincount(crops.field), bins=20, color=pic.BLUE)
    left.set(xlabel="cells of a field", ylabel="fields", title=f"{len(crops):,} crops, {len(crops.image_ids):,} fields")
    right.hist(crops.um_per_px, bins=30, color=pic.GREEN)
    right.set(xlabel="µm per crop px", ylabel="cells", title="Scale: a large cell is shrunk more")
    return pic.finished(figure, "Histograms: cells of a field, and µm per px of the crops.")
