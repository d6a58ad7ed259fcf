# ---
# jupyter:
#   jupytext:
#     formats: py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2 · Finding the cells
#
# Every field is cut into cells, and each cell is measured. Cells come from hpacellseg's networks where they are
# installed (the competition's truth was made from their masks), else from a watershed, or from masks made elsewhere.
#
# - **Reads** the data set.
# - **Writes** `02_segmentation/`: the field table `fields/part-*.parquet` and the cell table `cells/part-*.parquet`.
# - **Takes** TIME02

# %%
import sys
from pathlib import Path
sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
splits: str = ""  # train, test or both joined by a comma; empty: all there are
segmenter: str = "auto"  # auto, hpacellseg, watershed or masks
masks: str = ""  # folder of {ID}.png or .npz, for the segmenter of that name; empty: that of the data set
hpacellseg_weights: str = ""  # folder of the two .pth files; empty: searched for under /kaggle/input
hpacellseg_sha256: str = ""  # their SHA-256, nuclei first, joined by a comma, if they have to be unpickled
workers: int = 0  # processes; 0: one a core
shown: int = 6  # fields shown with outlines
seed: int = 0  # of the fields shown

# %%
import functools

import numpy as np

from hpa_utils import images, manifest, paths, tables
from hpa_utils import masks as mask_codes
from hpa_utils.dataset import open_dataset
from hpa_utils.plots import segmentation as plots
from hpa_utils.running.fanout import fanout
from hpa_utils.segmentation import choose_segmenter, plan_segmentation, segment_part

# %%
dataset = open_dataset(paths.find_data(data))
stage = paths.find_out(out) / "02_segmentation"
chosen = dataset.choose_splits(splits)
weights = (hpacellseg_weights, hpacellseg_sha256)
name, segment = choose_segmenter(segmenter, dataset.pixel_size_um, masks or dataset.root / "masks", *weights)
print(f"{name} on {', '.join(chosen)} of {dataset.root} ({dataset.pixel_size_um} µm/px)")

# %% [markdown]
# ## Segment and measure
# Fields are independent, so parts of them go to worker processes. A part that is there already, from the same files
# and the same segmenter, is not made again.

# %%
manifest.begin(stage)
plan = plan_segmentation(dataset, chosen, segment, stage)
write = functools.partial(segment_part, reuse=not paths.scoring_rerun())
done = fanout(write, plan, 1 if name == "hpacellseg" else workers)  # the networks use one GPU from one process
for table in ("fields", "cells"):
    tables.drop_other_parts(stage / table, [part.name for part in plan])
print(f"{sum(part['reused'] for part in done)} of {sum(part['fields'] for part in done)} fields were there already")

# %%
fields, cells = tables.read_parts(stage / "fields"), tables.read_parts(stage / "cells")
set_aside = tables.failed_fields(fields)
tables.check_some_left(fields)
print(f"{len(cells):,} cells in {len(fields):,} fields, {len(set_aside)} fields set aside")
for row in set_aside[:10]:
    print("set aside:", row["image_id"], row["error"])

# %% [markdown]
# ## Look at them

# %%
rng = np.random.default_rng(seed)
read = fields[fields["error"] == ""]
looked_at = read.iloc[np.sort(rng.permutation(len(read))[:shown])]
pictures, outlines, titles = [], [], []
for row in looked_at.itertuples():
    own = cells[cells["image_id"] == row.image_id]
    pictures.append(images.read_field(dataset.folders[row.split], row.image_id))
    outlines.append(mask_codes.paint_labels(list(own["rle"]), list(own["cell_id"]), row.height, row.width))
    titles.append(f"{row.image_id[:8]} ({row.split}): {row.n_cells} cells")
display(plots.outlines(pictures, outlines, titles))

# %% [markdown]
# ## Counts and areas
# Fields without cells, or with giant ones, are worth a look: the watershed fails there first.

# %%
display(plots.counts_and_areas(fields, cells))
display(plots.border_cells(cells))
display(read.nsmallest(5, "n_cells")[["image_id", "split", "height", "width", "n_cells"]])

# %%
fingerprints = {split: tables.cells_fingerprint(cells[cells["split"] == split]) for split in chosen}
configuration = {"segmenter": name, "pixel_size_um": dataset.pixel_size_um, "cells_fingerprint": fingerprints}
manifest.finish(stage, configuration, {"fields": len(fields), "cells": len(cells)}, set_aside)
