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
# # 4 · Learning cells from field labels
#
# One network with 19 sigmoids looks at every cell of a bag. Each cell inherits its field's labels, and the mean of
# the cells' logits must agree with the field: the labels are wrong for many cells, but never name a class that no
# cell of the field could have. ImageNet weights first train the new head alone, then the deeper blocks.
#
# - **Reads** the bags of `03_cell_crops/` and the tables of `02_segmentation/`, train split.
# - **Writes** `04_train/`: the model folder (`model.keras`, `config.json`, `history.csv`, `folds.csv`,
#   `oof.parquet`, `scores.json`).
# - **Takes** 5 minutes on the demo's 160 fields and 26 epochs, crops of 96 px, 2 cores and no GPU
#   (`benchmarks/demo.py`).

# %%
import sys
from pathlib import Path
sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
backbone: str = "lite0"  # lite0 (fast on a CPU) or b0
weights: str = "imagenet"  # imagenet, none, or the path of a .h5 file of that backbone
head_epochs: int = 2  # passes over the fields with the backbone frozen
epochs: int = 8  # passes with its blocks trained
cells_per_bag: int = 8  # cells drawn from a field in a step
bags_per_batch: int = 4  # fields in a step
folds: int = 5  # parts the fields are split into
trained_folds: int = 1  # how many of them get a model
seed: int = 0
config: str = ""  # JSON of overrides, section training (hpa_utils.training.TrainConfig)

# %%
import dataclasses

import numpy as np
import pandas as pd

from hpa_utils import manifest, paths, tables, training
from hpa_utils.crops import Bags
from hpa_utils.inference import FIELD_COLUMNS, predict_bags
from hpa_utils.plots import train as plots
from hpa_utils.scoring import field_scores

# %%
root = paths.find_out(out)
stage, cropped = root / "04_train", paths.find_stage(root, "03_cell_crops")
segmented = paths.find_stage(root, "02_segmentation")
given = {"backbone": backbone, "weights": weights, "head_epochs": head_epochs, "epochs": epochs, "seed": seed}
given |= {"cells_per_bag": cells_per_bag, "bags_per_batch": bags_per_batch}
given |= {"folds": folds, "trained_folds": trained_folds}
settings = manifest.configure(training.TrainConfig, "training", config, **given)
crops = manifest.read_manifest(cropped)["configuration"]["crops"]
print(settings)

# %%
bags = Bags(cropped / "bags", "train")
cells = tables.read_parts(segmented / "cells")
cells = cells[cells["split"] == "train"]
bags.check_cells(cells)
fold = training.assign_folds(bags.labels, settings.folds, settings.seed)
per_fold = pd.DataFrame(bags.labels).groupby(fold).sum().rename_axis("fold")
print(f"{len(bags):,} bags with {len(cells):,} cells; fields of each class in each fold:")
display(per_fold)

# %% [markdown]
# ## Train

# %%
manifest.begin(stage)
pd.DataFrame({"image_id": bags.table["image_id"], "fold": fold}).to_csv(stage / "folds.csv", index=False)
models, histories = [], []
for k in range(settings.trained_folds if fold.max() >= 0 else 1):
    learned, held_out = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
    model, history, loaded = training.fit_bags(bags, learned, held_out, crops["size"], settings)
    models.append(model)
    histories.append(history.assign(fold=k))

# %%
history = pd.concat(histories, ignore_index=True)
history.to_csv(stage / "history.csv", index=False)
display(plots.learning_curves(history))

# %% [markdown]
# ## Fields out of fold
# How well the pooled score of a field that was not trained on ranks the fields that carry a label. This says how
# the *fields* are told apart; for cells there is no label here to compare with.

# %%
parts = [predict_bags([model], bags, np.flatnonzero(fold == k), crops["size"]) for k, model in enumerate(models)]
oof = pd.concat(parts, ignore_index=True)
tables.write_keyed(stage / "oof.parquet", oof, tables.cells_fingerprint(cells))
by_field = oof.drop_duplicates("image_id")
labels = bags.labels[bags.table["image_id"].isin(by_field["image_id"])]
scores = field_scores(labels, by_field[FIELD_COLUMNS].to_numpy())
paths.write_json(stage / "scores.json", scores)

# %%
if scores["mean_average_precision"] is None:
    print("no validation: too few fields, or no class that some of the held-out fields have and others have not")
else:
    reached, chance = scores["mean_average_precision"], scores["mean_chance"]
    title = f"{len(by_field)} fields out of fold: {reached:.3f}, chance {chance:.3f}"
    display(plots.class_scores(scores, title))

# %% [markdown]
# ## The model folder

# %%
training.save_models(stage, models)
segmenter = manifest.read_manifest(segmented)["configuration"]["segmenter"]
described = {"format": manifest.FORMAT, "crops": crops, "training": dataclasses.asdict(settings)}
described |= {"segmenter": segmenter, "weights": loaded, "cells_fingerprint": tables.cells_fingerprint(cells)}
paths.write_json(stage / "config.json", described)
digest = manifest.digest(stage / "model.keras")
counts = {"train fields": len(bags), "models": len(models), "epochs": settings.head_epochs + settings.epochs}
manifest.finish(stage, {**described, "model_sha256": digest}, counts)
