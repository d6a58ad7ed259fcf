"""Figures of 02_segmentation, and fields whose masks are coloured by class, which 05 shows with predictions."""

import numpy as np
from matplotlib.colors import hsv_to_rgb
from matplotlib.patches import Patch

from hpa_utils.plots import pictures as pic
from hpa_utils.segmentation.masks_elsewhere import resize_labels
from hpa_utils.segmentation.measure import areas_um2

SIDE = 400  # px of a field in a figure
WRITTEN = {"color": "white", "fontsize": 8, "ha": "center", "va": "center", "path_effects": [pic.RIM], "clip_on": True}


def outlines(fields: list, labels: list, titles: list[str], um_per_px: float, reference: list | None = None):
    """Fields with the outlines of their cells; with a reference, in grey: found orange, over the reference in blue."""
    columns = min(3, len(fields))
    figure, axes = pic.image_grid(-(-len(fields) // columns), columns, 3.2)
    for axis, field, cells, title, known in zip(axes.ravel(), fields, labels, titles, reference or labels):
        small = pic.shrink(field, SIDE)
        picture, colour = pic.composite(small), "white"
        if reference:
            grey, colour = pic.stretched(small[..., [0, 2]].max(axis=-1)) // 2, pic.ORANGE
            picture = pic.outlined(np.stack([grey] * 3, axis=-1), resize_labels(known, grey.shape), 1, pic.SKY)
        picture = pic.outlined(picture, resize_labels(cells, picture.shape[:2]), 1, colour)
        pic.show(axis, picture, field.shape[1] * um_per_px, title)
    if reference:
        key = [Patch(color=pic.ORANGE, label="found"), Patch(color=pic.SKY, label="reference")]
        figure.legend(handles=key, loc="outside lower center", ncols=2, fontsize=9)
    return pic.finished(figure, f"Microscopy: fields with the outlines of their cells. {'; '.join(titles)}.")


def coloured_field(field: np.ndarray, cells: np.ndarray, classes: dict, title: str, um_per_px: float):
    """A field, uint8 (H, W, 4), beside its mask in colours: one colour a cell, then one colour a class.

    `cells` are its labels, uint16 (H, W), numbered 1…n; `classes` has a panel's title → the classes of cells 1…n,
    (n, 19), 1 where a cell has the class, −1 where that is unknown: a panel that knows of none is left out. A cell of
    several classes is striped.
    """
    classes = {name: of_cells for name, of_cells in classes.items() if (of_cells >= 0).any()}
    figure, axes = pic.image_grid(1 + bool(classes), 3, 3.1)
    axes, width_um = axes.ravel(), field.shape[1] * um_per_px
    small = pic.shrink(field, SIDE)
    labels = resize_labels(cells, small.shape[:2])
    pic.show(axes[0], pic.outlined(pic.composite(small), labels, 1), width_um, title)
    pic.show(axes[1], pic.stretched(small[..., 1]), width_um, "protein channel")
    hues = [[hsv_to_rgb((number * 0.618 % 1, 0.55, 0.95))] for number in range(cells.max())]  # neighbours differ
    pic.show(axes[2], pic.coloured_cells(labels, hues), width_um, "one colour a cell")
    for axis, (name, of_cells) in zip(axes[3:], classes.items()):
        own = [np.flatnonzero(row > 0) for row in of_cells]
        colours = [[pic.CLASS_COLOURS[label] for label in row] for row in own]
        pic.show(axis, pic.coloured_cells(labels, colours), 0, name)  # no bar: it would hide numbers
        for number, row in enumerate(own, start=1):
            if (labels == number).any():
                where = np.argwhere(labels == number).mean(axis=0)
                y, x = np.clip(where, 12, np.array(labels.shape) - 12)
                axis.text(x, y, "\n".join(map(str, row)), **WRITTEN)
    present = sorted({label for of_cells in classes.values() for label in np.nonzero(of_cells > 0)[1]})
    key = [Patch(color=pic.CLASS_COLOURS[label], label=pic.NUMBERED_NAMES[label]) for label in present]
    axes[-1].legend(handles=key, loc="upper left", fontsize=9, frameon=False) if key else None
    named = ", ".join(pic.NUMBERED_NAMES[label] for label in present) or "unknown"
    return pic.finished(figure, f"Microscopy: field {title}, its cells by number and by class: {named}.")


def counts_and_areas(fields, cells):
    """Cells per field, areas of cells and nuclei in µm², and how much of each outline is on the image border."""
    read = fields[fields["error"] == ""]
    figure, (axes,) = pic.chart(10, 2.6, columns=4)
    axes[0].hist(read["n_cells"], bins=range(0, int(read["n_cells"].max()) + 2), color=pic.BLUE)
    axes[0].set(xlabel="cells of a field", ylabel="fields", title=f"{len(cells):,} cells in {len(read):,} fields")
    for axis, column, name in zip(axes[1:], ("area", "nucleus_area"), ("cell", "nucleus")):
        axis.hist(areas_um2(fields, cells, column), bins=40, color=pic.GREEN)
        axis.set(xlabel="area (µm²)", ylabel="cells", title=f"Area of a {name}")
    axes[3].hist(cells["edge_fraction"], bins=40, color=pic.VERMILION)
    axes[3].set(yscale="log", xlabel="share of outline on border", ylabel="cells (logarithmic)")
    axes[3].set_title(f"{(cells['edge_fraction'] > 0).mean():.0%} cut by the border")
    return pic.finished(figure, "Histograms: cells of a field, areas of cells and nuclei, outlines on the border.")
