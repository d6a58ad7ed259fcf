"""Figures of 01_eda."""

import matplotlib.pyplot as plt
import numpy as np

from hpa_utils.dataset import CHANNELS
from hpa_utils.plots.pictures import SHORT_NAMES, composite, finished, image_grid, names_of, shrink, tinted


def label_counts(labels: np.ndarray):
    """Fields per class, rare ones included by a logarithmic axis; labels (n, 19) of 0 and 1."""
    counts = labels.sum(axis=0)
    figure, axis = plt.subplots(figsize=(8, 5), layout="constrained")
    bars = axis.barh(SHORT_NAMES, np.maximum(counts, 0.5), color="#2a8c4a")
    axis.bar_label(bars, [str(count) for count in counts], padding=3)
    axis.set(xscale="log", xlabel="fields with the label (logarithmic)", title=f"Labels of {len(labels):,} fields")
    axis.set_xlim(0.5, max(counts.max(), 10) * 2)
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.minorticks_off()
    axis.invert_yaxis()
    return finished(figure)


def co_occurrence(labels: np.ndarray):
    """Of the fields with the row's label, the share that also has the column's."""
    counts = labels.T.astype(float) @ labels
    alone = np.diag(counts)
    share = np.divide(counts, alone[:, None], out=np.zeros_like(counts), where=alone[:, None] > 0)
    np.fill_diagonal(share, np.nan)
    figure, axis = plt.subplots(figsize=(8, 6.5), layout="constrained")
    picture = axis.imshow(share, cmap="viridis", vmin=0, vmax=max(np.nanmax(share), 0.01))
    axis.set_xticks(range(19), SHORT_NAMES, rotation=90)
    axis.set_yticks(range(19), SHORT_NAMES)
    axis.set_title("Share of the row's fields that also carry the column's label")
    figure.colorbar(picture, shrink=0.8)
    return finished(figure)


def field_statistics(labels: np.ndarray, sizes):
    """Labels per field, and heights of the fields per split; `sizes` has `split`, `height`, `width`."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    per_field = np.bincount(labels.sum(axis=1), minlength=2)
    left.bar(range(len(per_field)), per_field, color="#2a8c4a")
    left.set(xlabel="labels of a field", ylabel="fields", title="Labels per field", xticks=range(len(per_field)))
    table = sizes.groupby(["split", "height", "width"]).size().reset_index(name="fields")
    names = [f"{row.split}\n{row.height} × {row.width}" for row in table.itertuples()]
    bars = right.bar(names, table["fields"], color="#0b62a4")
    right.bar_label(bars)
    right.set(ylabel="fields", title="Size, rows × columns (px)")
    return finished(figure)


def channels(fields: list, titles: list[str]):
    """The four channels of some fields side by side, and their colour composite."""
    figure, axes = image_grid(len(fields), 5, 2.6)
    for row, (field, title) in enumerate(zip(fields, titles)):
        for column, channel in enumerate(CHANNELS):
            axes[row, column].imshow(tinted(shrink(field[..., column], 512), channel))
            axes[row, column].set_title(("microtubules", "protein", "nucleus", "ER")[column], fontsize=9)
        axes[row, 4].imshow(composite(shrink(field, 512)))
        axes[row, 4].set_title(title, fontsize=9)
    return finished(figure)


def brightness(percentiles: np.ndarray, split: list[str]):
    """Distribution of the fields' 99th percentiles, one panel a channel; percentiles (n, 4, 4)."""
    figure, axes = plt.subplots(1, 4, figsize=(12, 2.8), sharey=True, layout="constrained")
    for channel, axis in enumerate(axes):
        for name in sorted(set(split)):
            values = percentiles[[s == name for s in split], channel, 2]
            axis.hist(values, bins=np.arange(0, 261, 20), alpha=0.6, label=name)
        axis.set(title=CHANNELS[channel], xlabel="99th percentile (grey levels)")
    axes[0].set_ylabel("fields")
    axes[0].legend()
    return finished(figure)


def field_title(image_id: str, labels: np.ndarray) -> str:
    """Short ID and labels of a field, for a figure."""
    return f"{image_id[:8]}\n{names_of(labels)}"
