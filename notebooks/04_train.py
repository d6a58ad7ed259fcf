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
# One network with 19 outputs looks at one cell at a time. At first each cell inherits the labels of its field of view:
# wrong for many cells, but never a class that no cell of the field could have. With `soft_share` the network scores all
# cells before its last epochs, in which each learns soft labels: those of its field, as far as it looks like cells that
# show them. In a second round soft labels come from models that had not seen the field.
#
# This notebook trains **one** model, of one fold, in one round. `python -m hpa_utils run --folds 0,1 --rounds 2` runs
# it once a model. With several GPUs, or with `HPA_DEVICES=2`, models are trained side by side, a process each.
#
# - **Reads** a crop set of `03_cell_crops/` and the tables of `02_segmentation/`, train split; grades by people
#   (`cell_scores.csv`) where the data set has them; its cell-level truth only to score.
# - **Writes** the model folder `04_train/NAME/`: `model.keras`, `config.json`, `history.csv`, `oof.parquet` (scores of
#   the held-out fields' cells), `scores.json`.
# - **Takes** 4 minutes on the demo's 160 fields, crops of 96 px, 2 cores and no GPU (`benchmarks/demo.py`). It saves
#   its state after each epoch; interrupted, it goes on from there.

# %%
import sys
from pathlib import Path

sys.path += ["..", *(str(p.parent) for g in ("*", "*/*/*") for p in Path("/kaggle/input").glob(f"{g}/hpa_utils"))]

# %% tags=["parameters"]
data: str = ""  # data set root; empty: HPA_DATA, else Kaggle's mount, else runs/demo/data
out: str = ""  # output root; empty: HPA_OUT, else /kaggle/working, else runs/demo/out
extra_outputs: str = ""  # another output root whose train cells are learned, too
name: str = ""  # name of the model, to which round and fold are added; empty: backbone and crop set
crops: str = ""  # name of the crop set; empty: the only one
fold: int = 0  # the fold held out; -1: none, the model learns all fields
n_folds: int = 5  # folds the fields are split into
training_round: int = 1  # 1: cells inherit their field's labels; 2: soft labels from the models of round 1
teacher: str = ""  # name of the model whose round before gives the soft labels; empty: its own
backbone: str = "lite0"  # lite0 (fast on a CPU), b0 to b7, v2b0 to v2b3 or v2s
channels: str = ""  # what the network sees, such as "green,blue"; empty: all four
epochs: int = 20  # with the backbone trained
soft_share: float = 0.0  # of these epochs, the last ones: labels softened by what the network has learned
steps_per_epoch: int = 0  # 0: a pass over the fields, and at least 40
batch_size: int = 32  # cells a step, each of another field
blur: float = 0.0  # standard deviation, px of a crop, of the strongest blur in training; 0: none
rare_draws: float = 1.0  # how often fields of rare classes are drawn at most, others once
seed: int = 0
deadline: float = 0.0  # Unix time before which training stops, to be gone on with; 0: none

# %%
import numpy as np
import pandas as pd

from hpa_utils.model import keras  # Keras, without TensorFlow's start-up lines
from keras import layers, ops

from hpa_utils import inference, manifest, model, model_folders, paths, scoring, tables, training, weak_labels
from hpa_utils.batches import CellBatches, rare_weights, stream
from hpa_utils.blending import GRADED
from hpa_utils.crop_sets import open_crops
from hpa_utils.dataset import open_dataset
from hpa_utils.plots import train as plots

# %%
dataset, root = open_dataset(paths.find_data(data)), paths.find_out(out)
crop_set = crops or paths.find_only(root, "03_cell_crops")
cells, fields, cell_table = open_crops(root, crop_set, "train", extra_outputs)
percentiles, labels = tables.percentile_array(fields), tables.label_matrix(fields)
name = name or f"{backbone}-{crop_set}"
stage = root / "04_train" / paths.run_name(name, training_round, fold)
print(f"{stage.name}: {len(cells):,} cells of {len(fields):,} fields on {training.use_device()}")

# %% [markdown]
# ## Folds
# Every class is spread evenly, and near-duplicates stay together. So do fields of one sample, which share labels and
# looks, where the data set has a table of them, `samples.csv` (`ID,sample`), or `groups_csv` names one. With
# `groups_csv=""` they may be in two folds, and scores out of fold will be optimistic.

# %%
fold_of = weak_labels.split_fields(fields, n_folds, seed, groups_csv=weak_labels.find_samples(dataset.root))
learned, held_out = np.flatnonzero((fold_of != fold) | (fold < 0)), np.flatnonzero((fold_of == fold) & (fold >= 0))
display(pd.DataFrame(labels).groupby(fold_of).sum().rename_axis("fold").rename_axis("fields of class", axis=1).T)

