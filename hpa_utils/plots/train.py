"""Figures of 04_train."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from hpa_utils.crop_sets import CropSet
from hpa_utils.plots import pictures as pic
from hpa_utils.plots.pictures import names_of


def learning_curves(history: pd.DataFrame, planned: int = 0):
    """Loss of training and validation, and the validation score, the best epoch marked; the phases named.

    `history` has `epoch`, `phase`, `loss` and, where fields are held out, `val_loss`, `val_ap` (`training.Checkpoint`).
    Where it ends before the `planned` epochs, that is marked, too.
    """
    validated = "val_ap" in history and history["val_ap"].notna().any()
    figure, (axes,) = pic.chart(4.6 * (1 + validated), 3.5, columns=1 + validated)
    last, text = int(history["epoch"].max()), f"training loss {history['loss'].iloc[-1]:.3f} at the end"
    axes[0].plot(history["epoch"], history["loss"], color=pic.BLUE, label="training")
    axes[0].set(ylabel="loss", title="Loss")
    if validated:
        best, end = history.loc[history["val_ap"].idxmax()], history["val_ap"].iloc[-1]
        epoch, text = int(best["epoch"]), f"Held-out cells: {end:.3f} at the end, {best['val_ap']:.3f} at best."
        axes[0].plot(history["epoch"], history["val_loss"], "--", color=pic.VERMILION, label="validation")
        axes[1].plot(history["epoch"], history["val_ap"], "--", color=pic.VERMILION, label="validation")
        axes[1].plot(epoch, best["val_ap"], "*", color=pic.VERMILION, markersize=12, label=f"best: epoch {epoch}")
        axes[1].set(ylabel="mean average precision", title="Score of held-out cells")
        axes[0].axvline(epoch, color="0.5", linewidth=1, linestyle=":", label=f"best: epoch {epoch}")
        figure.suptitle(text, fontsize=10)
    phases = history.groupby("phase", sort=False)["epoch"].agg(["min", "max"])
    for axis in axes:
        for number, (phase, (begun, ended)) in enumerate(phases.iterrows()):
            axis.axvspan(begun - 0.5, ended + 0.5, color=("0.9", "0.97")[number % 2], zorder=0)
            axis.text(begun - 0.4, 1.01, phase.replace("_", " "), fontsize=7, transform=axis.get_xaxis_transform())
        if last < planned:
            axis.axvline(last, color="black", linewidth=1, label=f"stopped early: epoch {last} of {planned}")
        axis.set(xlabel="epoch", xlim=(0.5, last + 0.5))
        axis.set_title(axis.get_title(), pad=14)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    key = dict(pair[::-1] for axis in axes for pair in zip(*axis.get_legend_handles_labels()))
    figure.legend(key.values(), key.keys(), loc="outside lower center", ncols=5, fontsize=8)
    return pic.finished(figure, f"Learning curves over {last} epochs: {text}")


def batch_sheet(images: np.ndarray, labels: list[str], widths_um: np.ndarray, columns: int = 8):
    """Crops as the network gets them, float (N, S, S, 4) in 0…255, and their widths before augmentation."""
    crops = np.clip(images[: 2 * columns], 0, 255).astype(np.uint8)
    pairs = [(pic.composite(crop, stretch=False), crop[..., 1]) for crop in crops]
    titles = [textwrap.fill(label, 20, max_lines=2, placeholder=" …") for label in labels]
    alt = f"Microscopy: {len(pairs)} crops as the network gets them."
    return pic.picture_sheet(pairs, titles, columns, 1.2, widths_um, alt)


def class_scores(scores: dict, title: str):
    """Average precision per class beside chance and, where there is one, ROC-AUC.

    `scores`, of `scoring.ranking_scores` or `scoring.mean_average_precision`, has `average_precision` and maybe
    `chance`, `roc_auc`: per class number (a string), None for those left out.
    """
    known = [number for number in range(19) if scores["average_precision"][str(number)] is not None]
    if not known:
        return pic.message(f"{title}: no class that some have and others have not")
    with_auc = "roc_auc" in scores
    ratios = [2, 1] if with_auc else [1]
    height = 0.9 + 0.25 * max(len(known), 3)
    figure, axes = pic.chart(9.5 if with_auc else 7.5, height, len(ratios), width_ratios=ratios)
    places, left = np.arange(len(known)), axes[0, 0]
    left.barh(places, [scores["average_precision"][str(number)] for number in known], color=pic.GREEN, label="model")
    if "chance" in scores:
        chance = [scores["chance"][str(number)] for number in known]
        left.plot(chance, places, "|", color="black", markersize=11, markeredgewidth=2, label="chance")
        figure.legend(loc="outside lower left", ncols=2, fontsize=8)
        title += f": {scores['mean_average_precision']:.3f} on average, chance {scores['mean_chance']:.3f}"
    left.set_yticks(places, [pic.SHORT_NAMES[number] for number in known])
    left.set(xlim=(0, 1), xlabel="average precision")
    if with_auc:
        right = axes[0, 1]
        right.axvline(0.5, color="0.8", zorder=0)
        right.plot([scores["roc_auc"][str(number)] for number in known], places, "o", color=pic.BLUE)
        right.set(xlim=(0, 1.03), xlabel="ROC-AUC (chance 0.5)", yticks=places, yticklabels=[])
        right.grid(axis="y", color="0.93")
    for axis in axes[0]:
        axis.set_ylim(len(known) - 0.4, -0.6)
    figure.suptitle(title, fontsize=11)
    return pic.finished(figure, f"Bars: average precision of each class. {title}.")


def mistakes(crops: CropSet, table: pd.DataFrame, fields: pd.DataFrame, columns: int = 4):
    """Confident mistakes, each by its field's highest cell: colour composite above, the protein channel below.

    `table` is as of `scoring.confident_mistakes`, its first 12 are drawn; `fields` is the field table with the labels.
    """
    labels, table = dict(zip(fields["image_id"], fields["labels"], strict=True)), table.head(12)
    titles = []
    for row in table.to_dict("records"):
        kind = "missed" if row["labelled"] else "false alarm"
        names = textwrap.fill(f"labels: {names_of(labels[row['image_id']])}", 34)
        titles.append(f"{kind}: {pic.SHORT_NAMES[row['class']]} {row['probability']:.2f}\n{names}")
    cells = crops.find(table)
    pairs = [(pic.composite(crop), pic.stretched(crop[..., 1])) for crop in crops.read(cells)]
    alt = f"Microscopy: {len(pairs)} cells whose field is most wrongly predicted."
    return pic.picture_sheet(pairs, titles, columns, 2.1, crops.size * crops.um_per_px[cells], alt)


def spindle_sheet(crops: CropSet, candidates: pd.DataFrame, columns: int = 8):
    """Cells that may be in mitosis: microtubules and nucleus above, the protein channel below.

    `candidates` have `image_id` and `cell_id` (`weak_labels.spindle_cells`), in the order to draw; the first 16 are.
    """
    shown = candidates.head(16)
    cells = crops.find(shown)
    titles = [f"{image_id[:8]}, cell {cell}" for image_id, cell in zip(shown["image_id"], shown["cell_id"])]
    read = crops.read(cells)
    pairs = [(pic.composite(crop * np.array([1, 0, 1, 0], np.uint8)), pic.stretched(crop[..., 1])) for crop in read]
    alt = f"Microscopy: {len(pairs)} cells that may be in mitosis."
    return pic.picture_sheet(pairs, titles, columns, 1.2, crops.size * crops.um_per_px[cells], alt)


def soft_label_shares(table: pd.DataFrame):
    """Share of a class's cells whose soft label is 0.5 or more; `table` as of `weak_labels.shown_shares`."""
    known = table[table["cells"] > 0]
    if known.empty:
        return pic.message("no cells with soft labels")
    figure, ((axis,),) = pic.chart(7.5, 0.9 + 0.25 * max(len(known), 3))
    places = np.arange(len(known))
    bars = axis.barh(places, known["share"], color=pic.GREEN, label="soft label 0.5 or more")
    axis.bar_label(bars, [f"{count:,}" for count in known["cells"]], padding=6, fontsize=8, color="0.4")
    graded = known["graded"].notna()
    if graded.any():
        marks = known.loc[graded, "graded"], places[graded]
        axis.plot(*marks, "|", color="black", markersize=11, markeredgewidth=2, label="seen by experts")
    axis.set_yticks(places, [pic.SHORT_NAMES[number] for number in known.index])
    axis.set(xlim=(0, 1.12), xlabel="share of the cells in fields with the label (grey: how many cells)")
    axis.set(xticks=np.arange(0, 1.01, 0.2), ylim=(len(known) - 0.4, -0.6))
    figure.legend(loc="outside lower left", ncols=2, fontsize=8)
    axis.set_title("Cells that are taken to show a label of their field", fontsize=11)
    return pic.finished(figure, "Bars: the share of a class's cells that are taken to show the label of their field.")
