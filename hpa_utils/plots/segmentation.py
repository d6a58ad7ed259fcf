"""Figures of 02_segmentation."""

import matplotlib.pyplot as plt

from hpa_utils.plots.pictures import composite, finished, image_grid, outlined, shrink
from hpa_utils.segmentation.report import areas_um2


def outlines(fields: list, labels: list, titles: list[str], columns: int = 3):
    """Fields with the outlines of their cells."""
    rows = -(-len(fields) // columns)
    figure, axes = image_grid(rows, columns, 4.0)
    for axis, field, cells, title in zip(axes.ravel(), fields, labels, titles):
        width = max(1, max(field.shape) // 400)
        axis.imshow(shrink(outlined(composite(field), cells, width), 700))
        axis.set_title(title, fontsize=9)
    return finished(figure)


def counts_and_areas(fields, cells):
    """Cells per field, and areas of cells and nuclei in µm²."""
    read = fields[fields["error"] == ""]
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.2), layout="constrained")
    axes[0].hist(read["n_cells"], bins=range(0, int(read["n_cells"].max()) + 2), color="#0b62a4")
    axes[0].set(xlabel="cells of a field", ylabel="fields", title=f"{len(cells):,} cells in {len(read):,} fields")
    for axis, column, name in zip(axes[1:], ("area", "nucleus_area"), ("cell", "nucleus")):
        axis.hist(areas_um2(fields, cells, column), bins=40, color="#2a8c4a")
        axis.set(xlabel="µm²", ylabel="cells", title=f"Area of a {name}")
    return finished(figure)


def border_cells(cells):
    """How much of each cell's outline lies on the image border."""
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    axis.hist(cells["edge_fraction"], bins=40, color="#8c5a2a")
    axis.set(yscale="log", xlabel="share of the outline on the image border", ylabel="cells (logarithmic)")
    axis.set_title(f"{(cells['edge_fraction'] > 0).mean():.0%} of the cells are cut by the border")
    return finished(figure)


def agreement(table, reference: str):
    """Cells found against reference cells of each field, and the F1 of the fields.

    `table` has a row a field: `cells`, `reference`, `hits`, `F1` and `IoU` (mean of the hits).
    """
    counts = table[["cells", "reference", "hits"]].sum()
    f1 = 2 * counts["hits"] / max(counts["cells"] + counts["reference"], 1)
    iou = (table["IoU"] * table["hits"]).sum() / max(counts["hits"], 1)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained")
    most = max(table["cells"].max(), table["reference"].max()) + 1
    axes[0].plot([0, most], [0, most], color="#cccccc", zorder=0)
    axes[0].scatter(table["reference"], table["cells"], s=20, color="#0b62a4")
    axes[0].set(xlabel=f"cells in {reference}", ylabel="cells found", title=f"{len(table)} fields")
    axes[1].hist(table["F1"], bins=20, range=(0, 1), color="#2a8c4a")
    axes[1].set(xlabel="F1 of a field at IoU 0.6", ylabel="fields")
    axes[1].set_title(f"all cells: F1 {f1:.3f}, mean IoU of the hits {iou:.3f}")
    return finished(figure)
