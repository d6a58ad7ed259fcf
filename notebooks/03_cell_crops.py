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
# # 3 · One masked crop a cell
#
# A network that looks at single cells needs pictures of single cells: each is cut out with its neighbours masked,
# padded to a square and shrunk. Crops are stored one by one, so that training can draw any cell and read no other.
#
# - **Reads** the data set and the two tables of `02_segmentation/`.
# - **Writes** the crop set `03_cell_crops/NAME/`: `part-*.crops` (the pictures), `part-*.parquet` (their index). Sets
#   of several sizes may lie side by side; a set is named after its size unless it is given a name. With `whole`, each
#   field is one crop, for a model whose score 05 takes as the field's.
# - **Takes** 13 s on the demo's 3,776 cells, 2 cores and no GPU (`benchmarks/demo.py`).

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
splits: str = ""  # train, test or both joined by a comma; empty: all that 02 segmented
name: str = ""  # name of the crop set; empty: its size
size: int = 128  # side of a crop, px
um_per_px: float = 0.0  # scale of all crops, µm a px; 0: each cell is shrunk to fit
whole: bool = False  # a crop is a whole field, shrunk to fit, instead of a cell
model: str = ""  # model folder whose crop set is made; empty: as the parameters above say
exclude_seen_in: str = ""  # output root whose fields are left out here if they recur
workers: int = 0  # processes; 0: one a core
scheduler: str = ""  # local or tcp://host:port to work on a Dask cluster; empty: processes of this machine
shard: str = ""  # i/n to make every n-th part, for several kernels that share the work; empty: all
deadline: float = 0.0  # Unix time by which 03 and 05 are to be done; 03 leaves 05 a part; 0: none

# %%
import dataclasses
import functools

import numpy as np
import pandas as pd

from hpa_utils import limits, manifest, masks, paths, tables
from hpa_utils.crop_sets import CropSet
from hpa_utils.crops import CropConfig, crop_set_of, cut_cell, estimate_bytes, plan_crops, write_crops
from hpa_utils.dataset import open_dataset
from hpa_utils.images import fields_repeated
from hpa_utils.images import read_field_of
from hpa_utils.parallel import map_parts
from hpa_utils.plots import cell_crops as plots

# %%
dataset, root = open_dataset(paths.find_data(data)), paths.find_out(out)
segmented = paths.find_stages(root, "02_segmentation")
config = CropConfig(size=size, um_per_px=um_per_px, whole=whole)
if model:
    name, config = crop_set_of(model)
stage = root / "03_cell_crops" / (name or str(config.size))
fields = tables.read_parts([folder / "fields" for folder in segmented])
chosen = [split for split in dataset.choose_splits(splits) if split in set(fields["split"])]
fields = fields[fields["split"].isin(chosen)]
print(f"{fields['n_cells'].sum():,} cells in {len(fields):,} fields, crops of {config.size} px")

# %% [markdown]
# ## One cell
# From the field to the crop. The neighbours are black in the crop, so that the network judges this cell alone; a thin
# rim round the cell is kept, for membranes lie there.

# %%
typical = fields.sort_values("n_cells", kind="stable").iloc[len(fields) // 2]
if typical["n_cells"]:
    wanted = [("image_id", "==", typical["image_id"])]
    own = pd.concat([pd.read_parquet(folder / "cells", filters=wanted) for folder in segmented], ignore_index=True)
    own = tables.whole_fields(typical.to_frame().T) if config.whole else own
    cell = own.loc[own["area"].idxmax()]
    box = cell[["y0", "x0", "y1", "x1"]].tolist()
    try:
        field = read_field_of(dataset, typical["split"], typical["image_id"])
        labels = masks.paint_labels(list(own["rle"]), list(own["cell_id"]), *field.shape[:2])
        crop, scale = cut_cell(field, labels, cell["cell_id"], box, dataset.pixel_size_um, config)
        display(plots.one_cell(field, labels, cell["cell_id"], crop, scale, dataset.pixel_size_um))
    except (OSError, ValueError) as error:  # it will be set aside below
        print(f"not shown: {error}")

# %% [markdown]
# ## Fields that are elsewhere already
# Public data repeat fields of the competition. Those whose nuclei nearly equal another output root's are left out,
# so that no test field is learned from.

# %%
repeated = fields_repeated(fields, fields[:0])
if exclude_seen_in:
    elsewhere = paths.find_stage(exclude_seen_in, "02_segmentation") / "fields"
    repeated = fields_repeated(fields, tables.read_parts(elsewhere))
    print(f"{len(repeated)} of {len(fields)} fields left out: they are in {exclude_seen_in}, too")
    display(repeated.head(10))

# %% [markdown]
# ## Cut all cells
# A part that is there already, from the same masks and the same configuration, is not made again. With a deadline,
# fields that are not begun in time are set aside.

# %%
manifest.begin(stage)
until, left_out = limits.stop_time(deadline, "03_cell_crops"), frozenset(repeated["image_id"])
plan = plan_crops(dataset, chosen, segmented, config, stage, left_out, until)
parts = limits.select_shard(plan, shard)
print(limits.check_disk_space(estimate_bytes(parts), stage, shard))
done = map_parts(functools.partial(write_crops, reuse=not paths.scoring_rerun()), parts, workers, scheduler)
tables.remove_stale_parts(stage, plan)
set_aside = [row for part in done for row in part["set_aside"]]
tables.check_some_left([part.split for part in parts for _ in part.image_ids], set_aside)
n_crops, n_bytes = (sum(part[key] for part in done) for key in ("cells", "bytes"))
print(f"{n_crops:,} crops, {n_bytes / 1e6:.1f} MB, {n_bytes / max(n_crops, 1) / 1e3:.1f} kB a crop")
for row in set_aside[:10]:
    print("set aside:", row["image_id"], row["error"])

# %% [markdown]
# ## Look at them
# Two rows a field: the colour composite, and the protein channel that the label speaks of. The label belongs to the
# field: many of its cells do not show it.

# %% tags=["cover"]
crops = CropSet([stage], chosen[0])
if len(crops):
    some = np.sort(np.random.default_rng(0).permutation(len(crops.image_ids))[:6]).tolist()
    shown = fields.set_index("image_id", drop=False).loc[crops.image_ids[some]]
    display(plots.crop_sheet(crops, some, tables.label_matrix(shown)), plots.crop_statistics(crops))
else:
    print(f"no cell in any field of the {chosen[0]} split")

# %%
configuration = {"crops": {"name": stage.name, "config": dataclasses.asdict(config)}, "shard": shard}
configuration |= {"parts": manifest.digest([part.key for part in parts]), "left_out": repeated.to_dict("records")}
manifest.finish(stage, configuration, {"crops": n_crops, "MB": round(n_bytes / 1e6, 1)}, set_aside)
