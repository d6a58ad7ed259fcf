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
# # 6 · What the model sees
#
# For whoever has to believe a prediction: which cells look alike to the model, where in a cell it looks, which fields
# hold cells that differ, and a page to look at all of it.
#
# - **Reads** the data set and what `02_segmentation/` to `05_inference/` hold of the split that 05 predicted.
# - **Writes** `06_explore/`: `embeddings.parquet`, `variability.csv`, and `report.html`, a page that opens anywhere.
# - **Takes** half a minute on the demo's 40 fields with some 690 cells, 2 cores and no GPU.

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
model: str = ""  # model folder, of several joined by a comma the first; empty: 04_train of the output root
field: str = ""  # ID of the field that is looked at closely; empty: one of many cells and classes
cell: int = 0  # its cell whose like are looked for; 0: the one of which the model is surest
embedded: int = 500  # fields whose cells are embedded, the first so many of the page's order
paged: int = 50  # fields on the page
least: float = 0.1  # difference of two cells' probabilities, on average, from which a field is shown
seed: int = 0  # of the choice of fields and of the map

# %%
import numpy as np
import pandas as pd

import hpa_explorer as explore
from hpa_utils import inference, manifest, paths, scoring, tables
from hpa_utils.crops import Bags, decode_crop
from hpa_utils.dataset import open_dataset
from hpa_utils.labels import CLASS_NAMES
from hpa_utils.model.prediction import CELL_COLUMNS
from hpa_explorer import plots

# %%
dataset, root = open_dataset(paths.find_data(data)), paths.find_out(out)
stage, predicted = root / "06_explore", paths.find_stage(root, "05_inference")
segmented, cropped = (paths.find_stages(root, name) for name in ("02_segmentation", "03_cell_crops"))
folders, crops = inference.find_models(root, model), manifest.same_section("crops", cropped)
ensemble, made = inference.open_ensemble(folders), manifest.read_manifest(predicted)["configuration"]
manifest.check_same("crops", ensemble.crops, crops, folders[0], cropped[0])
network, split, blending = ensemble.models[0], made["split"], inference.BlendConfig(**made["blending"])
print(f"{split} fields; the first of {len(ensemble.models)} models; crops of {crops['size']} px")

# %%
manifest.begin(stage)
parts = {name: tables.list_parts([folder / name for folder in segmented], split) for name in ("fields", "cells")}
fields, cells = (pd.concat(map(tables.read_part, listed), ignore_index=True) for listed in parts.values())
bags = Bags([folder / "bags" for folder in cropped], split)
predictions = tables.read_keyed(predicted / "predictions.parquet", cells)
print(f"{len(fields):,} fields, {len(cells):,} cells, {len(predictions):,} of them predicted")

# %%
blended = inference.blend(predictions, cells, blending, ensemble.calibration)
confidences = explore.values_of_cells(cells, predictions, blended)
scores = explore.values_of_cells(cells, predictions, predictions[CELL_COLUMNS].to_numpy())
answers, truth = dataset.truth_path(split), None
if answers:
    truth = scoring.truth_labels(scoring.read_truth(answers), cells, fields)
shown = explore.choose_fields(fields, paged, seed, field)
close = explore.richest_field(shown[:1] if field else shown, cells, scores)
print(f"looked at closely: field {close}" if close else f"no predicted cell in {field or 'any field'}")

# %% [markdown]
# ## Which cells are alike
# What the network's head sees of a cell is a vector of features. On their map cells of one class should lie together;
# where cells of one field do instead, whatever they show, the network tells fields rather than organelles.

# %%
looked = explore.choose_fields(fields, embedded, seed, close)
numbers = np.flatnonzero(bags.table["image_id"].isin(looked["image_id"]))
explore.write_embeddings(stage / "embeddings.parquet", network, bags, numbers, crops["size"], cells)
vectors, rows = explore.read_embeddings(stage / "embeddings.parquet", cells)
table, own, known = cells.iloc[rows], scores[rows], None if truth is None else truth[rows]
row = explore.find_cell(table, close, cell, own) if close else None
places, method = explore.map_cells(vectors, seed)
display(plots.cell_map(places, method, own, table, known, row))

# %% [markdown]
# The chosen cell, ringed on the map, and those whose features are most like its own.

# %%
if close:
    alike, similarities = explore.nearest_cells(vectors, row)
    those = np.append(row, alike)
    display(plots.neighbours_strip(bags, table.iloc[those], similarities, own[those]))

# %% [markdown]
# ## Where it looks
# Orange: where the protein raises the score of the class (integrated gradients from the cell without its protein);
# what the network takes from the other channels is on no map, and the map of an improbable class means little.
# `docs/explore.md` tells how much of it lies on the organelle in simulated cells.

# %%
if close:
    bag = int(np.flatnonzero(bags.table["image_id"] == close)[0])
    pictures = np.stack([decode_crop(png) for png in bags.crops(bag)[:8]])
    mine = own[np.flatnonzero(table["image_id"] == close)][:8]
    labels = explore.probable_classes(mine, 6)
    maps = explore.explain_cells(network, pictures, np.repeat(bags.percentiles[[bag]], len(pictures), 0), labels)
    display(plots.explanations(pictures, maps, labels, mine, bags.table["cell_ids"][bag], f"field {close}"))

# %% [markdown]
# ## Fields whose cells differ
# Single-cell variability, for which this task exists: for each class the field whose cells disagree most about it, from
# the cell that shows it most probably to the one that does least. All fields are in `variability.csv`.

# %%
ranked = explore.rank_fields(scores, cells["image_id"], cells["cell_id"])
with paths.atomic_write(stage / "variability.csv") as temporary:
    ranked.to_csv(temporary, index=False)
first = ranked[ranked["rank"] == 1]
told = first["disagreement"] >= least
display(plots.variable_fields(bags, first[told], predictions))
print("no field's cells differ in:", ", ".join(CLASS_NAMES[label] for label in first.loc[~told, "label"]) or "-")

# %% [markdown]
# ## A page to look at
# `report.html`: all of these fields' cells with their confidences; it opens in any browser, without a network.

# %%
described = explore.describe_fields(dataset, shown, cells, confidences, truth)
size = explore.write_page(stage / "report.html", described, f"Cells of {dataset.root.name}")
print(f"report.html: {len(shown)} fields, {size / 1e6:.1f} MB")
counts = {"fields on the page": len(shown), "cells embedded": len(table), "MB of page": round(size / 1e6, 1)}
manifest.finish(stage, {"split": split, "models": ensemble.digests[:1], "blending": made["blending"]}, counts)
