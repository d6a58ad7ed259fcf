"""How a field, a crop and outlines become a picture: what all notebooks' figures share."""

import cv2
import matplotlib.pyplot as plt
import numpy as np

from hpa_utils.labels import CLASS_NAMES

TINTS = {"red": (1, 0.15, 0.1), "green": (0.1, 1, 0.2), "blue": (0.25, 0.45, 1), "yellow": (1, 0.85, 0.1)}
SHORTER = {
    "nucleoli fibrillar center": "fibrillar center",
    "endoplasmic reticulum": "ER",
    "golgi apparatus": "Golgi",
    "intermediate filaments": "interm. filaments",
    "actin filaments": "actin",
    "vesicles and punctate cytosolic patterns": "vesicles",
}
SHORT_NAMES = tuple(SHORTER.get(name.lower(), name.lower()) for name in CLASS_NAMES)


def composite(field: np.ndarray, stretch: bool = True) -> np.ndarray:
    """A colour picture, uint8 (H, W, 3), of a field, uint8 (H, W, 4) in the order red, green, blue, yellow.

    Red, green and blue are as they are, yellow is added to red and green at half. With `stretch`, each channel's
    99.7th percentile is brought to white, so that dim fields can be seen too.
    """
    planes = np.stack([stretched(field[..., i]) if stretch else field[..., i] for i in range(4)], axis=-1)
    planes = planes.astype(np.float32)
    rgb = planes[..., :3] * (0.8, 1.0, 1.0) + planes[..., 3:] * (0.35, 0.3, 0.0)
    return np.clip(rgb, 0, 255).astype(np.uint8)


def stretched(plane: np.ndarray) -> np.ndarray:
    """A channel, uint8, with its 99.7th percentile brought to white; one that is all but empty stays dark."""
    white = max(float(np.percentile(plane, 99.7)), 24.0)
    return np.clip(plane.astype(np.float32) * (255 / white), 0, 255).astype(np.uint8)


def tinted(plane: np.ndarray, channel: str) -> np.ndarray:
    """One channel, stretched, in its own colour: uint8 (H, W, 3)."""
    return (stretched(plane)[..., None] * np.array(TINTS[channel])).astype(np.uint8)


def shrink(image: np.ndarray, side: int) -> np.ndarray:
    """The image with its longer side brought down to `side` px by area averaging; smaller ones as they are."""
    factor = side / max(image.shape[:2])
    if factor >= 1:
        return image
    size = (round(image.shape[1] * factor), round(image.shape[0] * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def outlined(picture: np.ndarray, cells: np.ndarray, width: int = 2) -> np.ndarray:
    """The picture, uint8 (H, W, 3), with the outline of every cell of the labels (H, W) in white."""
    picture = np.ascontiguousarray(picture.copy())
    for cell_id in np.unique(cells[cells > 0]):
        mask = (cells == cell_id).astype(np.uint8)
        outline, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, outline, -1, (255, 255, 255), width)
    return picture


def names_of(labels: np.ndarray) -> str:
    """Short names of the classes in a label vector, for a title; "unlabelled" where they are unknown."""
    if (np.asarray(labels) < 0).any():
        return "unlabelled"
    return ", ".join(SHORT_NAMES[number] for number in np.flatnonzero(labels))


def image_grid(rows: int, columns: int, side: float = 2.4):
    """A figure of image axes without ticks: (figure, axes (rows, columns))."""
    figure, axes = plt.subplots(rows, columns, figsize=(columns * side, rows * (side + 0.25)), squeeze=False)
    for axis in axes.ravel():
        axis.set_axis_off()
    figure.set_layout_engine("constrained")
    return figure, axes


def finished(figure):
    """The figure, taken from pyplot's list of open ones: a notebook shows it where it is displayed, and once."""
    plt.close(figure)
    return figure


def picture_sheet(pairs: list, titles: list[str], columns: int, side: float):
    """Pairs of pictures one above the other, `columns` beside each other, each under its title."""
    columns = min(columns, len(pairs))
    rows = -(-len(pairs) // columns)
    figure, axes = image_grid(2 * rows, columns, side)
    for place, ((above, below), title) in enumerate(zip(pairs, titles)):
        row, column = divmod(place, columns)
        axes[2 * row, column].imshow(above)
        axes[2 * row, column].set_title(title, fontsize=7)
        axes[2 * row + 1, column].imshow(below, cmap="gray", vmin=0, vmax=255)
    return finished(figure)


def message(text: str):
    """A figure that only says why there is nothing to draw."""
    figure = plt.figure(figsize=(7, 0.5))
    figure.text(0.01, 0.5, text, va="center")
    return finished(figure)
