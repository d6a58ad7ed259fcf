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
# padded to a square and shrunk. All crops of a field stay together in a *bag*, since the weak label is the field's.
#
# - **Reads** the data set and the two tables of `02_segmentation/`.
# - **Writes** `03_cell_crops/`: `bags/part-*.parquet`, a field a row group, crops as RGBA PNGs.
# - **Takes** 8 s on the demo's 3,366 cells, 2 cores and no GPU (`benchmarks/demo.py`).

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
splits: str = ""  # train, test or both joined by a comma; empty: all that 02 segmented
size: int = 128  # side of a crop, px
margin_um: float = 0.8  # rim kept round a cell's outline, µm
config: str = ""  # JSON of overrides, section crops; a model folder's config.json crops as that model needs
not_in: str = ""  # output roots whose fields are left out here if they recur, joined by a comma
workers: int = 0  # processes; 0: one a core
scheduler: str = ""  # local or tcp://host:port to work on a Dask cluster; empty: processes of this machine
shard: str = ""  # i/n to make every n-th part, for several kernels that share the work; empty: all
deadline: float = 0.0  # Unix time by which 03 and 05 are to be done; 03 leaves 05 a part; 0: none
shown: int = 6  # bags shown

# %%
import dataclasses
import functools

import numpy as np

from hpa_utils import deadlines, manifest, paths, shards, tables
from hpa_utils.crops import Bags, CropConfig, decode_crop, estimate_bytes, plan_bags, write_bags
from hpa_utils.dataset import open_dataset
from hpa_utils.duplicates import fields_repeated
from hpa_utils.plots import cell_crops as plots
from hpa_utils.running.fanout import fanout

# %%
dataset = open_dataset(paths.find_data(data))
stage, segmented = paths.find_out(out) / "03_cell_crops", paths.find_stages(paths.find_out(out), "02_segmentation")
crops = manifest.configure(CropConfig, "crops", config, size=size, margin_um=margin_um)
fields = tables.read_parts([folder / "fields" for folder in segmented])
chosen = [split for split in dataset.choose_splits(splits) if split in set(fields["split"])]
fields = fields[fields["split"].isin(chosen)]
print(f"{fields['n_cells'].sum():,} cells in {len(fields):,} fields, {crops}")

# %% [markdown]
# ## Fields that are elsewhere already
# Public data repeat fields of the competition. Those whose nuclei nearly equal another output root's are left out,
# so that no test field is learned from.

# %%
elsewhere = [folder / "fields" for folder in paths.listed_stages(not_in, "02_segmentation")]
repeated = fields_repeated(fields, tables.read_parts(elsewhere) if elsewhere else fields[:0])
print(f"{len(repeated)} of {len(fields)} fields left out")
if len(repeated):
    display(repeated.head(10))

# %% [markdown]
# ## Cut and encode
# A part that is there already, from the same masks and the same configuration, is not made again. With a deadline,
# fields that are not begun in time are set aside.

# %%
manifest.begin(stage)
until, left_out = deadlines.stop_time(deadline, stage.name), frozenset(repeated["image_id"])
plan = plan_bags(dataset, chosen, segmented, crops, stage, left_out, until)
parts = shards.select_shard(plan, shard)
print(shards.check_disk_space(estimate_bytes(parts), stage, shard))
done = fanout(functools.partial(write_bags, reuse=not paths.scoring_rerun()), parts, workers, scheduler)
tables.remove_stale_parts(stage / "bags", plan)
set_aside = [row for part in done for row in part["set_aside"]]
n_crops, n_bytes = (sum(part[key] for part in done) for key in ("cells", "bytes"))
print(f"{n_crops:,} crops, {n_bytes / 1e6:.1f} MB, {n_bytes / max(n_crops, 1) / 1e3:.1f} kB a crop")
for row in set_aside[:10]:
    print("set aside:", row["image_id"], row["error"])

# %% [markdown]
# ## Look at them
# Two rows a field: the colour composite, and the protein channel that the label speaks of. The label belongs to the
# field: many of its cells do not show it.

# %%
bags = Bags(stage / "bags", chosen[0])
some = np.sort(np.random.default_rng(0).permutation(len(bags))[:shown])
sheet = [(bags.table["image_id"][i], bags.labels[i], [decode_crop(png) for png in bags.crops(i)[:8]]) for i in some]
if sheet:
    display(plots.crop_sheet(sheet))
else:
    print(f"no cell in any field of the {chosen[0]} split")

# %%
if len(bags):
    display(plots.crop_statistics(bags.table))

# %%
made = manifest.digest([part.key for part in parts])
configuration = {"crops": dataclasses.asdict(crops), "parts": made, "shard": shard}
configuration["left_out"] = repeated.to_dict("records")
counts = {"crops": n_crops, "MB": round(n_bytes / 1e6, 1)}
manifest.finish(stage, configuration, counts, set_aside)
