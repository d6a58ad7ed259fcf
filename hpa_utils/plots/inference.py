"""Figures of 05_inference."""

import numpy as np

from hpa_utils.crop_sets import CropSet
from hpa_utils.plots import pictures as pic
from hpa_utils.scoring.metrics import Matches

SIGNS = {1: ("✓ ", pic.GREEN), 0: ("✗ ", pic.VERMILION), -1: ("", "")}  # right, wrong, not known


def shown_classes(own: np.ndarray) -> np.ndarray:
    """The classes that cells show by their probabilities (n, 19): those of 0.5 or more, else the highest; 0 or 1."""
    return ((own > 0) & (own >= np.minimum(own.max(axis=1, keepdims=True), 0.5))).astype(np.int8)


def most_confident(crops: CropSet, numbers: np.ndarray, confidences: np.ndarray, truth: np.ndarray):
    """For each class, its four most confident cells, framed green or red where it is known if they show it.

    `numbers` (n,) are the cells' in the crop set, `confidences` and `truth` (n, 19) theirs; truth is 1, 0, or −1.
    """
    tiles = []
    for label, cells in enumerate(np.argsort(-confidences, axis=0, kind="stable")[:4].T):
        tiles.append([])
        for cell, crop in zip(cells, crops.read(numbers[cells])):
            sign, colour = SIGNS[int(truth[cell, label])]
            text, width_um = f"{sign}{confidences[cell, label]:.2g}", crops.size * crops.um_per_px[numbers[cell]]
            tiles[-1].append((pic.stretched(crop[..., 1]), width_um, text, colour))
    known = "✓ green: shows the class; ✗ red: does not; no frame: not known. " if (truth >= 0).any() else ""
    return pic.class_gallery(tiles, f"{known}Numbers: confidence.", "Microscopy: each class's most confident cells.")


def confidence_histogram(confidences: np.ndarray):
    """How confident the submission is: a histogram a class, a row each, of the confidences (n, 19) on a log axis."""
    edges = np.logspace(-5, 0, 51)
    counts = np.array([np.histogram(np.clip(own, edges[0], 1), edges)[0] for own in confidences.T])
    figure, ((axis,),) = pic.chart(9, 4.6)
    drawn = axis.pcolormesh(edges, np.arange(20) - 0.5, np.ma.masked_equal(counts, 0), norm="log", cmap="Blues")
    axis.set_yticks(range(19), pic.NUMBERED_NAMES)
    axis.set(xscale="log", xlabel="confidence (logarithmic; lower ones at the left edge)", ylim=(18.5, -0.5))
    axis.set_title(f"Confidences of {len(confidences):,} cells")
    figure.colorbar(drawn, label="cells (logarithmic)")
    return pic.finished(figure, f"Histograms: confidences of {len(confidences):,} cells in each class, on a log axis.")


def confusions(truth: np.ndarray, own: np.ndarray) -> np.ndarray:
    """What the cells of each class are taken for, float (19, 19): true class × predicted class, in cells.

    Labels (n, 19) are 1, 0, or −1 where unknown; a cell that has k classes is given the k with the highest of its
    probabilities (n, 19). A class that is not among them is shared among those that are wrong.
    """
    counts = np.zeros((truth.shape[1], truth.shape[1]))
    for labels, probabilities in zip(truth, own):
        true = np.flatnonzero(labels > 0)
        given = np.argsort(-probabilities, kind="stable")[: len(true)]
        wrong = np.setdiff1d(given, true)
        for label in true:
            taken_for = [label] if label in given else wrong
            counts[label, taken_for] += 1 / len(taken_for)
    return counts


def confusion_heatmap(truth: np.ndarray, own: np.ndarray):
    """`confusions` as shares of the true class, in percent."""
    counts = confusions(truth, own)
    cells = counts.sum(axis=1, keepdims=True)
    percent = 100 * np.divide(counts, cells, out=np.full_like(counts, np.nan), where=cells > 0)
    figure, ((axis,),) = pic.chart(8.6, 7)
    drawn = axis.imshow(percent, cmap="Blues", vmin=0, vmax=100)
    axis.set_xticks(range(19), pic.SHORT_NAMES, rotation=90)
    axis.set_yticks(range(19), [f"{name} ({count:,.0f})" for name, count in zip(pic.SHORT_NAMES, cells[:, 0])])
    for row, column in np.argwhere(np.nan_to_num(percent) >= 5):
        colour = "white" if percent[row, column] > 50 else "black"
        axis.text(column, row, f"{percent[row, column]:.0f}", ha="center", va="center", fontsize=7, color=colour)
    axis.set(xlabel="predicted class", ylabel="true class (cells)", title="What the cells of a class are taken for")
    figure.colorbar(drawn, shrink=0.8, label="% of the true class's cells")
    right = f"{np.trace(counts) / max(counts.sum(), 1):.0%} of the true cells' labels are right"
    return pic.finished(figure, f"Confusion heatmap of 19 classes: {right}.")


def precision_recall(matches: Matches, average_precision: dict):
    """Precision over recall of each class, as the competition's score counts hits; `scoring.score_matches` beside."""
    figure, axes = pic.chart(9.2, 7.6, columns=5, rows=4, sharex=True, sharey=True)
    for label, axis in enumerate(axes.ravel()[:19]):
        hits, n_truth = matches.hit[matches.label == label], matches.n_truth[label].sum()
        score, found = "no true cells", np.cumsum(hits)
        if n_truth:
            axis.plot(found / n_truth, found / np.arange(1, len(hits) + 1), color=pic.BLUE)
            score = f"AP {average_precision[str(label)]:.2f}, {n_truth:,} cells"
        axis.set_title(f"{pic.NUMBERED_NAMES[label]}\n{score}", fontsize=8)
        axis.set(xlim=(0, 1.02), ylim=(0, 1.05))
        axis.grid(color="0.92")
    axes[3, 4].set_axis_off()
    figure.supxlabel("recall: share of the true cells found", fontsize=10)
    figure.supylabel("precision: share of the detections that are right", fontsize=10)
    return pic.finished(figure, "Precision–recall curves of the 19 classes.")
