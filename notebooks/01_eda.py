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
# - **Takes** 15 s on the demo's 200 fields of 512², 2 cores and no GPU (`benchmarks/demo.py`).

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
import textwrap

import numpy as np
import pandas as pd
from tqdm import tqdm

from hpa_utils import images, manifest, paths
from hpa_utils.dataset import open_dataset
from hpa_utils.labels import CLASS_NAMES, format_labels
from hpa_utils.plots import eda, pictures

# %%
dataset = open_dataset(paths.find_data(data))
stage = paths.find_out(out) / "01_eda"
manifest.begin(stage)
rng = np.random.default_rng(seed)
splits = {split: dataset.image_ids(split) for split in dataset.folders}
for split, ids in splits.items():
    print(f"{split}: {len(ids):,} fields at {dataset.pixel_size_um} µm a pixel")
print(f"brightness: {dataset.range_note}")

# %% [markdown]
# ## Labels
# Most fields carry one or two labels; the rarest classes have a few dozen fields among 21,806. Class 18, *Negative*,
# stands alone: it means that nothing specific was seen.

# %%
labels = dataset.label_vectors("train", splits["train"]) if "train" in splits else np.zeros((0, 19), np.int8)
if len(labels):
    counts = labels.sum(axis=0)
    figure, ((axis,),) = pictures.chart(8, 4.8)
    bars = axis.barh(pictures.SHORT_NAMES, np.maximum(counts, 0.5), color=pictures.GREEN)
    axis.bar_label(bars, [f"{count:,}" for count in counts], padding=3)
    axis.set(xscale="log", xlabel="fields with the label (logarithmic)", title=f"Labels of {len(labels):,} fields")
    axis.set_xlim(0.5, max(counts.max(), 10) * 2)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.minorticks_off()
    axis.invert_yaxis()
    alt = f"Bars: fields with each label, from {counts.min():,} to {counts.max():,}."
    display(pictures.finished(figure, alt))
else:
    print("no train split: the fields are unlabelled")

# %%
if len(labels):  # of the fields with the row's label, the share that also has the column's
    together = labels.T.astype(float) @ labels
    alone = np.diag(together)[:, None]
    share = np.divide(together, alone, out=np.zeros_like(together), where=alone > 0)
    np.fill_diagonal(share, np.nan)
    figure, ((axis,),) = pictures.chart(8, 6.5)
    picture = axis.imshow(share, cmap="viridis", vmin=0, vmax=max(np.nanmax(share), 0.01))
    axis.set_xticks(range(19), pictures.SHORT_NAMES, rotation=90)
    axis.set_yticks(range(19), pictures.SHORT_NAMES)
    axis.set(xlabel="other label", ylabel="label", title="Labels that come together")
    figure.colorbar(picture, shrink=0.8, label="share of the row's fields that carry the column's label, too")
    alt = "Heatmap of 19 by 19 classes: how often a label comes together with each other one."
    display(pictures.finished(figure, alt))

# %%
if len(labels):
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
        names = dataset.files[split].get(image_id, {})
        height, width = images.field_size(dataset.folders[split], image_id, names)
        sizes.append({"split": split, "height": height, "width": width})
    except (OSError, ValueError) as error:
        unreadable.append({"split": split, "image_id": image_id, "error": str(error)})
print(f"{len(unreadable)} fields without a readable header", *unreadable[:5], sep="\n")

# %%
figure, ((left, right),) = pictures.chart(9, 3.2, columns=2)
per_field = np.bincount(labels.sum(axis=1), minlength=2)
left.bar(range(len(per_field)), per_field, color=pictures.GREEN)
left.set(xlabel="labels of a field", ylabel="fields", title="Labels per field", xticks=range(len(per_field)))
table = pd.DataFrame(sizes, columns=["split", "height", "width"]).groupby(["split", "height", "width"])
table = table.size().reset_index(name="fields")
names = [f"{row.split}\n{row.height} × {row.width}" for row in table.itertuples()]
right.bar_label(right.bar(names, table["fields"], color=pictures.BLUE))
right.set(xlabel="split, size in rows × columns (px)", ylabel="fields", title="Sizes")
pictures.finished(figure, "Bars: how many labels a field has, and how many fields there are of each size.")

# %% [markdown]
# ## The four channels
# Each channel is stretched by itself, so that dim ones can be seen. The last column is the colour composite, in colours
# that colour-blind people can tell apart: microtubules magenta, protein green, nucleus blue. For those of the
# competition, red instead of magenta and ER in yellow, set the environment variable `HPA_COLOURS=rgb`.

# %%
everything = [(split, image_id) for split, ids in splits.items() for image_id in ids]
drawn = [everything[i] for i in rng.permutation(len(everything))[: min(sample, 300)]]
fields, kept = [], []
for split, image_id in tqdm(drawn, unit="field", file=sys.stdout):
    try:
        field = images.read_field_of(dataset, split, image_id)
    except (OSError, ValueError) as error:
        print("set aside:", error)
        continue
    fields.append(field if len(fields) < shown else None)
    kept.append((split, image_id, images.field_percentiles(field)))

# %%
titles = []
for split, image_id, _ in kept[:shown]:
    names = pictures.names_of(dataset.label_vectors(split, [image_id])[0])
    titles.append(f"{image_id[:8]}\n{textwrap.fill(names, 26)}")
if titles:
    display(eda.channels(fields[:shown], titles, dataset.pixel_size_um))

# %% [markdown]
# ## Each class
# Four fields with each label, those with the fewest other labels: 50 µm of them, where there is most protein. Many
# cells of a field do not show its label.

# %% tags=["cover"]
few = rng.permutation(len(labels))
few = few[np.argsort(labels[few].sum(axis=1), kind="stable")]
examples = [[] for _ in CLASS_NAMES]
for label, tiles in enumerate(examples):
    for place in few[labels[few, label] > 0][:4]:
        try:
            field = images.read_field_of(dataset, "train", splits["train"][place])
        except (OSError, ValueError) as error:
            print("set aside:", error)
            continue
        window = eda.brightest_window(field, round(50 / dataset.pixel_size_um))
        width_um, n_labels = window.shape[1] * dataset.pixel_size_um, labels[place].sum()
        text = "1 label" if n_labels == 1 else f"{n_labels} labels"
        picture = pictures.composite(pictures.shrink(window, 160) * np.array([0, 1, 1, 0], np.uint8))
        tiles.append((picture, width_um, text, ""))
if len(labels):
    display(pictures.class_gallery(examples, "Protein green, nucleus blue.", "Microscopy: fields of each class."))

# %% [markdown]
# ## Brightness
# Green differs most: its brightness tells how much of the protein there is, so it is not stretched in training.

# %%
if kept:
    display(eda.brightness(np.stack([percentiles for *_, percentiles in kept]), [split for split, *_ in kept]))
counts = {f"{split} fields": len(ids) for split, ids in splits.items()}
manifest.finish(stage, {"sample": sample, "seed": seed}, {**counts, "unreadable headers": len(unreadable)})
