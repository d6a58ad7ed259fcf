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
# One network with 19 sigmoids looks at one cell at a time. Each cell inherits its field's labels, which are wrong for
# many cells, but never name a class that no cell of the field could have. ImageNet weights first train the new head
# alone, then the deeper blocks. With `rounds=2` models of folds score the cells that they have not seen; these scores
# become soft labels, from which a last model learns, in all fields.
#
# - **Reads** the bags of `03_cell_crops/` and the tables of `02_segmentation/`, train split; human grades of cells
#   (`cell_scores.csv`) where the data set has them, and its cell-level truth only to score.
# - **Writes** `04_train/`: the model folder (`model.keras`, `config.json`, `history.csv`, `folds.csv`,
#   `oof.parquet`, `soft_labels.parquet`, `scores.json`, `calibration.json`).
# - **Takes** 3 minutes on the demo's 160 fields and 200 passes, crops of 96 px, 2 cores and no GPU
#   (`benchmarks/demo.py`). Interrupted, it goes on where it was.

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
more: str = ""  # output roots whose train bags are mixed in, joined by a comma
backbone: str = "lite0"  # lite0 (fast on a CPU), b0 to b7, v2b0 to v2b3 or v2s
rounds: int = 1  # 1 learns inherited labels; further ones soft labels made by the one before, the last in all fields
epochs: int = 120  # passes over the fields with the blocks of the backbone trained
cells_per_bag: int = 1  # cells drawn from a field in a step
bags_per_batch: int = 32  # fields in a step
folds: int = 5  # parts the fields are split into
trained_folds: int = 1  # how many of them get a model; two or more for further rounds
seed: int = 0
config: str = ""  # JSON of overrides, sections model, augmentation, training and soft_labels

# %%
import numpy as np
import pandas as pd

from hpa_utils import inference, manifest, model, paths, tables, training
from hpa_utils.crops import Bags
from hpa_utils.dataset import open_dataset
from hpa_utils.plots import train as plots
from hpa_utils.scoring import confident_mistakes, grade_labels, ranking_scores, read_truth, reliability, truth_labels

# %%
dataset, root = open_dataset(paths.find_data(data)), paths.find_out(out)
stage = root / "04_train"
segmented = paths.find_stages(root, "02_segmentation") + paths.listed_stages(more, "02_segmentation")
cropped = paths.find_stages(root, "03_cell_crops") + paths.listed_stages(more, "03_cell_crops")
given = {"backbone": backbone, "rounds": rounds, "epochs": epochs, "seed": seed, "folds": folds}
given |= {"cells_per_bag": cells_per_bag, "bags_per_batch": bags_per_batch, "trained_folds": trained_folds}
recipe = training.configure_recipe(config, **given)
settings, crops = recipe.training, manifest.same_section("crops", cropped)
segmenter = manifest.read_manifest(segmented[0])["configuration"]["segmenter"]
print(training.choose_devices(settings.precision), *recipe.sections().items(), sep="\n")

# %%
bags = Bags([folder / "bags" for folder in cropped], "train")
fields, cells = (tables.read_parts([folder / table for folder in segmented]) for table in ("fields", "cells"))
fields = fields.set_index("image_id", drop=False).loc[bags.table["image_id"]].reset_index(drop=True)
cells = cells[cells["image_id"].isin(fields["image_id"])].reset_index(drop=True)
bags.check_cells(cells)
fold = training.split_fields(fields, settings.folds, settings.seed, settings.samples)
print(f"{len(bags):,} bags with {len(cells):,} cells; fields of each class in each fold:")
display(pd.DataFrame(bags.labels).groupby(fold).sum().rename_axis("fold"))

# %% [markdown]
# ## What is known of single cells
# Human grades, where there are some, take the place of inherited labels. A field labelled Mitotic spindle has one or
# two dividing cells, found without labels by their nucleus and shape; these candidates are for a person to look at.

# %%
grades, unmatched = training.graded_cells(dataset.root, cells, fields)
print(f"{len(grades)} grades of our cells, {len(unmatched)} that match none")
spindles = training.spindle_cells(cells, fields)
candidates = pd.concat(spindles).sort_values("score", ascending=False)
if len(candidates):
    display(plots.spindle_sheet(bags, candidates.head(24)))
first = training.first_labels(settings.labels, cells, fields)

# %% [markdown]
# ## Train

# %%
if settings.find_rate:
    display(plots.tried_rates(training.try_rates(bags, np.arange(len(bags)), crops["size"], recipe)))

# %%
manifest.begin(stage)
pd.DataFrame({"image_id": bags.table["image_id"], "fold": fold}).to_csv(stage / "folds.csv", index=False)
trained = training.fit_rounds(bags, fold, crops["size"], recipe, stage, cells, fields, first, grades, spindles)
oof, models = trained.oof, trained.models

# %%
trained.history.to_csv(stage / "history.csv", index=False)
display(plots.learning_curves(trained.history))
model.summary(models[0], settings.bags_per_batch, settings.cells_per_bag, settings.ema > 0)
tables.write_keyed(stage / "oof.parquet", oof, tables.cells_fingerprint(cells))
training.write_soft_labels(stage / "soft_labels.parquet", trained.soft, cells)
display(plots.soft_label_shares(training.positive_shares(trained.soft, fields)))

# %% [markdown]
# ## Fields and cells out of fold
# How well scores rank what was not trained on: the fields that carry a label above the others, and, where people
# graded cells or the data set has cell-level truth, the cells that show it. What scores are worth, by the fields'
# labels and the grades (never by the truth, which real data do not have), goes into `calibration.json`. All this is
# of the models of folds: the last model of several rounds has seen every field.

# %%
by_field = oof.drop_duplicates("image_id")
labels = bags.labels[bags.table["image_id"].isin(by_field["image_id"])]
known = {"fields": (labels, by_field[model.FIELD_COLUMNS].to_numpy())}
seen = oof.merge(cells, on=["image_id", "cell_id"], how="left")
if dataset.truth_path("train"):
    truth = truth_labels(read_truth(dataset.truth_path("train")), seen, fields)
    known["cells, by truth"] = truth, seen[model.CELL_COLUMNS].to_numpy()
if len(grades):
    known["cells, by people"] = grade_labels(grades, seen), seen[model.CELL_COLUMNS].to_numpy()
scores = {name: ranking_scores(*pair) for name, pair in known.items()}
paths.write_json(stage / "scores.json", scores)
inference.write_calibration(stage, inference.fit_calibration(oof, cells, fields, grade_labels(grades, seen)))

# %%
for name, found in scores.items():
    display(plots.class_scores(found, f"{name}, out of fold"))
if len(oof):
    display(plots.reliability_diagram({name: reliability(*pair) for name, pair in known.items()}))

# %% [markdown]
# ## The most confident mistakes
# False alarms and misses of fields, each by the cell that looks most like the class. Some are errors of the labels.

# %%
if len(oof):
    display(plots.mistakes(bags, confident_mistakes(fields, oof, 12)))

# %% [markdown]
# ## The model folder

# %%
training.save_models(stage, models)
described = {"format": manifest.FORMAT, "crops": crops, **recipe.sections(), "segmenter": segmenter}
described |= {"weights": trained.weights, "cells_fingerprint": tables.cells_fingerprint(cells)}
paths.write_json(stage / "config.json", described)
counts = {"train fields": len(bags), "models": len(models), "epochs": len(trained.history)}
manifest.finish(stage, {**described, "model_sha256": manifest.digest(stage / "model.keras")}, counts)
