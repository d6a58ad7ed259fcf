"""The tables and plots of docs/weak_labels.md, from the JSONs of `weak_labels.py`.

    python benchmarks/weak_labels_report.py
    --results DIR      benchmarks/results/weak_labels, or the folder of a --quick run
    --plots DIR        where the two PNGs go; empty: no plots

Prints Markdown. Scores are macro average precision of the test cells, one weight a class.
"""

import argparse
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from hpa_utils.plots.pictures import SHORT_NAMES

HERE = Path(__file__).parent
MEAN = "mean_over_classes_with_truth"
WORDS = {
    "seed_project": "whole fields, frozen backbone, fields of one label",
    "probe": "inherited labels, frozen backbone",
    "inherited": "inherited labels",
    "inherited_twice": "inherited labels, 2.2 times as long",
    "inherited_augmented_twice": "the same; rotation, size, blur, noise",
    "inherited_2x16": "inherited labels, 2 cells of 16 fields a step",
    "inherited_8x4": "inherited labels, 8 cells of 4 fields",
    "bags_mean": "bags of 2 (16 a step), mean",
    "bags_log_sum_exp": "the same, log-sum-exp",
    "bags_max": "the same, max",
    "bags_noisy_or": "the same, noisy-or",
    "bags_attention": "the same, attention",
    "bags_negative_product": "bags of 2, mean; Negative by product",
    "bags_negative_none": "bags of 2, mean; Negative left out",
    "both": "inherited + field",
    "both_2x16": "the same, 2 cells of 16 fields a step",
    "both_4x8": "the same, 4 cells of 8 fields",
    "both_8x4": "the same, 8 cells of 4 fields",
    "both_8x4_bn_estimated": "8 cells of 4 fields; BatchNorm estimated",
    "both_8x4_bn_trained": "8 cells of 4 fields; BatchNorm trained",
    "both_2x16_augmented": "2 cells of 16 fields; rotation, size, blur, noise",
    "soft": "soft labels",
    "soft_twice": "soft labels, each model 2.2 times as long",
    "soft_2x16": "soft labels, 2 cells of 16 fields a step",
    "soft_8x4": "soft labels, 8 cells of 4 fields",
    "soft_2x16_halves": "2 cells of 16 fields; mean of two models of half",
    "oracle": "true cell labels",
    "oracle_twice": "true cell labels, 2.2 times as long",
    "oracle_2x16": "true cell labels, 2 cells of 16 fields a step",
    "oracle_8x4": "true cell labels, 8 cells of 4 fields",
}


