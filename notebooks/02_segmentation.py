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
# A microscope's picture of one place, four channels of it, is a *field* (of view). Every field is cut into cells, and
# each cell is measured. Cells come from hpacellseg's networks where they are installed (the competition's truth was
# made from their masks), else from a watershed, or from masks made elsewhere.
#
# - **Reads** the data set.
# - **Writes** `02_segmentation/`: the field table `fields/part-*.parquet` and the cell table `cells/part-*.parquet`.
# - **Takes** 33 s on the demo's 200 fields of 512², 2 cores and no GPU (`benchmarks/demo.py`).
#
# hpacellseg on Kaggle, without internet: attach `rdizzl3/hpacellsegmentatormodelweights` (the two `.pth` files) and a
# data set with the source of pytorch_zoo, which defines the networks' classes; both are found by themselves. Elsewhere
# see `requirements-hpacellseg.txt`. If PyTorch will not load the weights as plain data, the error names their SHA-256
# to give below. To save hours of GPU quota, take masks of hpacellseg that somebody published: `segmenter` masks with
# their folder as `masks`.

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
import warnings

import numpy as np
import pandas as pd

from hpa_utils import limits, manifest, paths, scoring, tables
from hpa_utils.dataset import open_dataset
from hpa_utils.parallel import map_parts
from hpa_utils.plots import segmentation as plots
from hpa_utils.segmentation import choose_segmenter, estimate_bytes, measure, plan_segmentation, segment_part
from hpa_utils.segmentation.masks_elsewhere import has_mask, hit_ious, read_labels

# %%
dataset = open_dataset(paths.find_data(data))
stage = paths.find_out(out) / "02_segmentation"
chosen = dataset.choose_splits(splits)
reference = Path(masks) if masks else dataset.root / "masks"
name, segment = choose_segmenter(segmenter, dataset.pixel_size_um, reference, hpacellseg_weights, hpacellseg_sha256)
print(f"segmenter {name} on {', '.join(chosen)} of {dataset.root} ({dataset.pixel_size_um} µm/px)")
print(f"brightness: {dataset.range_note}")
nucleus = measure.usual_nucleus(dataset, chosen[0])
if nucleus and not 80 <= nucleus <= 350:
    likely, at = dataset.pixel_size_um * (167 / nucleus) ** 0.5, f"at {dataset.pixel_size_um} µm/px"
    print(f"hint: nuclei of the first fields have a median area of {nucleus:.3g} µm² {at}, HPA's have 80…350 µm²;")
    print(f'if a pixel is not so large (about {likely:.1g} µm?), write {{"pixel_size_um": …}} to dataset.json')

# %% [markdown]
# ## Segment and measure
# Fields are independent, so parts of them go to worker processes. A part that an earlier run has made from the same
# files with the same segmenter is kept. A field that cannot be read is set aside with its reason, and tried again when
# its files change. With a deadline, fields that are not begun in time are set aside.

# %%
manifest.begin(stage)
plan = plan_segmentation(dataset, chosen, segment, stage, limits.stop_time(deadline, stage.name))
parts = limits.select_shard(plan, shard)
print(limits.check_disk_space(estimate_bytes(parts), stage, shard))
if name == "hpacellseg":  # one GPU is used from one process
    workers, scheduler = 1, ""
write = functools.partial(segment_part, reuse=not paths.scoring_rerun())
done = map_parts(write, parts, workers, scheduler)
for table in ("fields", "cells"):
    tables.remove_stale_parts(stage / table, plan)
n_fields, n_kept = (sum(part[count] for part in done) for count in ("fields", "reused"))
print(f"fields done now: {n_fields - n_kept:,}; kept from an earlier run: {n_kept:,}")

# %%
fields, cells = tables.read_parts(stage / "fields"), tables.read_parts(stage / "cells")
read = fields[fields["error"] == ""]
set_aside = tables.failed_fields(fields)
tables.check_some_left(fields["split"], set_aside)
print(f"{len(cells):,} cells; fields segmented: {len(read):,}; fields set aside: {len(set_aside):,}")
for row in set_aside[:10]:
    print(f"set aside: {row['image_id']}: {row['error']}")


# %% [markdown]
# ## Look at them
# Outlines on a few fields drawn at random.


# %%
def show(rows, titles, known=None):
    """Display fields with the outlines of their cells, and those of known masks; nothing where there are none."""
    pictures = [measure.field_and_labels(dataset, cells, row) for row in rows]
    if pictures:
        display(plots.outlines(*zip(*pictures), titles, dataset.pixel_size_um, known))


rng = np.random.default_rng(0)
drawn = list(read.iloc[np.sort(rng.permutation(len(read))[:shown])].itertuples())
show(drawn, [f"{row.image_id[:8]} ({row.split}): {row.n_cells} cells" for row in drawn])

