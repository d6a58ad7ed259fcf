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
# Every cell gets 19 probabilities, the mean over models and views of its crop, mixed with those of its field. The
# submission names each cell by its mask.
#
# - **Reads** the data set, the tables of `02_segmentation/`, the crop sets of `03_cell_crops/` and model folders.
# - **Writes** `05_inference/`: `predictions.parquet`, `submission.csv`, and `scores.json` where the data set has
#   cell-level truth.
# - **Takes** 51 s on the demo's 40 fields with 774 cells, 2 cores and no GPU (`benchmarks/demo.py`). Interrupted, it
#   goes on where it was. With a deadline it takes as many models and views as there is time for.

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
model: str = ""  # model folder, or a folder of several that predict together; empty: 04_train of the output root
split: str = ""  # split to predict; empty: test, or train where there is no test split
tta: int = 1  # flips and turns of each crop that are averaged: 1, 2, 4 or 8
deadline: float = 0.0  # Unix time by which to be done; 0: none, on Kaggle 7.5 h after the session's start
shown: int = 4  # fields shown with their predictions

# %%
import time

import numpy as np
import pandas as pd
from tqdm import tqdm

from hpa_utils import inference, limits, manifest, model_folders, paths, scoring, tables
from hpa_utils.blending import change_odds, company_odds, nothing_shown, shown_part
from hpa_utils.crop_sets import CropSet
from hpa_utils.dataset import open_dataset
from hpa_utils.labels import N_CLASSES
from hpa_utils.plots import inference as plots
from hpa_utils.plots.segmentation import coloured_field
from hpa_utils.plots.train import class_scores
from hpa_utils.inference import as_confidences, check_tta, field_max, field_mean, logit, sigmoid
from hpa_utils.segmentation.measure import field_and_labels

# %%
dataset, root, views = open_dataset(paths.find_data(data)), paths.find_out(out), range(check_tta(tta))
stage, split = root / "05_inference", split or ("test" if "test" in dataset.folders else "train")
until, is_rerun = limits.stop_time(deadline, "05_inference"), paths.scoring_rerun()
if split == "train":
    print("No test split: these are predictions of the train split, for fields the model may have learned.")
segmented = paths.find_stages(root, "02_segmentation")
fields = tables.read_parts([folder / "fields" for folder in segmented], split=split)
cells = tables.read_parts([folder / "cells" for folder in segmented], split=split)
field = pd.Index(fields["image_id"]).get_indexer(cells["image_id"])
print(f"{len(fields):,} fields with {len(cells):,} cells")

# %% [markdown]
# A valid submission comes first, every field Negative as a whole, should anything go wrong later.

# %%
manifest.begin(stage)
sample = dataset.sample_submission if split == "test" else None
rows, submission = scoring.submission_rows(fields, sample), stage / "submission.csv"


def write_submission(confidences, predicted):
    """Write the rows of the predicted cells; on Kaggle where it is looked for, too."""
    scoring.write_submission(submission, rows, cells, cells[predicted], confidences[predicted])
    if paths.on_kaggle() and split == "test":
        scoring.publish_submission(submission)


write_submission(np.zeros((len(cells), N_CLASSES), np.float32), np.zeros(len(cells), bool))

# %% [markdown]
# ## From scores to confidences
# A cell's own score times its field's: a field where most cells show a class is surer evidence than one cell. The
# field's is that of models that look at whole fields, where there are some, else that of its mean cell. Then what
# experts' grades of 5,090 real cells say (docs/blending.md): small cells and cells cut by the border show less, and it
# matters which labels stand beside one another. Two classes are apart. Of twenty cells one divides, so a mitotic
# spindle (11) is mixed with the highest of its field only. A cell that shows nothing (18) may well lie in a field that
# shows something: it is mixed with the chance that it shows none of that.

# %%
by_geometry = shown_part(cells["area"].to_numpy(float), field, cells["edge_fraction"].to_numpy(float))