# %% [markdown]
# ## What is known of single cells
# People graded some cells of some data sets. A field labelled Mitotic spindle has one or two dividing cells, found
# without labels by their nucleus and shape: these candidates are to look at, and with `use_spindles` they alone carry
# the label and are drawn more often. Nobody graded whole fields.

# %%
inherited = labels[cells.field].astype(np.float32)
grades, unmatched = weak_labels.graded_cells(dataset.root, cell_table[: 0 if cells.whole else None], fields)
lost = (unmatched["image_id"] + ": " + unmatched["reason"]).unique()
print(f"{len(grades)} grades of these cells, {len(unmatched)} that match none of them", *lost[:10], sep="\n")
graded_rows = cells.find(grades)
candidates, similar = weak_labels.spindle_cells(cell_table, fields)
carrying = cells.find(candidates)
display(plots.spindle_sheet(cells, candidates.sort_values("score", ascending=False)))

# %% [markdown]
# ## What each cell is to learn
# The labels of its field. They are softened by log odds, a network's for each cell: how probably a cell shows each
# label of its field, by its own score and its field's, so that over all cells the mean is the share in which experts
# saw the class. Class 18 is the chance that a cell shows none of them (docs/weak_labels.md). What people graded takes
# the place of what was inherited.

# %%
use_cell_grades, use_spindles = True, True


def cell_labels(own=None):
    """What cells are to learn, (n, 19): the labels of their fields, softened where there are log odds of cells."""
    known = inherited
    if own is not None:
        evidence = own + 0.5 * inference.field_mean(own, cells.field)
        known = weak_labels.soft_labels(inherited, evidence, GRADED.share)
        shares = weak_labels.shown_shares(inherited, known)
        display(shares.round(2).T, plots.soft_label_shares(shares))
    if use_spindles:
        known = weak_labels.mark_spindles(known, inherited, carrying, cells.find(similar))
    return weak_labels.use_grades(known, graded_rows, grades) if use_cell_grades else known


before = (root, teacher or name, training_round - 1, n_folds, cells, cell_table)
targets = cell_labels(inference.logit(model_folders.out_of_fold(*before)) if training_round > 1 else None)

# %% [markdown]
# ## The network
# A four-channel EfficientNet with ImageNet's weights, average and maximum pooling, one dense layer. Red, blue and
# yellow are stretched by the field's percentiles; green keeps its brightness, which tells a dim protein from none.
# The head starts at what is usual: a class is in some 12 % of the fields.
# The demo's network sees green and blue only: red and yellow of simulated cells look least like those of real ones.

# %%
keras.utils.set_random_seed(seed)
net, pretrained = model.build_backbone(backbone, cells.size)


def build_network():
    """One cell in, 19 logits out."""
    crop = keras.Input((cells.size, cells.size, 4), name="crop")
    percentile = keras.Input((4, 4), name="percentiles")
    features = net(model.Channels(channels)(model.FieldNormalisation()(crop, percentile)))
    pooled = [layers.GlobalAveragePooling2D()(features), layers.GlobalMaxPooling2D()(features)]
    pooled = layers.Dropout(0.2, seed=seed)(layers.Concatenate()(pooled))
    head = layers.Dense(19, bias_initializer=keras.initializers.Constant(-2.0), dtype="float32", name="head")
    return keras.Model([crop, percentile], head(pooled), name="cell_network")


# %% [markdown]
# Augmentation wraps the network, so the saved model does without it. What is not the protein's place is changed: how a
# cell lies, its size, the brightness and contrast of each channel, and, with `blur`, how sharp it is.

# %%
network = build_network()
change = [model.RandomRightAngles(seed=seed), model.RandomScale(0.2, seed=seed), model.RandomBrightness(0.4, seed=seed)]
augmentation = keras.Sequential([*change, model.RandomBlur(blur, seed=seed)])
trained = keras.Model(network.input, network([augmentation(network.input[0]), network.input[1]]))

# %% [markdown]
# ## Loss, learning rate, phases
# The new head is trained first, alone; then all of the backbone at a lower rate, with the labels of fields, and, with
# `soft_share`, with soft ones. What is kept of each phase is a moving average of the weights over its last steps.


# %%
def label_loss(labels, logits):
    """Cross-entropy of 19 independent classes; a label of -1 is ignored."""
    known = ops.cast(labels >= 0, logits.dtype)
    cross_entropy = ops.softplus(logits) - ops.maximum(labels, 0.0) * logits
    return ops.sum(known * cross_entropy, axis=-1) / ops.maximum(ops.sum(known, axis=-1), 1.0)


