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
# - **Takes** 15 s on the demo's 200 fields of 512², 2 cores and no GPU (`benchmarks/demo.py`).
#
# hpacellseg on Kaggle, without internet: attach `rdizzl3/hpacellsegmentatormodelweights` (the two `.pth` files) and a
# data set with the source of pytorch_zoo, of whose classes they are made; both are found by themselves. Elsewhere see
# `requirements-hpacellseg.txt`. If PyTorch will not load the weights as plain data, the
# error names their SHA-256 to give below. Masks of hpacellseg that somebody published spare hours of quota:
# `segmenter` masks with their folder as `masks`.

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
splits: str = ""  # train, test or both joined by a comma; empty: all there are
segmenter: str = "auto"  # auto, hpacellseg, watershed or masks
masks: str = ""  # folder of {ID}.png or .npz: the cells of segmenter masks, else to compare with; empty: masks/
hpacellseg_weights: str = ""  # folder of the two .pth files; empty: searched for under /kaggle/input
hpacellseg_sha256: str = ""  # their SHA-256, nuclei first, joined by a comma, if they have to be unpickled
workers: int = 0  # processes; 0: one a core
scheduler: str = ""  # local or tcp://host:port to work on a Dask cluster; empty: processes of this machine
shard: str = ""  # i/n to make every n-th part, for several kernels that share the work; empty: all
deadline: float = 0.0  # Unix time by which 02, 03 and 05 are to be done; 02 leaves them a part; 0: none
shown: int = 6  # fields shown with outlines

# %%
import functools

import numpy as np

from hpa_utils import deadlines, manifest, paths, shards, tables
from hpa_utils.dataset import open_dataset
from hpa_utils.plots import segmentation as plots
from hpa_utils.running.fanout import fanout
from hpa_utils.segmentation import choose_segmenter, estimate_bytes, plan_segmentation, report, segment_part

# %%
dataset = open_dataset(paths.find_data(data))
stage = paths.find_out(out) / "02_segmentation"
chosen = dataset.choose_splits(splits)
weights = (hpacellseg_weights, hpacellseg_sha256)
reference = Path(masks) if masks else dataset.root / "masks"
name, segment = choose_segmenter(segmenter, dataset.pixel_size_um, reference, *weights)
print(f"{name} on {', '.join(chosen)} of {dataset.root} ({dataset.pixel_size_um} µm/px)")

# %% [markdown]
# ## Segment and measure
# Fields are independent, so parts of them go to worker processes. A part that is there already, from the same files
# and the same segmenter, is not made again. With a deadline, fields that are not begun in time are set aside.

# %%
manifest.begin(stage)
plan = plan_segmentation(dataset, chosen, segment, stage, deadlines.stop_time(deadline, stage.name))
parts = shards.select_shard(plan, shard)
print(shards.check_disk_space(estimate_bytes(parts), stage, shard))
write = functools.partial(segment_part, reuse=not paths.scoring_rerun())
# hpacellseg's networks use one GPU from one process
done = fanout(write, parts, 1 if name == "hpacellseg" else workers, "" if name == "hpacellseg" else scheduler)
for table in ("fields", "cells"):
    tables.remove_stale_parts(stage / table, plan)
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
# Outlines on a few fields drawn at random.

# %%
rng = np.random.default_rng(0)
read = fields[fields["error"] == ""]
looked_at = list(read.iloc[np.sort(rng.permutation(len(read))[:shown])].itertuples())
pictures = [report.field_and_labels(dataset, cells, row) for row in looked_at]
titles = [f"{row.image_id[:8]} ({row.split}): {row.n_cells} cells" for row in looked_at]
if pictures:
    display(plots.outlines(*zip(*pictures), titles))

# %% [markdown]
# ## Counts and areas
# A cell cut by the image border shows only a part of itself; its share of the outline on the border is kept.

# %%
display(report.summary(fields, cells))
if len(cells):
    display(plots.counts_and_areas(fields, cells), plots.border_cells(cells))

# %% [markdown]
# ## Fields that look wrong
# No cells, a cell many times the usual size, areas or counts unlike those of the other fields: the worst first,
# for a person to look at. A rare cell line can look wrong and be right.

# %%
suspects = report.suspects(fields, cells)
print(f"{len(suspects)} of {len(read)} fields look wrong")
worst = list(suspects.head(shown).itertuples())
if worst:
    pictures = [report.field_and_labels(dataset, cells, row) for row in worst]
    titles = [f"{row.image_id[:8]}: {row.n_cells} cells, {row.why}" for row in worst]
    display(suspects.head(20), plots.outlines(*zip(*pictures), titles))

# %% [markdown]
# ## Against reference masks
# Where the data set has masks of its cells, as simulated fields and some public sets do, at most fifty fields are
# compared: a cell is a hit where its overlap with a reference cell (IoU) is at least 0.6, as in the competition.

# %%
agreement, total = report.compare_with_masks(fields, cells, reference)
if name == "masks" or agreement.empty:
    print("nothing to compare with: " + ("the cells are the masks" if name == "masks" else f"no masks in {reference}"))
else:
    print(f"{total.hits} hits among {total.cells} cells and {total.reference} of {reference}: F1 {total.f1:.3f}")
    display(agreement.head(10), plots.agreement(agreement, total, reference.name))

# %%
fingerprints = {split: tables.cells_fingerprint(cells[cells["split"] == split]) for split in chosen}
configuration = {"segmenter": name, "pixel_size_um": dataset.pixel_size_um, "cells_fingerprint": fingerprints}
manifest.finish(stage, configuration, {"fields": len(fields), "cells": len(cells)}, set_aside)
