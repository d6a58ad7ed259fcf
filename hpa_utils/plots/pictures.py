"""How fields, crops, masks and numbers become a picture: what all notebooks' figures share."""

import os

import cv2
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patheffects import withStroke

from hpa_utils.labels import CLASS_NAMES

# The colours of Okabe and Ito, which colour-blind people can tell apart
HUES = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")
ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = HUES
DPI = 90
# What the channels red, green, blue and yellow add to the red, green and blue of a picture
MIXES = {
    "magenta": ((0.85, 0, 0.85), (0, 1, 0), (0.1, 0.35, 1), (0, 0, 0)),  # also for those who are red-green blind
    "rgb": ((0.8, 0, 0), (0, 1, 0), (0, 0, 1), (0.35, 0.3, 0)),  # as the competition showed them
}
COLOURS = os.environ.get("HPA_COLOURS", "magenta")
if COLOURS not in MIXES:
    raise ValueError(f"HPA_COLOURS is {COLOURS!r}; expected {' or '.join(MIXES)}")
SHORTER = {
    "nucleoli fibrillar center": "fibrillar center",
    "endoplasmic reticulum": "ER",
    "golgi apparatus": "Golgi",
    "intermediate filaments": "interm. filaments",
    "actin filaments": "actin",
    "vesicles and punctate cytosolic patterns": "vesicles",
}
SHORT_NAMES = tuple(SHORTER.get(name.lower(), name.lower()) for name in CLASS_NAMES)
RIM = withStroke(linewidth=2, foreground="black")  # of what is written on pictures
NUMBERED_NAMES = tuple(f"{number} {name}" for number, name in enumerate(SHORT_NAMES))
# A colour (red, green, blue) in 0…1 a class: the hues, bright for frequent classes, pale, dark; grey for Negative
_BRIGHT = np.array([to_rgb(hue) for hue in HUES])
_IN_ORDER = (0, 16, 13, 7, 14, 17, 2, 1, 15, 10, 5, 11, 6, 4, 8, 12, 9, 3)
_SHADES = np.concatenate([_BRIGHT, 0.45 * _BRIGHT + 0.55, 0.55 * _BRIGHT])
CLASS_COLOURS = [*_SHADES[np.argsort(_IN_ORDER)], np.full(3, 0.55)]


def composite(field: np.ndarray, stretch: bool = True, colours: str = COLOURS) -> np.ndarray:
    """A colour picture, uint8 (H, W, 3), of a field, uint8 (H, W, 4) in the order red, green, blue, yellow.

    `colours` "magenta": microtubules magenta, protein green, nucleus blue, no ER; "rgb": microtubules red, and ER
    added in yellow. The default is the environment's HPA_COLOURS, else "magenta". With `stretch`, each channel's 99.7th
    percentile is brought to white, so that dim fields can be seen too.
    """
    planes = np.stack([stretched(field[..., i]) if stretch else field[..., i] for i in range(4)], axis=-1)
    return np.clip(planes.astype(np.float32) @ np.float32(MIXES[colours]), 0, 255).astype(np.uint8)


def stretched(plane: np.ndarray) -> np.ndarray:
    """A channel, uint8, with its 99.7th percentile brought to white; one that is all but empty stays dark."""
    white = max(float(np.percentile(plane, 99.7)), 24.0)
    return np.clip(plane.astype(np.float32) * (255 / white), 0, 255).astype(np.uint8)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """The image with its longer side brought down to `side` px by area averaging; smaller ones as they are."""
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def outlined(picture: np.ndarray, cells: np.ndarray, width: int = 2, colour: str = "white") -> np.ndarray:
    """The picture, uint8 (H, W, 3), with the outline of every cell of the labels (H, W)."""
    picture = np.ascontiguousarray(picture.copy())
    rgb = [round(255 * value) for value in to_rgb(colour)]
    for cell_id in np.unique(cells[cells > 0]):
        mask = (cells == cell_id).astype(np.uint8)
        outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outline, -1, rgb, width)
    return picture


