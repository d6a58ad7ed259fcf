"""Figures of 06_explore."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap, Normalize

from hpa_utils.crop_sets import CropSet
from hpa_utils.labels import N_CLASSES
from hpa_utils.plots.pictures import (
    SHORT_NAMES,
    composite,
    finished,
    image_grid,
    message,
    picture_sheet,
    show,
    stretched,
)

# Ten colours that can be told apart, most of them by colour-blind people too; ten classes are dots, the rest triangles
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#333333", "#ee7733", "#009988", "#997700")
MARKS = "o^"
assert len(COLOURS) * len(MARKS) >= N_CLASSES
NAMED_FIELDS = 8
HEAT = LinearSegmentedColormap.from_list("heat", ["#b08cff", "#303030", "#ffb000"])
SCALE = "what the protein adds to the class's logit, as a share of the most in the cell"


def cell_map(places: np.ndarray, name: str, confidences: np.ndarray, image_ids, truth=None, chosen=None):
    """A map of cells: coloured by the most probable class, by the true one where truth is known, and by field.

    Parameters
    ----------
    places : numpy.ndarray
        float (n, 2), of `map_cells`.
    name : str
        Of the method that found them.
    confidences : numpy.ndarray
        float (n, 19); NaN for cells that were not predicted, which are grey.
    image_ids : sequence of n
        The field of each cell.
    truth : numpy.ndarray, optional
        (n, 19), −1 where unknown. A cell of several classes has the colour of the one that the model finds most
        probable.
    chosen : int, optional
        A row to mark.
    """
    if not len(places):
        return message("no cells to map")
    classes = {"most probable class": _best_class(confidences, np.ones(confidences.shape, bool))}
    if truth is not None and (np.asarray(truth) > 0).any():
        classes["true class"] = _best_class(confidences, np.asarray(truth) > 0)
    panels = len(classes) + 1
    figure, axes = plt.subplots(1, panels, figsize=(5.2 * panels, 6.6), squeeze=False, layout="constrained")
    for axis, (title, of_cells) in zip(axes[0], classes.items()):
        _draw_groups(axis, places, of_cells, SHORT_NAMES, title)
    image_ids = np.asarray(image_ids, object)
    known, counts = np.unique(image_ids, return_counts=True)
    named = known[np.argsort(-counts, kind="stable")[:NAMED_FIELDS]]
    of_fields = pd.Categorical(image_ids, categories=named).codes
    title = "field" if len(known) <= NAMED_FIELDS else f"field: the {NAMED_FIELDS} of most cells, of {len(known)}"
    _draw_groups(axes[0, -1], places, of_fields, [image_id[:8] for image_id in named], title)
    for axis in axes[0]:
        if chosen is not None:
            axis.plot(*places[chosen], "o", markersize=13, markerfacecolor="none", color="black", markeredgewidth=2)
        axis.set(xticks=[], yticks=[], xlabel=f"{name} 1", ylabel=f"{name} 2")
    figure.suptitle(f"{len(places):,} cells as the network's head sees them ({name})", fontsize=11)
    return finished(figure)


def neighbours_strip(crops: CropSet, cells: np.ndarray, similarities: np.ndarray, confidences: np.ndarray):
    """A cell and its nearest ones: colour composite above, the protein channel below.

    Parameters
    ----------
    crops : CropSet
    cells : numpy.ndarray
        Numbers of cells in the crop set: the cell itself, then those nearest to it.
    similarities : numpy.ndarray
        float (len(cells) − 1,), of the latter.
    confidences : numpy.ndarray
        float (n, 19), a row a cell of the crop set; NaN for cells that were not predicted.
    """
    pairs, titles = [], []
    lines = ["the cell", *(f"similarity {value:.3f}" for value in similarities)]
    for cell, line, crop in zip(cells, lines, crops.read(cells)):
        pairs.append((composite(crop), stretched(crop[..., 1])))
        image_id = crops.image_ids[crops.field[cell]]
        titles.append(f"{line}\n{_most_probable(confidences[cell])}\n{image_id[:8]}, cell {crops.cell_id[cell]}")
    return picture_sheet(pairs, titles, len(pairs), 1.55) if pairs else message("no cell to show")


def explanations(
    crops: np.ndarray, maps: np.ndarray, labels, confidences: np.ndarray, cell_ids, widths_um, title: str, most: int = 3
):
    """Cells with maps of the classes that they most probably show: composite, protein channel, protein under the map.

    Parameters
    ----------
    crops : numpy.ndarray
        uint8 (N, S, S, 4); the first 8 are drawn.
    maps : numpy.ndarray
        float32 (N, L, S, S) of `explain_cells`; orange above 0, violet below, as shares of the most in the
        cell's maps.
    labels : sequence of int
        L classes of the maps.
    confidences : numpy.ndarray
        float (N, 19); NaN for cells that were not predicted.
    cell_ids : sequence of int
    widths_um : sequence of float
        Of the crops, in µm.
    title : str
    most : int
        Classes of a cell.
    """
    labels, count = np.asarray(labels, np.int64), min(len(crops), 8)
    if not count or not len(labels):
        return message(f"{title}: no cells or classes to explain")
    most = min(most, len(labels))
    order = np.argsort(-np.nan_to_num(confidences[:count][:, labels]), axis=1, kind="stable")[:, :most]
    drawn = np.take_along_axis(maps[:count], order[..., None, None], axis=1)
    most_of_cell = np.maximum(np.percentile(np.abs(drawn), 99.5, axis=(1, 2, 3)), 1e-9)
    figure, axes = image_grid(count, 2 + most, 1.9)
    shares = np.clip(drawn / most_of_cell[:, None, None, None], -1, 1)
    for line, crop, places, of_cell, scores, cell_id, width in zip(
        axes, crops, order, shares, confidences, cell_ids, widths_um
    ):
        protein = stretched(crop[..., 1])
        show(line[0], composite(crop), width, f"cell {cell_id}", bar_um=10)
        show(line[1], protein, width, "protein channel", bar_um=10)
        for axis, label, values in zip(line[2:], labels[places], of_cell):
            show(axis, protein, width, f"{SHORT_NAMES[label]} {scores[label]:.2f}".removesuffix(" nan"), bar_um=10)
            axis.imshow(values, cmap=HEAT, vmin=-1, vmax=1, alpha=0.7 * np.abs(values) ** 0.7)
    scale = ScalarMappable(Normalize(-1, 1), HEAT)
    figure.colorbar(scale, ax=axes, location="bottom", shrink=0.5, label=SCALE, aspect=40)
    figure.suptitle(f"{title} (bars: 10 µm)", fontsize=10)
    return finished(figure, f"{title}: cells, and over their protein where it speaks for each class")


def variable_fields(crops: CropSet, ranked: pd.DataFrame, confidences: np.ndarray, columns: int = 10):
    """Fields whose cells differ, a row each: the protein channel of its cells from the most to the least probable.

    Parameters
    ----------
    crops : CropSet
    ranked : pandas.DataFrame
        Rows of `rank_fields`, such as those of rank 1, in the order to draw; the first 24 are drawn.
    confidences : numpy.ndarray
        float (n, 19), a row a cell of the crop set; NaN for cells that were not predicted.
    columns : int
        Cells of a field that are drawn, evenly spaced, among them the first and the last. They are brightened
        together.
    """
    ranked = ranked.head(24)
    if not len(ranked):
        return message("no field to show")
    figure, axes = image_grid(len(ranked), columns, 1.25)
    for line, row in zip(axes, ranked.itertuples()):
        scores = np.where(crops.image_ids[crops.field] == row.image_id, confidences[:, row.label], np.nan)
        cells = np.argsort(-scores, kind="stable")[: np.isfinite(scores).sum()]
        cells = cells[np.linspace(0, len(cells) - 1, min(columns, len(cells))).round().astype(int)]
        planes = crops.read(cells)[..., 1]
        bright = stretched(planes)  # together, so that dim cells stay dim beside bright ones
        for axis, plane, score in zip(line, bright, scores[cells]):
            axis.imshow(plane, cmap="gray", vmin=0, vmax=255)
            axis.set_title(f"{score:.2f}", fontsize=7)
        about = f"{row.image_id[:8]}, {row.n_cells} cells\nmean difference {row.disagreement:.2f}"
        text = f"{SHORT_NAMES[row.label]}\n{about}"
        line[0].text(-0.08, 0.5, text, ha="right", va="center", fontsize=7, transform=line[0].transAxes)
    return finished(figure)


def _draw_groups(axis, places: np.ndarray, groups: np.ndarray, names, title: str) -> None:
    """Points in the colour and mark of their group, those without one (−1) in grey; the largest groups lowest."""
    size = float(np.clip(9000 / len(places), 6, 40))
    order = sorted(range(len(names)), key=lambda group: -(groups == group).sum())
    axis.scatter(*places[groups < 0].T, s=size / 2, color="0.85", linewidths=0)
    for group in order:
        own = places[groups == group]
        style = {"color": COLOURS[group % len(COLOURS)], "marker": MARKS[group // len(COLOURS)], "alpha": 0.8}
        if len(own):
            axis.scatter(*own.T, s=size, linewidths=0, label=f"{names[group]} ({len(own):,})", **style)
    axis.set_title(title, fontsize=10)
    if (groups >= 0).any():
        key = axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.06), ncols=3, fontsize=7, handletextpad=0.2)
        for mark in key.legend_handles:
            mark.set_sizes([36])


def _best_class(confidences: np.ndarray, allowed: np.ndarray) -> np.ndarray:
    """The most probable class of those allowed, int64 (n,); −1 where none is, or the cell is not predicted."""
    scores = np.where(allowed, np.nan_to_num(confidences, nan=-1.0), -1.0)
    return np.where(scores.max(1, initial=-1.0) >= 0, scores.argmax(1), -1)


def _most_probable(scores: np.ndarray) -> str:
    if np.isnan(scores).any():
        return "not predicted"
    return f"{SHORT_NAMES[scores.argmax()]} {scores.max():.2f}"
