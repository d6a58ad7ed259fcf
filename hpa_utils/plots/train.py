"""Figures of 04_train."""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from hpa_utils.crops import Bags
from hpa_utils.plots.pictures import (
    SHORT_NAMES,
    composite,
    finished,
    message,
    names_of,
    picture_sheet,
    read_crop,
    stretched,
)

BLUE, GREEN = "#0b62a4", "#2a8c4a"
PANELS = {  # column of the history → its name in the legend
    "loss": {"loss": "training", "val_loss": "validation"},
    "training loss of cells and field": {"cells_loss": "cells", "field_loss": "field"},
    "validation, mean AP": {"val_field_ap": "fields", "val_cell_ap": "graded cells"},
}
STYLES = ("-", "--")


def learning_curves(history: pd.DataFrame):
    """Losses and validation scores by epoch: a row of panels a round, a colour a fold; the head phase shaded.

    Parameters
    ----------
    history : pandas.DataFrame
        `round`, `fold`, `epoch`, `phase`, `loss`, `cells_loss`, `field_loss` and, where fields are held out,
        `val_loss`, `val_field_ap`, `val_cell_ap`. A panel without a value is left out.
    """
    panels = {title: [name for name in names if _has_values(history, name)] for title, names in PANELS.items()}
    panels = {title: names for title, names in panels.items() if names}
    rounds = sorted(history["round"].unique())
    size = (3.8 * len(panels), 0.4 + 2.7 * len(rounds))
    figure, axes = plt.subplots(len(rounds), len(panels), figsize=size, squeeze=False, layout="constrained")
    for row, number in zip(axes, rounds):
        of_round = history[history["round"] == number]
        for axis, (title, names) in zip(row, panels.items()):
            _draw_curves(axis, of_round, names)
            axis.set_title(f"round {number}: {title}" if len(rounds) > 1 else title, fontsize=10)
            keys = [Line2D([], [], color="0.3", linestyle=s, label=PANELS[title][n]) for s, n in zip(STYLES, names)]
            axis.legend(handles=keys, fontsize=8)
    folds = sorted(history["fold"].unique())
    if len(folds) > 1:
        keys = [Line2D([], [], color=f"C{fold}", label=f"fold {fold}") for fold in folds]
        figure.legend(handles=keys, loc="outside right upper", fontsize=8)
    return finished(figure)