def blend(own, field, whole, part=by_geometry, beside=True):
    """Confidences (n, 19) of cells from their own probabilities (n, 19), the number of each one's field (n,), and the
    probabilities (n, 19) of that field as a whole, NaN where there are none.
    """
    of_field = np.where(np.isnan(whole), sigmoid(field_mean(logit(own), field)), whole)
    confidences = own * of_field
    odds = part * (company_odds(of_field) if beside else 1.0)
    confidences[:, :18] = change_odds(confidences[:, :18], odds)
    confidences[:, 11] = own[:, 11] * field_max(own, field)[:, 11]
    confidences[:, 18] = own[:, 18] * nothing_shown(of_field, part)
    return as_confidences(confidences)


# %% [markdown]
# ## Models

# %%
folders = model_folders.find_models(root, model)
configs = {folder: manifest.read_config(folder) for folder in folders}
digests = {folder: manifest.digest(folder / "model.keras") for folder in folders}
networks = {folder: inference.load_network(folder) for folder in folders}
parts = inference.open_sets(root, configs.values(), split, fields, cells)
segmenter = manifest.read_manifest(segmented[0])["configuration"]["segmenter"]
for folder in folders:
    learned = configs[folder]["segmenter"]
    told = "" if learned == segmenter else f"; it learned cells of {learned}, these come from {segmenter}"
    print(f"{folder.name}: crops {configs[folder]['crops']['name']}{told}")

# %% [markdown]
# ## Predict
# A pass is one model on one view of all crops. After each pass the submission is written anew, so that too little time
# costs passes, not fields. What is predicted is kept part by part: a run that was cut goes on from there.

# %%
sums = np.zeros((len(cells), N_CLASSES)), np.zeros((len(fields), N_CLASSES))  # of cells, of whole fields
count, done = [np.zeros(len(part)) for part in sums], 0
for view, folder in tqdm([(view, folder) for view in views for folder in folders], unit="pass", file=sys.stdout):
    for part in parts[configs[folder]["crops"]["name"]]:
        if time.time() < until:
            path = stage / "scores" / f"{folder.name}-view{view}" / part.name
            found = inference.predict_part(part, networks[folder], view, path, digests[folder], not is_rerun)
            sums[part.crops.whole][part.rows] += found
            count[part.crops.whole][part.rows] += 1
    predicted = count[0] > 0
    own = sums[0] / np.maximum(count[0], 1)[:, None]
    whole = (sums[1] / np.where(count[1], count[1], np.nan)[:, None])[field]
    write_submission(blend(own, field, whole), predicted)
    done += time.time() < until
    if time.time() >= until:
        print(f"the time is over: {done} of {len(views) * len(folders)} passes are whole")
        break

# %%
late = fields["image_id"].isin(cells["image_id"]) & ~fields["image_id"].isin(cells["image_id"][predicted])
table = cells.loc[predicted, ["image_id", "cell_id"]].astype({"cell_id": np.int64})
table = table.assign(**dict(zip(tables.CELL_COLUMNS, own[predicted].astype(np.float32).T)))
tables.write_keyed(stage / "predictions.parquet", table, tables.cells_fingerprint(cells))
sample_file = dataset.root / "sample_submission.csv" if sample is not None else ""
findings = scoring.validate_submission(submission, sample_file)
print(f"submission.csv: {len(rows):,} fields, {submission.stat().st_size / 1e6:.1f} MB, {len(findings)} findings")
print(*findings[:10], sep="\n")
print(f"{late.sum()} fields keep their placeholder row, for lack of time" if late.any() else "all cells are predicted")

# %%
confidences = blend(own, field, whole)
if len(table):
    display(plots.confidence_histogram(confidences[predicted]))

# %% [markdown]
# ## Cells with their predictions
# Every cell in a colour of its own, and in the colours of its classes: those of probability 0.5 or more, else the most
# probable one, by its own score before the field's is mixed in. The truth is beside it where the data set has one; a
# cell that is at no true cell's place is dark.