def main() -> None:
    """Print the tables; draw the plots."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=HERE / "results" / "weak_labels")
    parser.add_argument("--plots", default=HERE.parent / "docs")
    options = parser.parse_args()
    runs = read_results(options.results)
    plain = runs[(runs["weakness"] == 1) & (runs["fields"] == runs["fields"].max()) & (runs["segmenter"] == "masks")]
    print_recipes(plain)
    print_goal(plain)
    print_elsewhere(runs)
    print_classes(plain)
    if options.plots:
        draw_recipes(plain, Path(options.plots) / "weak_labels_recipes.png")
        draw_dependence(runs, Path(options.plots) / "weak_labels_dependence.png")


def read_results(folder: Path) -> pd.DataFrame:
    """A row a run: its settings, `cells` and `blended` (macro AP with `_low`, `_high`), `chance`, `minutes`."""
    rows = []
    for path in sorted(folder.glob("*.json")):
        found = json.loads(path.read_text())
        row = dict(found["settings"], minutes=found["train_seconds"] / 60, chance=found["chance"], result=found)
        for kind in ("cells", "blended"):
            mean = found[kind][MEAN]
            row |= {kind: mean["estimate"], f"{kind}_low": mean["low"], f"{kind}_high": mean["high"]}
        rows.append(row)
    if not rows:
        raise FileNotFoundError(f"no results in {folder}: run benchmarks/weak_labels.py first")
    return pd.DataFrame(rows)


def print_recipes(runs: pd.DataFrame) -> None:
    """Print a row a recipe, means over its seeds."""
    print("| trained on | seeds | cells | cells × field | train minutes, least |\n| --- | --- | --- | --- | --- |")
    for recipe, words in WORDS.items():
        own = runs[runs["recipe"] == recipe]
        if len(own):
            scores = " | ".join(described(own, kind) for kind in ("cells", "blended"))
            print(f"| {words} | {len(own)} | {scores} | {own['minutes'].min():.1f} |")
    print(f"| chance | | {runs['chance'].mean():.3f} | | |")


def described(runs: pd.DataFrame, kind: str) -> str:
    """The mean over seeds, its interval (mean of the seeds' ends), and the range of several seeds."""
    text = f"{runs[kind].mean():.3f} ({runs[f'{kind}_low'].mean():.3f} to {runs[f'{kind}_high'].mean():.3f})"
    return text + (f", seeds {runs[kind].min():.3f} to {runs[kind].max():.3f}" if len(runs) > 1 else "")


def print_goal(runs: pd.DataFrame) -> None:
    """Print how much of the gap between inherited labels and the oracle the blended recipes close, seed by seed."""
    of = {recipe: own.set_index("seed") for recipe, own in runs.groupby("recipe")}
    print()
    for recipe in ("both", "soft"):
        seeds = sorted(
            set.intersection(*(set(of[name].index) for name in ("inherited", "oracle", recipe) if name in of))
        )
        start, top, reached = (
            np.array([of[name][kind][seed] for seed in seeds])
            for name, kind in (("inherited", "cells"), ("oracle", "cells"), (recipe, "blended"))
        )
        shares = ", ".join(f"{share:.2f}" for share in (reached - start) / (top - start))
        print(f"{WORDS[recipe]}, × field: closes {shares} of the gap (seeds {', '.join(map(str, seeds))})")
        if "seed_project" in of:
            old = of["seed_project"]
            lift = (reached.mean() - runs["chance"].mean()) / (old["cells"].mean() - old["chance"].mean())
            print(f"    lift over chance {lift:.1f} × that of the seed project's recipe")


def print_elsewhere(runs: pd.DataFrame) -> None:
    """Print the main recipes at other weaknesses, numbers of fields, and with the watershed's cells."""
    names = ("inherited", "soft", "oracle")
    print("\n| segmenter | weakness | fields | " + " | ".join(f"{name}: cells, × field" for name in names) + " |")
    print("| --- " * 6 + "|")
    chosen = runs[runs["recipe"].isin(names)]
    for key, own in chosen.groupby(["segmenter", "weakness", "fields"], sort=True):
        means = own.groupby("recipe")[["cells", "blended"]].mean().reindex(list(names))
        told = [f"{cells:.3f}, {blended:.3f}" if cells == cells else "" for cells, blended in means.to_numpy()]
        print(f"| {key[0]} | {key[1]:g} | {key[2]} | " + " | ".join(told) + " |")


def print_classes(runs: pd.DataFrame) -> None:
    """Print the average precision of each class."""
    kinds = [("inherited", "cells"), ("both", "cells"), ("both", "blended"), ("soft", "cells"), ("soft", "blended")]
    kinds += [("oracle", "cells"), ("inherited_twice", "cells"), ("inherited_twice", "blended")]
    kinds = [(recipe, kind) for recipe, kind in kinds if (runs["recipe"] == recipe).any()]
    print("\n| class | " + " | ".join(f"{r}{' × field' * (k == 'blended')}" for r, k in kinds) + " |")
    print("| --- " * (len(kinds) + 1) + "|")
    for label, name in enumerate(SHORT_NAMES):
        values = [
            np.mean(
                [r[kind]["average_precision"][str(label)]["estimate"] for r in runs[runs["recipe"] == recipe]["result"]]
            )
            for recipe, kind in kinds
        ]
        print(f"| {label} {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")


def draw_recipes(runs: pd.DataFrame, path: Path) -> None:
    """Draw each recipe's score, by cells and blended, with intervals."""
    order = [recipe for recipe in WORDS if (runs["recipe"] == recipe).any()]
    figure, axis = plt.subplots(figsize=(8, 0.36 * len(order) + 1.2), layout="constrained")
    for kind, colour, shift in (("cells", "#2d6cdf", 0.14), ("blended", "#d9822b", -0.14)):
        for place, recipe in enumerate(order):
            own = runs[runs["recipe"] == recipe]
            y = len(order) - 1 - place + shift
            axis.plot([own[f"{kind}_low"].mean(), own[f"{kind}_high"].mean()], [y, y], color=colour, lw=1.5)
            axis.plot(own[kind], [y] * len(own), "o", color=colour, ms=4.5, label=kind if place == 0 else None)
    axis.axvline(runs["chance"].mean(), color="0.6", ls=":", label="chance")
    axis.set_yticks(range(len(order)), [WORDS[recipe] for recipe in reversed(order)])
    axis.set_xlabel("macro average precision of single cells")
    labels = {"cells": "the cell's score", "blended": "× the field's", "chance": "chance"}
    handles, names = axis.get_legend_handles_labels()
    figure.legend(handles, [labels[name] for name in names], loc="outside upper right", ncols=3, frameon=False)
    axis.set_ylim(-0.7, len(order) - 0.3)
    axis.grid(axis="x", alpha=0.3)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def draw_dependence(runs: pd.DataFrame, path: Path) -> None:
    """Draw the main recipes against label weakness and the number of train fields."""
    runs = runs[runs["segmenter"] == "masks"]
    kinds = {("inherited", "cells"): "0.45", ("soft", "cells"): "#2d6cdf", ("soft", "blended"): "#d9822b"}
    kinds |= {("oracle", "cells"): "#2a9d5c"}
    figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
    panels = (("weakness", "label weakness (0: every cell shows every label)"), ("fields", "train fields"))
    for axis, (column, title) in zip(axes, panels):
        fixed = (runs["fields"] == runs["fields"].max()) if column == "weakness" else (runs["weakness"] == 1)
        for (recipe, kind), colour in kinds.items():
            means = runs[fixed & (runs["recipe"] == recipe)].groupby(column)[kind].mean()
            name = f"{WORDS[recipe]}{', × field' * (kind == 'blended')}"
            axis.plot(means.index, means, "o-", color=colour, label=name)
        axis.set_xlabel(title)
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("macro average precision of single cells")
    axes[0].legend(fontsize=7.5, frameon=False, loc="lower left")
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
