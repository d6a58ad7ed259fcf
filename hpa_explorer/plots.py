"""Figures of 06_explore."""

import cv2
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import to_rgb

from hpa_utils.crops import Bags
from hpa_utils.labels import N_CLASSES
from hpa_utils.model.prediction import CELL_COLUMNS
from hpa_utils.plots.pictures import (
    SHORT_NAMES,
    composite,
    finished,
    image_grid,
    message,
    picture_sheet,
    read_crop,
    stretched,
)

# Ten colours that can be told apart, most of them by colour-blind people too; ten classes are dots, the rest triangles
COLOURS = ("#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#333333", "#ee7733", "#009988", "#997700")
MARKS = "o^"
assert len(COLOURS) * len(MARKS) >= N_CLASSES
NAMED_FIELDS = 8
HEAT = to_rgb("#ffb000")


def cell_map(places: np.ndarray, name: str, confidences: np.ndarray, cells: pd.DataFrame, truth=None, chosen=None):
    """A map of cells: coloured by the most probable class, by the true one where truth is known, and by field.

    Parameters
    ----------
    places : numpy.ndarray
        float (n, 2), of `explore.map_cells`.
    name : str
        Of the way they were found.
    confidences : numpy.ndarray
        float (n, 19); cells of nan, which are not predicted, are grey.
    cells : pandas.DataFrame
        n rows, `image_id`.
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
    image_ids = cells["image_id"].to_numpy()
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


def neighbours_strip(bags: Bags, cells: pd.DataFrame, similarities: np.ndarray, confidences: np.ndarray):
    """A cell and its nearest ones: colour composite above, the protein channel below.

    Parameters
    ----------
    bags : Bags
    cells : pandas.DataFrame
        `image_id`, `cell_id`: the cell itself, then those of `explore.nearest_cells`.
    similarities : numpy.ndarray
        float (k,), of those.
    confidences : numpy.ndarray
        float (1 + k, 19).
    """
    pairs, titles = [], []
    alike = ["the cell", *(f"similarity {value:.3f}" for value in similarities)]
    for (image_id, cell_id), line, row in zip(cells[["image_id", "cell_id"]].to_numpy(), alike, confidences):
        crop = read_crop(bags, image_id, cell_id)
        pairs.append((composite(crop), stretched(crop[..., 1])))
        titles.append(f"{line}\n{_most_probable(row)}\n{image_id[:8]}, cell {cell_id}")
    return picture_sheet(pairs, titles, len(pairs), 1.55) if pairs else message("no cell to show")


def explanations(
    crops: np.ndarray, maps: np.ndarray, labels, confidences: np.ndarray, cell_ids, title: str, most: int = 3
):
    """Cells with maps of the classes that they most probably show: composite, protein channel, protein under heat.

    Parameters
    ----------
    crops : numpy.ndarray
        uint8 (N, S, S, 4); the first 8 are drawn.
    maps : numpy.ndarray
        float32 (N, L, S, S) of `explore.explain_cells`. Orange is where green speaks for the class; the maps of a cell
        are brought to one brightness.
    labels : sequence of int
        L classes of the maps.
    confidences : numpy.ndarray
        float (N, 19); nan where a cell is not predicted.
    cell_ids : sequence of int
    title : str
    most : int
        Classes of a cell.
    """
    labels, shown = np.asarray(labels, np.int64), min(len(crops), 8)
    if not shown or not len(labels):
        return message(f"{title}: no cells or classes to explain")
    most = min(most, len(labels))
    figure, axes = image_grid(shown, 2 + most, 1.7)
    for row, crop, of_cell, scores, cell_id in zip(axes, crops, maps, confidences, cell_ids):
        row[0].imshow(composite(crop))
        row[0].set_title(f"cell {cell_id}", fontsize=7)
        row[1].imshow(stretched(crop[..., 1]), cmap="gray", vmin=0, vmax=255)
        row[1].set_title("protein channel", fontsize=7)
        places = np.argsort(-np.nan_to_num(scores[labels]), kind="stable")[:most]
        for axis, place, picture in zip(row[2:], places, heated(crop[..., 1], of_cell[places])):
            axis.imshow(picture)
            axis.set_title(f"{SHORT_NAMES[labels[place]]} {scores[labels[place]]:.2f}".removesuffix(" nan"), fontsize=7)
    figure.suptitle(title, fontsize=10)
    return finished(figure)


def variable_fields(bags: Bags, ranked: pd.DataFrame, predictions: pd.DataFrame, columns: int = 10):
    """Fields whose cells differ, a row each: the protein channel of its cells from the most to the least probable.

    Parameters
    ----------
    bags : Bags
    ranked : pandas.DataFrame
        Rows of `explore.rank_fields`, such as those of rank 1, in the order to draw; the first 24 are.
    predictions : pandas.DataFrame
        `image_id`, `cell_id`, `p00`…`p18`. Of more than `columns` cells as many are drawn, evenly spaced, among them
        the first and the last. A field's cells are brought to one brightness.
    """
    ranked = ranked.head(24)
    if not len(ranked):
        return message("no field of three cells or more")
    figure, axes = image_grid(len(ranked), columns, 1.25)
    for line, row in zip(axes, ranked.to_dict("records")):
        column = CELL_COLUMNS[row["label"]]
        of_field = predictions[predictions["image_id"] == row["image_id"]]
        of_field = of_field.sort_values(column, ascending=False, kind="stable")
        picked = of_field.iloc[np.linspace(0, len(of_field) - 1, min(columns, len(of_field))).round().astype(int)]
        planes = [read_crop(bags, row["image_id"], cell_id)[..., 1] for cell_id in picked["cell_id"]]
        bright = stretched(np.concatenate(planes))  # together, so that dim cells stay dim beside bright ones
        for axis, plane, score in zip(line, np.split(bright, len(planes)), picked[column]):
            axis.imshow(plane, cmap="gray", vmin=0, vmax=255)
            axis.set_title(f"{score:.2f}", fontsize=7)
        about = f"{row['image_id'][:8]}, {row['n_cells']} cells\nthey differ by {row['disagreement']:.2f}"
        text = f"{SHORT_NAMES[row['label']]}\n{about}"
        line[0].text(-0.08, 0.5, text, ha="right", va="center", fontsize=7, transform=line[0].transAxes)
    return finished(figure)


def heated(plane: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """A channel in grey and over it, in orange, where maps are above 0, each beside the others' highest values.

    Parameters
    ----------
    plane : numpy.ndarray
        uint8 (S, S).
    maps : numpy.ndarray
        float (L, S, S).

    Returns
    -------
    numpy.ndarray
        uint8 (L, S, S, 3).
    """
    blur = len(plane) / 96  # px: light on single pixels would not be seen
    heat = np.stack([cv2.GaussianBlur(np.maximum(values, 0), (0, 0), blur) for values in maps])
    highest = max(np.percentile(heat, 99.5, axis=(1, 2)).max(), 1e-9)
    strength = np.clip(heat / highest, 0, 1)[..., None] ** 0.7
    grey = 0.55 * stretched(plane)[..., None].astype(np.float32)
    return ((1 - strength) * grey + strength * 255 * np.array(HEAT)).astype(np.uint8)


def _draw_groups(axis, places: np.ndarray, groups: np.ndarray, names, title: str) -> None:
    """Points in the colour and mark of their group, those of no group (−1) in grey; the larger groups below."""
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