# %% [markdown]
# ## A field and its mask
# Every cell in a colour of its own, and in the colours of its classes. Before training a cell has but the labels that
# it inherits from its field; where the data set tells what each cell shows, that is beside it.

# %% tags=["cover"]
if drawn:
    row = max(drawn, key=lambda row: (np.array(row.labels) > 0).sum())
    own, answers = cells[cells["image_id"] == row.image_id], dataset.truth_path(row.split)
    known = scoring.truth_labels(scoring.read_truth(answers), own, fields) if answers else np.full((len(own), 19), -1)
    classes = {"labels of the field, inherited": np.tile(row.labels, (len(own), 1)), "true classes": known}
    field, labels = measure.field_and_labels(dataset, cells, row)
    display(plots.coloured_field(field, labels, classes, row.image_id[:8], dataset.pixel_size_um))

# %% [markdown]
# ## Counts and areas
# A cell cut by the image border shows only a part of itself; its share of the outline on the border is kept.

# %%
of_split, cell_split = read.groupby("split"), cells["split"]
summary = {
    "fields": of_split.size(),
    "without cells": (read["n_cells"] == 0).groupby(read["split"]).sum(),
    "cells": of_split["n_cells"].sum(),
    "cells a field (median)": of_split["n_cells"].median(),
    "cell µm² (median)": measure.areas_um2(fields, cells).groupby(cell_split).median(),
    "nucleus µm² (median)": measure.areas_um2(fields, cells, "nucleus_area").groupby(cell_split).median(),
    "share at the border": (cells["edge_fraction"] > 0).groupby(cell_split).mean(),
}
display(pd.DataFrame(summary).round(2))
if len(cells):
    display(plots.counts_and_areas(fields, cells))

# %% [markdown]
# ## Fields that look wrong
# No cells, a cell many times the usual size, areas or counts unlike those of the other fields: the worst first,
# for a person to look at. A rare cell line can look wrong and be right.

# %%
suspects = measure.suspects(fields, cells)
print(f"fields that look wrong: {len(suspects)} of {len(read)}")
if len(suspects):
    display(suspects.head(20))
worst = list(suspects.head(shown).itertuples())
show(worst, [f"{row.image_id[:8]}: {row.n_cells} cells, {row.why}" for row in worst])


# %% [markdown]
# ## Against reference masks
# Where the data set has masks of its cells, as simulated fields and some public sets do, at most fifty fields are
# compared: a cell is a hit where its overlap with a reference cell (IoU) is at least 0.6, as in the competition.


# %%
def compare(row):
    """How the cells of a field agree with its reference mask; None, with a warning, where the mask is damaged."""
    try:
        mask = read_labels(reference, row.image_id, (row.height, row.width))
    except Exception as error:
        warnings.warn(f"not compared: {error}", stacklevel=2)
        return None
    ious, n = hit_ious(measure.labels_of(cells, row), mask), int(mask.max())
    f1 = 2 * len(ious) / (row.n_cells + n) if row.n_cells + n else 1.0
    counts = {"cells": row.n_cells, "reference": n, "hits": len(ious)}
    return {"image_id": row.image_id, **counts, "F1": f1, "IoU": ious.mean() if len(ious) else np.nan}


# %%
known = read[read["image_id"].map(functools.partial(has_mask, reference)).astype(bool)]
some = [] if name == "masks" else known.sample(min(50, len(known)), random_state=0).itertuples()
agreement = pd.DataFrame([found for found in map(compare, some) if found])
if name == "masks":
    print("nothing to compare: the cells are the masks")
elif agreement.empty:
    print(f"nothing to compare: no masks of these fields in {reference}")
else:
    total = agreement[["hits", "cells", "reference"]].sum()
    f1 = 2 * total["hits"] / max(total["cells"] + total["reference"], 1)
    print(f"{total['hits']} hits among {total['cells']} cells and {total['reference']} of {reference}: F1 {f1:.3f}")
    display(agreement.sort_values("F1").head(10).round(3))

# %% [markdown]
# The fields that agree least, found cells over the reference.

# %%
if len(agreement):
    least = agreement.set_index("image_id")["F1"].nsmallest(shown)
    worst = list(read.set_index("image_id", drop=False).loc[least.index].itertuples())
    masks_of = [read_labels(reference, row.image_id, (row.height, row.width)) for row in worst]
    show(worst, [f"{row.image_id[:8]}: F1 {least[row.image_id]:.2f}" for row in worst], masks_of)

# %%
fingerprints = {split: tables.cells_fingerprint(cells[cells["split"] == split]) for split in chosen}
configuration = {"segmenter": name, "pixel_size_um": dataset.pixel_size_um, "cells_fingerprint": fingerprints}
manifest.finish(stage, configuration, {"fields": len(fields), "cells": len(cells)}, set_aside)
