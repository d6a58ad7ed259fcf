"""Figures of 04_train."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from hpa_utils.crop_sets import CropSet
from hpa_utils.plots.pictures import SHORT_NAMES, composite, finished, message, names_of, picture_sheet, stretched

BLUE, ORANGE, GREEN = "#0b62a4", "#d9730d", "#2a8c4a"


def learning_curves(history: pd.DataFrame):
    """Loss of training and validation, and the validation score with its best epoch marked; the head phase shaded.

    `history` has `epoch`, `phase`, `loss` and, where fields are held out, `val_loss`, `val_ap` (`training.Checkpoint`).
    """
    validated = "val_ap" in history and history["val_ap"].notna().any()
    panels = 1 + validated
    figure, axes = plt.subplots(1, panels, figsize=(4.4 * panels, 3), squeeze=False, layout="constrained")
    loss = axes[0, 0]
    loss.plot(history["epoch"], history["loss"], color=BLUE, label="training")
    if validated:
        loss.plot(history["epoch"], history["val_loss"], color=ORANGE, label="validation")
        best = history.loc[history["val_ap"].idxmax()]
        score = axes[0, 1]
        score.plot(history["epoch"], history["val_ap"], color=ORANGE)
        score.plot(best["epoch"], best["val_ap"], "o", color=ORANGE)
        score.set(ylabel="mean average precision")
        score.set_title(f"Held-out cells: best {best['val_ap']:.3f}, epoch {best['epoch']:.0f}")
    loss.set(ylabel="loss", title="Loss")
    loss.legend(fontsize=8)
    head = history.loc[history["phase"] == history["phase"].iloc[0], "epoch"].max()
    for axis in axes[0]:
        if history["phase"].nunique() > 1:
            axis.axvspan(0.5, head + 0.5, color="0.93", zorder=0)
        axis.set(xlabel="epoch (shaded: head alone)", xlim=(0.5, history["epoch"].max() + 0.5))
        axis.title.set_fontsize(10)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    return finished(figure)


def batch_sheet(images: np.ndarray, labels: list[str], columns: int = 8):
    """Crops as the network gets them, float (N, S, S, 4) in 0…255: colour composite above, protein channel below."""
    crops = np.clip(images[: 2 * columns], 0, 255).astype(np.uint8)
    pairs = [(composite(crop, stretch=False), crop[..., 1]) for crop in crops]
    return picture_sheet(pairs, [textwrap.shorten(label, 22, placeholder=" …") for label in labels], columns, 1.5)


def class_scores(scores: dict, title: str):
    """Average precision per class beside chance and, where there is one, ROC-AUC.

    `scores`, of `scoring.ranking_scores` or `scoring.mean_average_precision`, has `average_precision` and maybe
    `chance`, `roc_auc`: per class number (a string), None for those left out.
    """
    known = [number for number in range(19) if scores["average_precision"][str(number)] is not None]
    if not known:
        return message(f"{title}: no class that some have and others have not")
    with_auc = "roc_auc" in scores
    size = (9.5 if with_auc else 7.5, 0.9 + 0.25 * max(len(known), 3))
    ratios = [2, 1] if with_auc else [1]
    figure, axes = plt.subplots(1, len(ratios), figsize=size, width_ratios=ratios, squeeze=False, layout="constrained")
    places, left = np.arange(len(known)), axes[0, 0]
    left.barh(places, [scores["average_precision"][str(number)] for number in known], color=GREEN, label="model")
    if "chance" in scores:
        chance = [scores["chance"][str(number)] for number in known]
        left.plot(chance, places, "|", color="black", markersize=11, markeredgewidth=2, label="chance")
        figure.legend(loc="outside lower left", ncols=2, fontsize=8)
        title += f": {scores['mean_average_precision']:.3f} on average, chance {scores['mean_chance']:.3f}"
    left.set_yticks(places, [SHORT_NAMES[number] for number in known])
    left.set(xlim=(0, 1), xlabel="average precision")
    if with_auc:
        right = axes[0, 1]
        right.axvline(0.5, color="0.8", zorder=0)
        right.plot([scores["roc_auc"][str(number)] for number in known], places, "o", color=BLUE)
        right.set(xlim=(0, 1.03), xlabel="ROC-AUC (chance 0.5)", yticks=places, yticklabels=[])
        right.grid(axis="y", color="0.93")
    for axis in axes[0]:
        axis.set_ylim(len(known) - 0.4, -0.6)
    figure.suptitle(title, fontsize=11)
    return finished(figure)


def mistakes(crops: CropSet, table: pd.DataFrame, fields: pd.DataFrame, columns: int = 6):
    """Confident mistakes, each by its field's highest cell: colour composite above, the protein channel below.

    `table` is as of `scoring.confident_mistakes`, its first 12 are drawn; `fields` is the field table with the labels.
    """
    labels = dict(zip(fields["image_id"], fields["labels"], strict=True))
    titles = []
    for row in table.head(12).to_dict("records"):
        said = "labelled" if row["labelled"] else "not labelled"
        names = textwrap.shorten(f"labels: {names_of(labels[row['image_id']])}", 36, placeholder=" …")
        titles.append(f"{SHORT_NAMES[row['class']]} {row['probability']:.2f}, {said}\n{names}")
    pairs = [(composite(crop), stretched(crop[..., 1])) for crop in crops.read(crops.find(table.head(12)))]
    return picture_sheet(pairs, titles, columns, 2.1) if pairs else message("no mistakes to show")


def spindle_sheet(crops: CropSet, candidates: pd.DataFrame, columns: int = 8):
    """Cells that may be in mitosis: microtubules and nucleus above, the protein channel below.

    `candidates` have `image_id` and `cell_id` (`weak_labels.spindle_cells`), in the order to draw; the first 16 are.
    """
    shown = candidates.head(16)
    pictures = crops.read(crops.find(shown))
    titles = [f"{image_id[:8]}, cell {cell}" for image_id, cell in zip(shown["image_id"], shown["cell_id"])]
    pairs = [(composite(crop * np.array([1, 0, 1, 0], np.uint8)), stretched(crop[..., 1])) for crop in pictures]
    return picture_sheet(pairs, titles, columns, 1.5) if pairs else message("no candidates for the mitotic spindle")


def soft_label_shares(table: pd.DataFrame):
    """Share of a class's cells whose soft label is 0.5 or more; `table` as of `weak_labels.shown_shares`."""
    known = table[table["cells"] > 0]
    if known.empty:
        return message("no cells with soft labels")
    figure, axis = plt.subplots(figsize=(7.5, 0.9 + 0.25 * max(len(known), 3)), layout="constrained")
    places = np.arange(len(known))
    bars = axis.barh(places, known["share"], color=GREEN, label="soft label 0.5 or more")
    axis.bar_label(bars, [f"{count:,}" for count in known["cells"]], padding=6, fontsize=8, color="0.4")
    graded = known["graded"].notna()
    if graded.any():
        marks = known.loc[graded, "graded"], places[graded]
        axis.plot(*marks, "|", color="black", markersize=11, markeredgewidth=2, label="seen by people (MILIMED)")
    axis.set_yticks(places, [SHORT_NAMES[number] for number in known.index])
    axis.set(xlim=(0, 1.12), xlabel="share of the cells in fields with the label (grey: how many cells)")
    axis.set(xticks=np.arange(0, 1.01, 0.2), ylim=(len(known) - 0.4, -0.6))
    figure.legend(loc="outside lower left", ncols=2, fontsize=8)
    axis.set_title("Cells that are taken to show a label of their field", fontsize=11)
    return finished(figure)
