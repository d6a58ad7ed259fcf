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
# To judge predictions by eye: which cells look alike to the model, where in a cell it looks, which fields hold cells
# that differ, and a page to look at all of it.
#
# - **Reads** the data set, the tables of `02_segmentation/`, the predictions of `05_inference/`, a model of `04_train/`
#   and its crop set in `03_cell_crops/`, all of the split that 05 predicted.
# - **Writes** `06_explore/`: `embeddings.parquet`, `variability.csv`, and `report.html`, a page that opens anywhere.
# - **Takes** a minute on the demo's 40 fields with 774 cells, 2 cores and no GPU.

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
model: str = ""  # model folder, or a folder of several, of which the first is taken; empty: 04_train of the output root
field: str = ""  # ID of the field that is looked at closely; empty: one of many classes and cells
cell: int = 0  # number of its cell that is looked at closely; 0: the one with the highest probability
embedded: int = 500  # fields whose cells are embedded, drawn at random
paged: int = 50  # fields on the page, drawn at random
least: float = 0.1  # mean difference of two cells' probabilities from which a field is shown
seed: int = 0  # of the choice of fields and of the map

# %%
import numpy as np

import hpa_explorer as explore
from hpa_explorer import plots
from hpa_utils import inference, manifest, model_folders, paths, scoring, tables
from hpa_utils.crop_sets import CropSet
from hpa_utils.dataset import open_dataset
from hpa_utils.labels import CLASS_NAMES

# %%
dataset, root = open_dataset(paths.find_data(data)), paths.find_out(out)
stage, predicted = root / "06_explore", paths.find_stage(root, "05_inference")
made = manifest.read_manifest(predicted)["configuration"]
folder, split = model_folders.find_models(root, model)[0], made["split"]
config, network = manifest.read_config(folder), inference.load_network(folder)
crop_set = config["crops"]
print(f"{split} fields. Embeddings and explanations: {folder.name}, crops {crop_set['name']}")
print(f"Probabilities: 05_inference, mean over {', '.join(made['models'])}")

# %% [markdown]
# Cells are taken in the order of the crop set. Their probabilities are their own, as `predictions.parquet` has them:
# nothing of their field is mixed in, as 05 does for the submission.

# %%
manifest.begin(stage)
segmented = paths.find_stages(root, "02_segmentation")
fields = tables.read_parts([made_in / "fields" for made_in in segmented], split=split)
cells = tables.read_parts([made_in / "cells" for made_in in segmented], split=split)
predictions = tables.read_keyed(predicted / "predictions.parquet", cells)
fingerprint = tables.cells_fingerprint(cells)
print(f"{len(fields):,} fields, {len(cells):,} cells, {len(predictions):,} of them predicted")

# %%
cropped = paths.find_stages(root, f"03_cell_crops/{crop_set['name']}")
for made_in in cropped:
    cut = manifest.read_manifest(made_in)["configuration"]["crops"]
    manifest.check_same("crops", crop_set["config"], cut["config"], folder, made_in)
crops = CropSet(cropped, split)
crops.check_cells(cells)
percentiles = tables.percentile_array(fields.set_index("image_id").loc[crops.image_ids])
cells = crops.keys().merge(cells, "left")
probabilities = crops.keys().merge(predictions, "left")[tables.CELL_COLUMNS].to_numpy(np.float32)
answers, truth = dataset.truth_path(split), None
if answers:
    truth = scoring.truth_labels(scoring.read_truth(answers), cells, fields)

# %%
shown = explore.choose_fields(fields, paged, seed, field)
close = explore.richest_field(shown[:1] if field else shown, cells, probabilities)
if close:
    chosen = explore.find_cell(cells, close, cell, probabilities)
    print(f"looked at closely: field {close}, cell {crops.cell_id[chosen]}")
else:
    print(f"nothing to look at closely: no predicted cell in {field or 'any field'}")

# %% [markdown]
# ## Which cells are alike
# What the network's head sees of a cell is a vector of features. On their map cells of one class should lie together.
# Where cells of one field do instead, whatever they show, the network tells fields rather than organelles.

# %%
looked = explore.choose_fields(fields, embedded, seed, close)
numbers = np.flatnonzero(cells["image_id"].isin(looked["image_id"]))
vectors = explore.embed_cells(network, crops, percentiles, numbers)
explore.write_embeddings(stage / "embeddings.parquet", crops.keys().iloc[numbers], vectors, fingerprint)
row = int(np.flatnonzero(numbers == chosen)[0]) if close else None
known = None if truth is None else truth[numbers]
places, method = explore.map_cells(vectors, seed)
display(plots.cell_map(places, method, probabilities[numbers], cells["image_id"].iloc[numbers], known, row))

# %% [markdown]
# The chosen cell, ringed on the map, and those whose features are most like its own.

# %%
if close:
    alike, similarities = explore.nearest_cells(vectors, row)
    display(plots.neighbours_strip(crops, numbers[np.append(row, alike)], similarities, probabilities))

# %% [markdown]
# ## What a class hangs on
# Orange: where the protein's light speaks for the class, violet: where against it (integrated gradients, smoothed). The
# maps do not find the organelle better than the protein channel beside them (`docs/explore.md`); they tell which of
# the light counts for which class. The map of an improbable class means little.

# %%
if close:
    others = np.flatnonzero((cells["image_id"] == close) & (cells.index != chosen))
    surest = np.argsort(-np.nan_to_num(probabilities[others]).max(axis=1), kind="stable")
    own = np.append(chosen, others[surest])[:8]
    labels, pictures = explore.probable_classes(probabilities[own], 6), crops.read(own)
    maps = explore.explain_cells(network, pictures, percentiles[crops.field[own]], labels)
    about = probabilities[own], crops.cell_id[own], crops.um_per_px[own] * crops.size
    display(plots.explanations(pictures, maps, labels, *about, f"field {close}"))

# %% [markdown]
# ## Fields whose cells differ
# Single-cell variability is the reason for this task. For each class: the field whose cells disagree most about it,
# from the most to the least probable cell. All fields are in `variability.csv`.

# %%
ranked = explore.rank_fields(probabilities, cells["image_id"], cells["cell_id"])
with paths.atomic_write(stage / "variability.csv") as temporary:
    ranked.to_csv(temporary, index=False)
first = ranked[ranked["rank"] == 1]
differ = first["disagreement"] >= least
display(plots.variable_fields(crops, first[differ], probabilities))
print("no field's cells differ in:", ", ".join(CLASS_NAMES[label] for label in first.loc[~differ, "label"]) or "-")

# %% [markdown]
# ## A page to look at
# `report.html`: these fields' cells, each with its own probability of every class, which the page calls its confidence.
# It opens in any browser, without a network.

# %%
on_map = np.full((len(cells), 2), np.nan)
on_map[numbers] = places
described = explore.describe_fields(dataset, shown, cells, probabilities, truth, on_map)
size = explore.write_page(stage / "report.html", described, f"Cells of {dataset.root.name}", method)
print(f"report.html: {len(shown)} fields, {size / 1e6:.1f} MB")
counts = {"fields on the page": len(shown), "cells embedded": len(numbers), "MB of page": round(size / 1e6, 1)}
manifest.finish(stage, {"split": split, "model": folder.name, "probabilities": made["models"]}, counts)
