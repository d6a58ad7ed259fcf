"""Figures of 04_train."""

import matplotlib.pyplot as plt
import numpy as np

from hpa_utils.plots.pictures import SHORT_NAMES, finished


def learning_curves(history):
    """Losses by epoch, training and validation, a panel each for all, cells and field; head phase shaded."""
    names = [name for name in ("loss", "cells_loss", "field_loss") if name in history]
    figure, axes = plt.subplots(1, len(names), figsize=(4 * len(names), 3), squeeze=False, layout="constrained")
    head = (history["phase"] == "head").groupby(history["fold"]).sum().max()
    for axis, name in zip(axes[0], names):
        for fold, of_fold in history.groupby("fold"):
            (line,) = axis.plot(of_fold["epoch"], of_fold[name], marker=".", label=f"fold {fold}: training")
            if f"val_{name}" in of_fold and of_fold[f"val_{name}"].notna().any():
                axis.plot(of_fold["epoch"], of_fold[f"val_{name}"], "--", color=line.get_color(), label="validation")
        axis.axvspan(0.5, head + 0.5, color="0.93", zorder=0)
        axis.set(xlabel="epoch (shaded: head alone)", title=name.replace("_", " "))
    axes[0, 0].legend(fontsize=8)
    return finished(figure)


def class_scores(scores: dict, title: str):
    """Average precision per class beside chance; `scores` as of `scoring.field_scores`."""
    known = [number for number in range(19) if scores["average_precision"][str(number)] is not None]
    figure, axis = plt.subplots(figsize=(8, 0.5 + 0.3 * max(len(known), 3)), layout="constrained")
    places = np.arange(len(known))
    axis.barh(places, [scores["average_precision"][str(number)] for number in known], color="#2a8c4a", label="model")
    if "chance" in scores:
        chance = [scores["chance"][str(number)] for number in known]
        axis.plot(chance, places, "|", color="black", markersize=11, label="chance")
    axis.set_yticks(places, [SHORT_NAMES[number] for number in known])
    axis.set(xlim=(0, 1), xlabel="average precision", title=title)
    axis.invert_yaxis()
    axis.legend(loc="lower right")
    return finished(figure)
