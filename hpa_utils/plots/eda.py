"""Figures of 01_eda."""

import cv2
import numpy as np

from hpa_utils.dataset import CHANNELS
from hpa_utils.plots import pictures as pic

SEEN = ("microtubules", "protein", "nucleus", "ER")  # in the channels


def channels(fields: list, titles: list[str], um_per_px: float):
    """The four channels of some fields side by side, each in grey, and their colour composite."""
    figure, axes = pic.image_grid(len(fields), 5, 2.0)
    for row, field, title in zip(axes, fields, titles):
        width_um, small = field.shape[1] * um_per_px, pic.shrink(field, 400)
        for axis, plane, channel, seen in zip(row, np.moveaxis(small, -1, 0), CHANNELS, SEEN):
            pic.show(axis, pic.stretched(plane), width_um, f"{channel}: {seen}")
        pic.show(row[4], pic.composite(small), width_um, title)
    return pic.finished(figure, f"Microscopy: the four channels of {len(fields)} fields in grey and in colour.")


def brightest_window(field: np.ndarray, side: int) -> np.ndarray:
    """The square of the field, uint8 (H, W, 4), with the most protein: (side, side, 4), or less in a small field."""
    side = min(side, *field.shape[:2])
    sums = cv2.boxFilter(field[..., 1].astype(np.float32), -1, (side, side), anchor=(0, 0))
    inside = sums[: field.shape[0] - side + 1, : field.shape[1] - side + 1]
    top, left = np.unravel_index(inside.argmax(), inside.shape)
    return field[top : top + side, left : left + side]


def brightness(percentiles: np.ndarray, split: list[str]):
    """Distribution of the fields' 99th percentiles, one panel a channel; percentiles (n, 4, 4)."""
    figure, (axes,) = pic.chart(10, 2.6, columns=4, sharey=True)
    for channel, axis in enumerate(axes):
        for name, colour in zip(sorted(set(split)), (pic.ORANGE, pic.BLUE)):
            values = percentiles[[s == name for s in split], channel, 2]
            axis.hist(values, bins=np.arange(0, 261, 20), alpha=0.6, label=name, color=colour)
        axis.set(title=f"{CHANNELS[channel]}: {SEEN[channel]}", xlabel="99th percentile (0–255)")
    axes[0].set_ylabel("fields")
    axes[0].legend()
    return pic.finished(figure, "Histograms: the 99th percentile of each channel's brightness over the fields.")