# %%
def compile_phase(share, learning_rate, steps):
    """Make a share of the backbone's blocks trainable; warm-up to the learning rate, then a cosine to a hundredth."""
    model.unfreeze(net, share)
    warm_up = max(1, steps // 10)
    warm = {"initial_learning_rate": learning_rate / 10, "warmup_target": learning_rate, "warmup_steps": warm_up}
    schedule = keras.optimizers.schedules.CosineDecay(decay_steps=max(1, steps - warm_up), alpha=0.01, **warm)
    average = {"use_ema": True, "ema_momentum": 1 - 10 / max(10, steps)}
    trained.compile(keras.optimizers.AdamW(schedule, weight_decay=1e-2, global_clipnorm=1.0, **average), label_loss)


steps = steps_per_epoch or max(40, -(-len(learned) // batch_size))
softened = int(epochs * soft_share) if training_round == 1 and not cells.whole else 0
phases = {"head": (2, 0.0, 1e-3), "fine_tune": (epochs - softened, 1.0, 4e-4)}  # epochs, share of the backbone, rate
phases |= {"soft_labels": (softened, 1.0, 4e-4)} if softened else {}

# %% [markdown]
# ## A batch as the network gets it

# %%
weights, first = rare_weights(labels[learned], rare_draws), carrying if use_spindles else ()
batches = CellBatches(cells, percentiles, targets, learned, batch_size, steps, seed, weights, first)
(shown, brightness), learning = batches[0]
changed = model.FieldNormalisation()(augmentation(shown[:16], training=True), brightness[:16])
titles, widths_um = [plots.names_of(row > 0) for row in learning[:16]], cells.size * cells.um_per_px[batches.draw(0)]
display(plots.batch_sheet(ops.convert_to_numpy(changed), titles, widths_um))

# %% [markdown]
# ## Train
# Held-out cells are scored after each epoch, by the labels of their fields and, where there are some, people's grades.

# %%
manifest.begin(stage)
given = {"crop set": crop_set, "fold": fold, "batch_size": batch_size, "steps": steps, "seed": seed, "phases": phases}
key = training.recipe_key(given, pretrained, trained, targets, learned, cells.cell_id)
checkpoint = training.Checkpoint(stage / "state.npz", key, batches, {p: own[0] for p, own in phases.items()}, deadline)
seen = weak_labels.visible(len(cells), graded_rows, grades)
watched = training.watched_cells(cells, held_out, np.flatnonzero((seen >= 0).any(axis=1)))
known = np.where(seen >= 0, seen, inherited)[watched]
validation = training.Validation(network, cells, percentiles, watched, known, label_loss)
callbacks = [validation, checkpoint] if len(held_out) else [checkpoint]

# %%
for phase, (length, share, learning_rate) in phases.items():
    compile_phase(share, learning_rate, length * steps)
    begun, end = checkpoint.begin(trained, phase), checkpoint.ends[phase]
    if begun < end and not checkpoint.stopped:
        if phase == "soft_labels":
            own = checkpoint.once("logits", lambda: inference.predict_logits(network, cells, percentiles))
            batches.targets = cell_labels(own)
        trained.fit(stream(batches), initial_epoch=begun, epochs=end, callbacks=callbacks, shuffle=False, verbose=0)

# %% tags=["cover"]
history = pd.DataFrame(checkpoint.history)
display(plots.learning_curves(history, sum(checkpoint.phases.values())))

# %% [markdown]
# ## Scores out of fold
# How well the model ranks what it was not trained on: the fields that carry a label above the others, and, where
# people graded cells or the data set has cell-level truth, the cells that show it.

# %%
rows = np.flatnonzero(np.isin(cells.field, held_out))
probabilities = inference.sigmoid(inference.predict_logits(network, cells, percentiles, rows)).astype(np.float32)
oof = cells.keys().iloc[rows].assign(**dict(zip(tables.CELL_COLUMNS, probabilities.T)))
scores = scoring.held_out_scores(oof, cell_table, fields, dataset.truth_path("train"), seen[rows])
for title, found in scores.items():
    display(plots.class_scores(found, f"{title}, out of fold"))

# %% [markdown]
# ## The most confident mistakes
# False alarms and misses of fields, each by the cell that looks most like the class. Some are errors of the labels.

# %%
if len(oof):
    display(plots.mistakes(cells, scoring.confident_mistakes(fields, oof, 12), fields))

# %% [markdown]
# ## The model folder

# %%
segmented = manifest.read_manifest(paths.find_stage(root, "02_segmentation"))["configuration"]
cropped = manifest.read_manifest(paths.find_stage(root, f"03_cell_crops/{crop_set}"))["configuration"]
config = {"format": manifest.FORMAT, "name": name, "training_round": training_round, "fold": fold, "n_folds": n_folds}
config |= {"crops": cropped["crops"], "segmenter": segmented["segmenter"], "weights": pretrained, **given}
if checkpoint.finished:
    model_folders.save_model(stage, network, config, history, oof, scores, tables.cells_fingerprint(cell_table))
    config["model_sha256"] = manifest.digest(stage / "model.keras")
    manifest.finish(stage, config, {"train fields": len(learned), "epochs": len(history)})
    checkpoint.discard()
else:
    manifest.pause(stage, f"stopped after epoch {len(history)}, before the deadline")