def coloured_cells(cells: np.ndarray, colours: list) -> np.ndarray:
    """Labels (H, W) as a picture, uint8 (H, W, 3): cell k in `colours[k - 1]`, striped where these are several.

    A cell's colours are a list of (red, green, blue) in 0…1; a cell without any is dark grey. Cells have black rims.
    """
    rows, columns = np.indices(cells.shape)
    stripe = (rows + columns) * 30 // max(cells.shape)
    palettes = np.array([1] + [max(len(own), 1) for own in colours])
    table = np.zeros((len(palettes), palettes.max(), 3))
    for number, own in enumerate(colours, start=1):
        table[number, : palettes[number]] = own or [(0.25, 0.25, 0.25)]
    picture = (255 * table[cells, stripe % palettes[cells]]).astype(np.uint8)
    picture[cv2.morphologyEx(cells, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0] = 0
    return picture


def names_of(labels: np.ndarray) -> str:
    """Short names of the classes in a label vector, for a title; "unlabelled" where they are unknown."""
    if (np.asarray(labels) < 0).any():
        return "unlabelled"
    return ", ".join(SHORT_NAMES[number] for number in np.flatnonzero(labels))


def image_grid(rows: int, columns: int, side: float = 2.4, **options):
    """A figure of pictures, `side` inches each, without ticks: (figure, axes (rows, columns))."""
    figure, axes = chart(columns * side, rows * (side + 0.25), columns, rows, **options)
    for axis in axes.ravel():
        axis.set_axis_off()
    return figure, axes


def chart(width: float, height: float, columns: int = 1, rows: int = 1, **options):
    """A figure of axes with numbers, `width` × `height` inches: (figure, axes (rows, columns))."""
    options |= {"figsize": (width, height), "squeeze": False, "layout": "constrained", "dpi": DPI}
    figure, axes = plt.subplots(rows, columns, **options)
    for axis in axes.ravel():
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def show(axis, picture: np.ndarray, width_um: float, title: str = "", bar_um: float = 0) -> None:
    """Draw a picture, grey if it has one plane, with a scale bar if it is known to be `width_um` µm wide.

    The bar is labelled and up to a quarter of the width; with `bar_um` it is that long, for the figure to explain.
    """
    axis.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axis.set_title(title, fontsize=9)
    length = bar_um or max(step for step in (0.1, 0.5, 1, 2, 5, 10, 20, 50, 100, 200) if step <= max(width_um / 4, 0.1))
    if length < 0.9 * width_um:
        style = {"color": "white", "transform": axis.transAxes, "path_effects": [RIM]}
        axis.plot([0.97 - length / width_um, 0.97], [0.05, 0.05], linewidth=2.5, solid_capstyle="butt", **style)
        label = "" if bar_um else f"{length:g} µm"
        axis.text(0.97 - length / width_um / 2, 0.07, label, fontsize=8, ha="center", va="bottom", **style)


def finished(figure, alt: str = ""):
    """The figure, taken from pyplot's list of open ones: a notebook shows it where it is displayed, and once.

    `alt` says in words what it shows, for those who cannot see it; it stays with the picture in the notebook.
    """
    plt.close(figure)
    if alt:
        figure._repr_mimebundle_ = lambda **_: ({}, {"image/png": {"alt": alt}})
    return figure


def picture_sheet(pairs: list, titles: list[str], columns: int, side: float, widths_um=(), alt: str = ""):
    """Pairs of pictures one above the other, each under its title, with bars of 10 µm if their widths are known."""
    if not pairs:
        return message(alt or "nothing to show")
    columns = min(columns, len(pairs))
    rows = -(-len(pairs) // columns)
    figure, axes = image_grid(2 * rows, columns, side)
    for place, ((above, below), title) in enumerate(zip(pairs, titles)):
        row, column = divmod(place, columns)
        width_um = widths_um[place] if len(widths_um) else 0
        show(axes[2 * row, column], above, width_um, bar_um=10)
        show(axes[2 * row + 1, column], below, width_um, bar_um=10)
        axes[2 * row, column].set_title(title, fontsize=8)
    if len(widths_um):
        figure.supxlabel("bars: 10 µm", fontsize=8)
    return finished(figure, alt)


def class_gallery(tiles: list[list], caption: str, alt: str, columns: int = 4):
    """Small pictures of each class, two classes beside each other.

    `tiles` has a list a class: (picture, its width in µm, text in its corner, colour of its frame or "").
    """
    options = {"width_ratios": [1] * columns + [0.15] + [1] * columns}
    figure, axes = image_grid(10, 2 * columns + 1, 9.4 / (2 * columns + 0.15) - 0.02, **options)
    for label, own in enumerate(tiles):
        row = axes[label % 10, label // 10 * (columns + 1) :]
        for axis, (picture, width_um, text, colour) in zip(row[:columns], own):
            show(axis, picture, width_um, bar_um=10)
            back = {"facecolor": colour or "black", "alpha": 1 if colour else 0.5, "pad": 1.5, "edgecolor": "none"}
            axis.text(0.03, 0.96, text, color="white", fontsize=8, va="top", bbox=back, transform=axis.transAxes)
            if colour:
                axis.set_axis_on()
                axis.set(xticks=[], yticks=[])
                axis.spines[:].set(color=colour, linewidth=3, visible=True)
        row[0].set_title(NUMBERED_NAMES[label] + ("" if own else ": none"), fontsize=9, loc="left")
    figure.supxlabel(f"{caption} Bars: 10 µm.", fontsize=9)
    return finished(figure, alt)


def message(text: str):
    """A figure that only says why there is nothing to draw."""
    figure = plt.figure(figsize=(7, 0.5), dpi=DPI)
    figure.text(0.01, 0.5, text, va="center")
    return finished(figure, text)
