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
# # 5 · Predictions and submission
#
# Every cell gets 19 probabilities, mixed with its field's. The submission names each cell by its mask.
#
# - **Reads** the data set, the tables of `02_segmentation/`, the bags of `03_cell_crops/` and a model folder.
# - **Writes** `05_inference/`: `predictions.parquet`, `submission.csv`, and `scores.json` where the data set has
#   cell-level truth.
# - **Takes** 15 s on the demo's 40 fields with 689 cells, 2 cores and no GPU (`benchmarks/demo.py`).

# %%
import sys
from pathlib import Path
sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
model: str = ""  # model folder; empty: 04_train of the output root
split: str = ""  # split to predict; empty: test, or train where there is no test split
batch: int = 64  # cells a step
shown: int = 4  # fields shown with their predictions

# %%
import warnings

from hpa_utils import manifest, paths, tables
from hpa_utils.crops import Bags
from hpa_utils.dataset import open_dataset
from hpa_utils.inference import blend, load_models, predict_bags
from hpa_utils.plots import inference as plots
from hpa_utils.plots.train import class_scores
from hpa_utils.scoring import publish_submission, score_submission, submission_rows
from hpa_utils.scoring import validate_submission, write_submission
from hpa_utils.segmentation import report

# %%
dataset = open_dataset(paths.find_data(data))
root = paths.find_out(out)
stage, folder = root / "05_inference", paths.find_model(root, model)
segmented, cropped = (paths.find_stages(root, name) for name in ("02_segmentation", "03_cell_crops"))
split = split or ("test" if "test" in dataset.folders else "train")
if split == "train":
    print("The data set has no test split to predict: these are predictions of the train split,")
    print("for fields the model may have been trained on.")

# %%
trained = manifest.read_config(folder)
manifest.check_same("crops", trained["crops"], manifest.same_section("crops", cropped), folder, cropped[0])
segmenter = manifest.read_manifest(segmented[0])["configuration"]["segmenter"]
if segmenter != trained["segmenter"]:
    warnings.warn(f"cells come from {segmenter}, the model learned cells from {trained['segmenter']}", stacklevel=1)
fields, cells = (tables.read_parts([made / table for made in segmented]) for table in ("fields", "cells"))
fields, cells = fields[fields["split"] == split], cells[cells["split"] == split]
bags = Bags([made / "bags" for made in cropped], split)
bags.check_cells(cells)
print(f"{len(fields):,} {split} fields, {len(bags):,} with cells, {len(cells):,} cells")

# %% [markdown]
# ## Predict

# %%
manifest.begin(stage)
sample = dataset.root / "sample_submission.csv"
if paths.on_kaggle() and split == "test" and sample.is_file():
    publish_submission(sample)  # valid, should the time run out
models = load_models(folder)
predictions = predict_bags(models, bags, range(len(bags)), trained["crops"]["size"], batch)
tables.write_keyed(stage / "predictions.parquet", predictions, tables.cells_fingerprint(cells))
confidences = blend(predictions)
display(plots.confidence_histogram(confidences))

# %% [markdown]
# ## Submission
# One row a field, 19 lines a cell: `label confidence mask`. A field without cells gets its whole area as Negative.

# %%
rows = submission_rows(fields, dataset.sample_submission if split == "test" else None)
write_submission(stage / "submission.csv", rows, cells, predictions, confidences)
findings = validate_submission(stage / "submission.csv", sample if split == "test" and sample.is_file() else "")
size = (stage / "submission.csv").stat().st_size / 1e6
print(f"submission.csv: {len(rows)} fields, {size:.1f} MB, {len(findings)} findings", *findings[:10], sep="\n")
if paths.on_kaggle():
    publish_submission(stage / "submission.csv")

# %% [markdown]
# ## Cells with their predictions
# The class each cell shows most probably, by its own score before the field's is mixed in.

# %%
by_field = predictions.groupby("image_id", sort=False).indices
for row in fields[fields["image_id"].isin(by_field)].head(shown).itertuples():
    field, labels = report.field_and_labels(dataset, cells, row)
    own = predictions.iloc[by_field[row.image_id]]
    display(plots.predicted_field(field, labels, own, row.image_id[:8]))

# %% [markdown]
# ## The most confident cells of each class
# The protein channel, each cell stretched by itself. A class whose best cells do not look like it was not learned.

# %%
display(plots.most_confident(bags, confidences))

# %% [markdown]
# ## Score

# %%
truth, scores = dataset.truth_path(split), {}
if truth:
    scores = score_submission(truth, stage / "submission.csv")
    paths.write_json(stage / "scores.json", scores)
    print(f"mean average precision over 19 classes: {scores['mean_average_precision']:.4f}")
    display(class_scores(scores, "Average precision of single cells at mask IoU 0.6"))
else:
    (stage / "scores.json").unlink(missing_ok=True)
    print("the data set has no cell-level truth for this split: no score")

# %%
configuration = {"split": split, "segmenter": segmenter, "crops": trained["crops"]}
counts = {"fields": len(fields), "cells": len(cells), "findings": len(findings)}
manifest.finish(stage, configuration, counts | ({"mAP": round(scores["mean_average_precision"], 4)} if scores else {}))
