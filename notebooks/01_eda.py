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
# # 1 · Exploring the data set
#
# Each field was photographed in four channels: microtubules (red), the protein of interest (green), nucleus (blue)
# and endoplasmic reticulum (yellow). The labels say where in the *field* the protein was seen, out of 19 classes;
# the task asks for the labels of each *cell*.
#
# - **Reads** the data set: its tables, the headers of all images, and a random sample of decoded fields.
# - **Writes** `01_eda/`: this notebook and its manifest, no data.
# - **Takes** 8 s on the demo's 200 fields of 512², 2 cores and no GPU (`benchmarks/demo.py`).

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
sample: int = 100  # fields that are decoded for the brightness figure (at most 300)
shown: int = 4  # fields shown as pictures
seed: int = 0  # of the sample

# %%
import numpy as np
import pandas as pd
from tqdm import tqdm

from hpa_utils import images, manifest, paths
from hpa_utils.dataset import open_dataset
from hpa_utils.labels import format_labels
from hpa_utils.plots import eda

# %%
dataset = open_dataset(paths.find_data(data))
stage = paths.find_out(out) / "01_eda"
manifest.begin(stage)
rng = np.random.default_rng(seed)
splits = {split: dataset.image_ids(split) for split in dataset.folders}
for split, ids in splits.items():
    print(f"{split}: {len(ids):,} fields at {dataset.pixel_size_um} µm a pixel")

# %% [markdown]
# ## Labels
# Most fields carry one or two labels; the rarest classes have a few dozen fields among 21,806. Class 18, *Negative*,
# stands alone: it means that nothing specific was seen.

# %%
labels = dataset.label_vectors("train", splits["train"]) if "train" in splits else np.zeros((0, 19), np.int8)
if len(labels):
    display(eda.label_counts(labels))
else:
    print("no train split: the fields are unlabelled")

# %%
if len(labels):
    display(eda.co_occurrence(labels))
    sets = pd.Series([format_labels(row) for row in labels]).value_counts()
    display(sets.head(10).rename("fields").rename_axis("the most frequent label sets").to_frame())
    how_many = pd.Series(labels.sum(axis=1)).value_counts(normalize=True).sort_index()
    display(how_many.mul(100).round(1).rename("% of fields").rename_axis("labels of a field").to_frame())

# %% [markdown]
# ## Sizes
# Read from the headers of all fields. A field whose header cannot be read is listed, not dropped in silence.

# %%
sizes, unreadable = [], []
for split, image_id in tqdm([(s, i) for s, ids in splits.items() for i in ids], unit="field", file=sys.stdout):
    try:
        height, width = images.field_size(dataset.folders[split], image_id)
        sizes.append({"split": split, "height": height, "width": width})
    except (FileNotFoundError, ValueError) as error:
        unreadable.append({"split": split, "image_id": image_id, "error": str(error)})
display(eda.field_statistics(labels, pd.DataFrame(sizes, columns=["split", "height", "width"])))
print(f"{len(unreadable)} fields without a readable header", *unreadable[:5], sep="\n")

# %% [markdown]
# ## The four channels
# Each channel is stretched by itself, so that dim ones can be seen; the last column is the colour composite.

# %%
everything = [(split, image_id) for split, ids in splits.items() for image_id in ids]
drawn = [everything[i] for i in rng.permutation(len(everything))[: min(sample, 300)]]
fields, kept = [], []
for split, image_id in tqdm(drawn, unit="field", file=sys.stdout):
    try:
        field = images.read_field(dataset.folders[split], image_id)
    except (FileNotFoundError, ValueError) as error:
        print("set aside:", error)
        continue
    fields.append(field if len(fields) < shown else None)
    kept.append((split, image_id, images.field_percentiles(field)))

# %%
titles = [eda.field_title(image_id, dataset.label_vectors(split, [image_id])[0]) for split, image_id, _ in kept]
if kept:
    display(eda.channels(fields[:shown], titles[:shown]))

# %% [markdown]
# ## Brightness
# Green differs most: its brightness tells how much of the protein there is, so it is not stretched in training.

# %%
if kept:
    display(eda.brightness(np.stack([percentiles for *_, percentiles in kept]), [split for split, *_ in kept]))
counts = {f"{split} fields": len(ids) for split, ids in splits.items()}
manifest.finish(stage, {"sample": sample, "seed": seed}, {**counts, "unreadable headers": len(unreadable)})
