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
# - **Reads** the data set, the tables of `02_segmentation/`, the bags of `03_cell_crops/` and model folders.
# - **Writes** `05_inference/`: `predictions.parquet`, `submission.csv`, and `scores.json` where the data set has
#   cell-level truth.
# - **Takes** 15 s on the demo's 40 fields with 689 cells, 2 cores and no GPU (`benchmarks/demo.py`). Interrupted, it
#   goes on where it was; with a deadline it does what fits.

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
model: str = ""  # model folders that predict together, joined by a comma; empty: 04_train of the output root
split: str = ""  # split to predict; empty: test, or train where there is no test split
config: str = ""  # JSON of overrides, sections prediction and blending
views: int = 1  # flips and turns of each cell that are averaged, 1, 2, 4 or 8; with a deadline the most
batch: int = 64  # cells a step; with a deadline the fewest
deadline: float = 0.0  # Unix time by which to be done; 0: none, on Kaggle 7.5 h after the session's start
shown: int = 4  # fields shown with their predictions

# %%
import dataclasses
import warnings

import pandas as pd

from hpa_utils import inference, manifest, paths, scoring, tables
from hpa_utils.crops import Bags
from hpa_utils.dataset import open_dataset
from hpa_utils.plots import inference as plots
from hpa_utils.plots.train import class_scores
from hpa_utils.scoring.ledger import blend_ledger
from hpa_utils.segmentation import report

# %%
dataset, root = open_dataset(paths.find_data(data)), paths.find_out(out)
stage, folders = root / "05_inference", inference.find_models(root, model)
segmented, cropped = (paths.find_stages(root, name) for name in ("02_segmentation", "03_cell_crops"))
prediction = manifest.configure(inference.PredictionConfig, "prediction", config, views=views, batch=batch)
blending = manifest.configure(inference.BlendConfig, "blending", config)
split = split or ("test" if "test" in dataset.folders else "train")
if split == "train":
    print("The data set has no test split to predict: these are predictions of the train split,")
    print("for fields the model may have been trained on.")

# %% [markdown]
# A valid submission comes first, every field Negative as a whole, should anything go wrong later.

# %%
manifest.begin(stage)
listed = tables.list_parts([made / "fields" for made in segmented], split)
fields = pd.concat(map(tables.read_part, listed), ignore_index=True)
sample = dataset.sample_submission if split == "test" else None
rows, submission = scoring.submission_rows(fields, sample), stage / "submission.csv"
inference.join_rows([], rows, submission)
on_kaggle = paths.on_kaggle() and split == "test"
if on_kaggle:
    scoring.publish_submission(submission)
print(f"{len(rows):,} fields in the submission; {len(fields):,} segmented, {fields['n_cells'].sum():,} cells")

# %%
ensemble = inference.open_ensemble(folders)
manifest.check_same("crops", ensemble.crops, manifest.same_section("crops", cropped), folders[0], cropped[0])
segmenter = manifest.read_manifest(segmented[0])["configuration"]["segmenter"]
if segmenter != ensemble.segmenter:
    warnings.warn(f"cells come from {segmenter}, the model learned cells from {ensemble.segmenter}", stacklevel=1)
print(f"{len(ensemble.models)} models", prediction, blending, sep="\n")

# %% [markdown]
# ## Predict
# Part by part, so that memory does not grow with the number of fields. With a deadline the first cells are timed, and
# as many models and views taken as fit.

# %%
until = inference.find_deadline(deadline, prediction)
planned = (cropped, segmented, split, rows, stage, ensemble, prediction)
parts = inference.plan_predictions(*planned, timed=until < float("inf"))
outcome = inference.predict_parts(parts, stage, ensemble, prediction, blending, until, not paths.scoring_rerun())
print(outcome)

# %% [markdown]
# ## Submission
# One row a field, 19 lines a cell: `label confidence mask`. A field without cells gets its whole area as Negative.

# %%
late = inference.join_rows(parts, rows, submission)
if on_kaggle:
    scoring.publish_submission(submission)
inference.join_predictions(parts, segmented, split, stage / "predictions.parquet")
sample_file = dataset.root / "sample_submission.csv"
findings = scoring.validate_submission(submission, sample_file if sample is not None else "")
size = submission.stat().st_size / 1e6
print(f"submission.csv: {len(rows)} fields, {size:.1f} MB, {len(findings)} findings", *findings[:10], sep="\n")
print(f"{late} fields with cells were left without a prediction, for lack of time")

# %%
listed = tables.list_parts([made / "cells" for made in segmented], split)
cells = pd.concat(map(tables.read_part, listed), ignore_index=True)
predictions = tables.read_keyed(stage / "predictions.parquet", cells)
confidences = inference.blend(predictions, cells, blending, ensemble.calibration)
if len(predictions):
    display(plots.confidence_histogram(confidences))

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
if len(predictions) and not late:
    display(plots.most_confident(Bags([made / "bags" for made in cropped], split), confidences))

# %% [markdown]
# ## Score
# And the ledger: what each step of the blend gains or costs, the others staying as they are.

# %%
truth, scores = dataset.truth_path(split), {}
if truth:
    scores = scoring.score_submission(truth, submission)
    paths.write_json(stage / "scores.json", scores)
    print(f"mean average precision over 19 classes: {scores['mean_average_precision']:.4f}")
    display(class_scores(scores, "Average precision of single cells at mask IoU 0.6"))
    known = scoring.read_truth(truth), fields, cells, predictions
    display(blend_ledger(*known, ensemble.calibration, blending).round(4))
else:
    (stage / "scores.json").unlink(missing_ok=True)
    print("the data set has no cell-level truth for this split: no score")

# %%
described = {"split": split, "segmenter": segmenter, "crops": ensemble.crops, "models": ensemble.digests}
described |= {"prediction": dataclasses.asdict(prediction), "blending": dataclasses.asdict(blending)}
counts = {"fields": len(fields), "cells": len(cells), "predicted": len(predictions), "late fields": late}
counts |= {"models × views": outcome.plans, "findings": len(findings)}
manifest.finish(stage, described, counts | ({"mAP": round(scores["mean_average_precision"], 4)} if scores else {}))