# %% tags=["cover"]
answers, scores = dataset.truth_path(split), {}
truth = scoring.read_truth(answers) if answers else None
known = scoring.truth_labels(truth, cells, fields) if answers else np.full(own.shape, -1)
for row in fields[fields["image_id"].isin(table["image_id"])].head(shown).itertuples():
    picture, labels = field_and_labels(dataset, cells, row)
    places = np.flatnonzero(cells["image_id"] == row.image_id)
    classes = {"predicted classes": plots.shown_classes(own[places]), "true classes": known[places]}
    display(coloured_field(picture, labels, classes, row.image_id[:8], dataset.pixel_size_um))

# %% [markdown]
# ## The most confident cells of each class
# The protein channel, each cell stretched by itself. A class whose best cells do not look like it was not learned.
# Where the truth is known, a green frame and ✓ mark a cell that shows the class, a red one and ✗ a cell that does not.

# %%
if len(table):
    crops = CropSet(paths.find_stages(root, f"03_cell_crops/{next(iter(parts))}"), split)
    numbers = crops.find(cells[predicted])
    display(plots.most_confident(crops, numbers, confidences[predicted], known[predicted]))

# %% [markdown]
# ## Score
# And what each step of the blend is worth here: the score of other blends of the same predictions.


# %%
def match(truth):
    """Every predicted cell in every class against the true cells; `reranked` gives it other confidences."""
    own = cells[predicted].merge(fields[["image_id", "height", "width"]], "left").rename(columns={"rle": "counts"})
    every = own.loc[own.index.repeat(N_CLASSES), ["image_id", "height", "width", "counts"]].reset_index(drop=True)
    every = every.assign(label=np.tile(np.arange(N_CLASSES), len(own)), confidence=confidences[predicted].ravel())
    return scoring.match_detections(truth, every)


def with_class(label, values):
    """The blend with the confidences (n,) of one class replaced."""
    return np.where(np.arange(N_CLASSES) == label, values[:, None], confidences)


# %%
mean, highest = sigmoid(field_mean(logit(own), field)), field_max(own, field)
blends = {"the blend above": confidences, "cells alone": own, "cell × highest of its field": own * highest}
blends |= {"without models of whole fields": blend(own, field, whole * np.nan)} if count[1].any() else {}
blends |= {"without size and border": blend(own, field, whole, part=1.0)}
blends |= {"without the labels beside": blend(own, field, whole, beside=False)}
blends |= {"class 11 alone": with_class(11, own[:, 11]), "class 18 alone": with_class(18, own[:, 18])}
blends |= {"class 11 × mean of its field": with_class(11, own[:, 11] * mean[:, 11])}

# %%
if answers:
    scores, matches = scoring.score_submission(answers, submission), match(truth)
    print(f"mean average precision over 19 classes: {scores['mean_average_precision']:.4f}")
    display(class_scores(scores, "Average precision of single cells at mask IoU 0.6"))
    found = {title: scoring.score_matches(matches.reranked(v[predicted].ravel())) for title, v in blends.items()}
    ablation = pd.Series({title: one["mean_average_precision"] for title, one in found.items()}, name="mAP").to_frame()
    display(ablation.assign(difference=ablation["mAP"] - ablation["mAP"].iloc[0]).round(4))
    paths.write_json(stage / "scores.json", scores | {"interval": scoring.bootstrap(matches)})
else:
    (stage / "scores.json").unlink(missing_ok=True)
    print("the data set has no cell-level truth for this split: no score")

# %% [markdown]
# How precise each class is while more and more of its cells are found, and what true cells are taken for: a cell of two
# classes is given its two most probable ones.

# %%
if scores:
    display(plots.precision_recall(matches, scores["average_precision"]))
    display(plots.confusion_heatmap(known[predicted], own[predicted]))

# %%
described = {"split": split, "segmenter": segmenter, "models": {folder.name: digests[folder] for folder in folders}}
counts = {"fields": len(fields), "cells": len(cells), "predicted": len(table), "fields not predicted": int(late.sum())}
counts |= {"models": len(folders), "views": len(views), "findings": len(findings)}
manifest.finish(stage, described, counts | ({"mAP": round(scores["mean_average_precision"], 4)} if scores else {}))
