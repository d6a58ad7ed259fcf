"""Figures of 03_cell_crops."""

import matplotlib.pyplot as plt
import numpy as np

from hpa_utils.plots.pictures import composite, finished, image_grid, names_of, stretched


def crop_sheet(bags: list, columns: int = 8):
    """Crops of some bags, a bag a double row: colour composite above, the protein channel below.

    Parameters
    ----------
    bags : list of (str, numpy.ndarray, list)
        Image ID, label vector (19,), and decoded crops, uint8 (S, S, 4).
    """
    figure, axes = image_grid(2 * len(bags), columns, 1.5)
    for row, (image_id, labels, crops) in enumerate(bags):
        for axis, below, crop in zip(axes[2 * row], axes[2 * row + 1], crops):
            axis.imshow(composite(crop))
            below.imshow(stretched(crop[..., 1]), cmap="gray", vmin=0, vmax=255)
        axes[2 * row, 0].set_title(f"{image_id[:8]}: {names_of(labels)}", fontsize=9, loc="left")
    return finished(figure)


def crop_statistics(table):
    """Cells per bag, and the scale of the crops; `table` as of `Bags.table`."""
    scales = np.concatenate([np.asarray(scales) for scales in table["scales"]])
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3), layout="constrained")
    left.hist([len(cells) for cells in table["cell_ids"]], bins=20, color="#0b62a4")
    left.set(xlabel="cells of a bag", ylabel="bags", title=f"{len(scales):,} crops in {len(table):,} bags")
    right.hist(scales, bins=30, color="#2a8c4a")
    right.set(xlabel="µm per crop px", ylabel="cells", title="Scale: a large cell is shrunk more")
    return finished(figure)