def class_scores(scores: dict, title: str):
    """Average precision per class beside chance and, where there is one, ROC-AUC.

    Parameters
    ----------
    scores : dict
        `average_precision` and maybe `chance`, `roc_auc`: per class number (a string), None for those left out
        (`scoring.ranking_scores`, `scoring.mean_average_precision`).
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


def reliability_diagram(tables: dict[str, pd.DataFrame]):
    """What share is positive of what is predicted at a probability, and how many (field or cell, class) pairs are.

    Parameters
    ----------
    tables : dict of str to pandas.DataFrame
        Name → table of `scoring.reliability`. On the diagonal probabilities mean what they say; above it the model is
        too careful.
    """
    tables = {name: table for name, table in tables.items() if len(table)}
    if not tables:
        return message("no predictions whose labels are known")
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.5, 3.6), layout="constrained")
    left.plot([0, 1], [0, 1], color="0.8", zorder=0)
    for name, table in tables.items():
        left.plot(table["predicted"], table["share"], marker="o", markersize=4, label=name)
        right.plot(table["predicted"], table["count"], marker="o", markersize=4, label=name)
    unit = (-0.03, 1.03)
    left.set(xlim=unit, ylim=unit, xlabel="predicted probability", ylabel="share of positives", aspect="equal")
    right.set(xlim=unit, yscale="log", xlabel="predicted probability", ylabel="pairs (logarithmic)")
    left.set_title("Reliability", fontsize=11)
    right.set_title("How many pairs each point stands for", fontsize=11)
    right.legend(fontsize=8)
    return finished(figure)


def mistakes(bags: Bags, table: pd.DataFrame, columns: int = 6):
    """Confident mistakes, each by its field's highest cell: colour composite above, the protein channel below.

    Parameters
    ----------
    bags : Bags
    table : pandas.DataFrame
        As of `scoring.confident_mistakes`; the first 12 are drawn.
    """
    labels = dict(zip(bags.table["image_id"], bags.labels, strict=True))
    crops, titles = [], []
    for row in table.head(12).to_dict("records"):
        said = "labelled" if row["labelled"] else "not labelled"
        name = f"{SHORT_NAMES[row['class']]} {row['probability']:.2f}, {said}"
        names = textwrap.shorten(f"labels: {names_of(labels[row['image_id']])}", 36, placeholder=" …")
        titles.append(f"{name}\n{names}\n{row['image_id'][:8]}, cell {row['cell_id']}")
        crops.append(read_crop(bags, row["image_id"], row["cell_id"]))
    pairs = [(composite(crop), stretched(crop[..., 1])) for crop in crops]
    return picture_sheet(pairs, titles, columns, 2.1) if pairs else message("no mistakes to show")


def spindle_sheet(bags: Bags, candidates: pd.DataFrame, columns: int = 8):
    """Cells that may be in mitosis, to label by hand: microtubules and nucleus above, the protein channel below.

    Parameters
    ----------
    bags : Bags
    candidates : pandas.DataFrame
        `image_id`, `cell_id`, `score` (`training.spindle_cells`), in the order to draw; the first 24 are.
    """
    pairs, titles = [], []
    for image_id, cell_id, score in candidates[["image_id", "cell_id", "score"]].head(24).itertuples(index=False):
        crop = read_crop(bags, image_id, cell_id)
        pairs.append((composite(crop * np.array([1, 0, 1, 0], np.uint8)), stretched(crop[..., 1])))
        titles.append(f"{image_id[:8]}, cell {cell_id}\nscore {score:.4f}")
    return picture_sheet(pairs, titles, columns, 1.5) if pairs else message("no candidates for the mitotic spindle")


def tried_rates(table: pd.DataFrame):
    """Loss by learning rate; `table` as of `training.try_rates`."""
    table = table[np.isfinite(table["loss"])]
    if table.empty:
        return message("no learning rate gave a finite loss")
    figure, axis = plt.subplots(figsize=(6, 3), layout="constrained")
    axis.plot(table["rate"], table["loss"], ".", color="0.6", label="of the step")
    axis.plot(table["rate"], table["loss"].rolling(5, min_periods=1).mean(), color=BLUE, label="mean of five steps")
    axis.set(xscale="log", xlabel="learning rate (logarithmic)", ylabel="loss")
    axis.set_title("Loss while the rate rises", fontsize=11)
    axis.legend(fontsize=8)
    return finished(figure)


def soft_label_shares(table: pd.DataFrame):
    """Share of a class's cells whose soft label is 0.5 or more; `table` as of `training.positive_shares`."""
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


def _has_values(history: pd.DataFrame, name: str) -> bool:
    return name in history and history[name].notna().any()


def _draw_curves(axis, of_round: pd.DataFrame, names: list[str]) -> None:
    """Columns of the history of one round, a line style each; epochs of the head phase shaded."""
    head = of_round.loc[of_round["phase"] == "head", "epoch"].max()
    if head > 0:  # False for NaN: there was none
        axis.axvspan(0.5, head + 0.5, color="0.93", zorder=0)
    for fold, of_fold in of_round.groupby("fold"):
        for style, name in zip(STYLES, names):
            axis.plot(of_fold["epoch"], of_fold[name].astype(float), style, marker=".", color=f"C{fold}")
    axis.set(xlim=(0.5, of_round["epoch"].max() + 0.5), xlabel="epoch (shaded: head alone)")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
