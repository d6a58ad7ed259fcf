"""Draw the README's picture, docs/cells.png, from simulated cells: field, cells, and what each shows.

python docs/draw_cells.py
"""

import tempfile
import textwrap
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import hpa_simulator as simulate
from hpa_utils import dataset, images
from hpa_utils.crops import CropConfig, cut_cell
from hpa_utils.plots.pictures import composite, names_of, outlined, stretched
from hpa_utils.segmentation import WatershedSegmenter, measure


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = simulate.write_dataset(Path(folder) / "data", 12, 1, 512, seed=4)
        opened = dataset.open_dataset(root)
        choice = max(opened.image_ids("train"), key=lambda image_id: (opened.labels[image_id].sum(), image_id))
        field = images.read_field_of(opened, "train", choice)
        labels = opened.labels[choice]
    nuclei, cells = WatershedSegmenter(pixel_size=0.32).segment(field)
    rows = measure.cell_rows(choice, "train", cells, nuclei, field)
    figure = plt.figure(figsize=(13, 3.7))
    figure.subplots_adjust(0.005, 0.01, 0.995, 0.88, wspace=0.04, hspace=0.04)
    layout = [["field", "cells", *"abcd"], ["field", "cells", *"efgh"]]
    panels = figure.subplot_mosaic(layout, width_ratios=[2, 2, 1, 1, 1, 1])
    for axis in panels.values():
        axis.set_axis_off()
    panels["field"].imshow(composite(field))
    panels["field"].set_title(textwrap.fill(f"A field labelled {names_of(labels)}", 36), loc="left", fontsize=11)
    panels["cells"].imshow(outlined(np.repeat(stretched(field[..., 1])[..., None], 3, axis=2), cells))
    panels["cells"].set_title("The protein channel,\nand its cells", loc="left", fontsize=11)
    largest = sorted(rows, key=lambda row: -row["area"])[:8]
    for axis, row in zip((panels[name] for name in "abcdefgh"), largest):
        box = tuple(row[key] for key in ("y0", "x0", "y1", "x1"))
        crop, _ = cut_cell(field, cells, row["cell_id"], box, 0.32, CropConfig(128))
        axis.imshow(composite(crop))
    panels["a"].set_title("Each cell by itself:\nwhich of the labels does it show?", loc="left", fontsize=11)
    figure.savefig(Path(__file__).with_name("cells.png"), dpi=90)


if __name__ == "__main__":
    main()
