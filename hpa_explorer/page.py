"""``report.html``: fields with the outlines of their cells and what the model says of each, in one file.

The page needs no server and no network. It is made of ``page.html``, ``page.css``, ``page_views.js`` and ``page.js``
beside this module; each field follows as a block of JSON that holds its pictures, its outlines and its numbers.
"""

import base64
import html
import json
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from scipy import ndimage
from skimage.measure import find_contours

from hpa_utils.dataset import CHANNELS, PIXEL_SIZE_UM, Dataset
from hpa_utils.labels import CLASS_NAMES, N_CLASSES
from hpa_utils.paths import atomic_write
from hpa_utils.plots.pictures import COLOURS, MIXES, SHORT_NAMES, composite, shrink, stretched
from hpa_utils.segmentation.measure import field_and_labels

SIDE = 1024  # px, longer side of a picture and of the plane the outlines are drawn in
THUMBNAIL = 96  # px
UNITS = 10  # of the outlines' whole numbers to a shown pixel
TOLERANCE = 0.35  # shown px by which a simplified outline may leave the mask's edge
BYTES = {"red": 55_000, "green": 100_000, "blue": 45_000, "yellow": 55_000}  # so 50 fields stay under 20 MB
YELLOW = (0.45, 0.4, 0.0)  # of a channel that the figures leave dark, where it is switched on
QUALITIES = ((SIDE, 90), (SIDE, 80), (SIDE, 70), (SIDE, 60), (768, 60), (768, 45), (512, 50), (512, 35), (384, 35))


def describe_field(
    field: np.ndarray,
    labels: np.ndarray,
    image_id: str,
    cell_ids: np.ndarray,
    confidences: np.ndarray,
    field_labels: np.ndarray | None = None,
    truth: np.ndarray | None = None,
    pixel_size_um: float = PIXEL_SIZE_UM,
    places: np.ndarray | None = None,
) -> dict:
    """What the page shows of one field, ready for JSON.

    Parameters
    ----------
    field : numpy.ndarray
        uint8 (H, W, 4), channel order red, green, blue, yellow.
    labels : numpy.ndarray
        uint16 (H, W), 0 background, else the number of the cell.
    image_id : str
    cell_ids : numpy.ndarray
        int (n,), the cells to show; one that has no pixel in `labels` is listed without an outline.
    confidences : numpy.ndarray
        float (n, 19) in the order of `cell_ids`; NaN where a cell was not predicted.
    field_labels : numpy.ndarray, optional
        int (19,), 1 or 0, −1 where unknown.
    truth : numpy.ndarray, optional
        int (n, 19), 1 or 0, −1 where unknown.
    pixel_size_um : float
        µm a pixel of the field.
    places : numpy.ndarray, optional
        float (n, 2), where the cells are on the map of `map_cells`; NaN for those that are not on it.

    Returns
    -------
    dict
        `id`, `size` (width, height in outline units), `width_um`, `planes` (of each channel a grey JPEG, base64),
        `thumbnail` (JPEG, base64), `labels` (class numbers, None where unknown) and `cells`: of each its `id`, its
        `path` (SVG path data, to be filled by the even-odd rule), `p` (19 numbers, None where not predicted), `t`
        (19 numbers, None where unknown) and `m` (2 numbers, None where not on the map).

    Raises
    ------
    ValueError
        If the arrays do not belong together.
    """
    cell_ids, confidences = np.asarray(cell_ids), np.asarray(confidences, np.float64)
    count = len(cell_ids)
    truth = np.full((count, N_CLASSES), -1) if truth is None else np.asarray(truth)
    places = np.full((count, 2), np.nan) if places is None else np.asarray(places, np.float64)
    expected = {"labels": (labels, field.shape[:2]), "confidences": (confidences, (count, N_CLASSES))}
    expected |= {"truth": (truth, (count, N_CLASSES)), "places": (places, (count, 2))}
    for name, (array, shape) in expected.items():
        if array.shape != shape:
            raise ValueError(f"field {image_id}: {name} has the shape {array.shape}, expected {shape}")
    small = shrink(field, SIDE)
    paths = outline_paths(labels, cell_ids, small.shape[1] / field.shape[1], small.shape[0] / field.shape[0])
    known = field_labels is not None and (np.asarray(field_labels) >= 0).all()
    return {
        "id": str(image_id),
        "size": [small.shape[1] * UNITS, small.shape[0] * UNITS],
        "width_um": field.shape[1] * float(pixel_size_um),
        "planes": {name: _base64(within(stretched(small[..., i]), BYTES[name])) for i, name in enumerate(CHANNELS)},
        "thumbnail": _base64(_jpeg(shrink(composite(small), THUMBNAIL), 75)),
        "labels": np.flatnonzero(field_labels).tolist() if known else None,
        "cells": [
            {
                "id": int(number),
                "path": path,
                "p": _numbers(row),
                "t": true.tolist() if (true >= 0).any() else None,
                "m": _numbers(at),
            }
            for number, path, row, true, at in zip(cell_ids, paths, confidences, truth, places, strict=True)
        ],
    }


def describe_fields(
    dataset: Dataset,
    fields: pd.DataFrame,
    cells: pd.DataFrame,
    confidences: np.ndarray,
    truth: np.ndarray | None,
    places: np.ndarray | None = None,
) -> Iterator[dict]:
    """`describe_field` of each field of a field table, one after the other, as `write_page` takes them.

    Parameters
    ----------
    dataset : Dataset
    fields, cells : pandas.DataFrame
        The fields to show; the cell table, maybe with other fields' cells.
    confidences, truth, places : numpy.ndarray
        (n, 19), and (n, 2) of the places, in the order of `cells`, as in `describe_field`.

    Warns
    -----
    UserWarning
        Of a field that can no longer be read; it is left out.
    """
    for row in fields.itertuples():
        try:
            field, labels = field_and_labels(dataset, cells, row)
        except Exception as error:  # whatever a broken file does, the others are shown
            warnings.warn(f"not on the page: {error}", stacklevel=2)
            continue
        rows = np.flatnonzero(cells["image_id"] == row.image_id)
        known, on_map = (None if array is None else array[rows] for array in (truth, places))
        own = cells["cell_id"].iloc[rows], confidences[rows], row.labels, known, float(row.pixel_size_um), on_map
        yield describe_field(field, labels, row.image_id, *own)


def outline_paths(labels: np.ndarray, cell_ids: np.ndarray, scale_x: float, scale_y: float) -> list[str]:
    """SVG path data of each cell: the edges of its pixels, in whole units of 1/`UNITS` shown pixel.

    Every piece and every hole of a cell is a closed part of its path, but for specks below a shown pixel beside
    larger pieces. A number without pixels has an empty path.

    Parameters
    ----------
    labels : numpy.ndarray
        uint16 (H, W).
    cell_ids : numpy.ndarray
        int (n,).
    scale_x, scale_y : float
        Shown pixels to a pixel of the field.
    """
    boxes = ndimage.find_objects(labels)
    scale = np.array([scale_x, scale_y])
    paths = []
    for number in np.asarray(cell_ids).tolist():
        box = boxes[number - 1] if 0 < number <= len(boxes) else None
        if box is None:
            paths.append("")
            continue
        mask = np.pad(labels[box] == number, 1)
        corner = np.array([box[1].start, box[0].start]) - 0.5  # of the padded mask; a pixel's centre is half a pixel in
        parts = [(line[:-1, ::-1] + corner) * scale for line in find_contours(mask.astype(np.float32), 0.5)]
        extents = [np.ptp(part, axis=0).max() for part in parts]
        paths.append("".join(_path(p) for p, e in zip(parts, extents, strict=True) if e >= min(1, max(extents))))
    return paths


def within(image: np.ndarray, budget: int) -> bytes:
    """The JPEG of the best of `QUALITIES` (longer side, quality) that stays within the budget, or of the last.

    Parameters
    ----------
    image : numpy.ndarray
        uint8 (H, W) or (H, W, 3) in the order red, green, blue.
    budget : int
        Bytes.
    """
    for side, quality in QUALITIES:
        data = _jpeg(shrink(image, side), quality)
        if len(data) <= budget:
            break
    return data


def write_page(path: str | Path, fields: Iterable[dict], title: str, map_name: str = "") -> int:
    """Write the page; returns its size in bytes.

    Parameters
    ----------
    path : path
        Usually ``report.html``. It is written field by field to a temporary name, then renamed.
    fields : iterable of dict
        As of `describe_field`; only one is held at a time.
    title : str
    map_name : str
        Of the method that found the places on the map.
    """
    here = Path(__file__).parent
    names = ("page.html", "page.css", "page_views.js", "page.js")
    page, style, *scripts = [(here / name).read_text(encoding="utf-8") for name in names]
    page = page.replace("/*STYLE*/", style).replace("/*SCRIPT*/", "\n".join(scripts))
    head, foot = page.replace("<!--TITLE-->", html.escape(title)).split("<!--DATA-->")
    with atomic_write(path) as temporary:
        with open(temporary, "w", encoding="utf-8", newline="\n") as file:
            file.write(head)
            file.write(_block("page", _page_wide(map_name)))
            for field in fields:
                file.write(_block("field", field))
            file.write(foot)
        size = temporary.stat().st_size
    return size


def _page_wide(map_name: str) -> dict:
    """What all fields share; the channels are in the colours of the notebooks' figures."""
    mixes = dict(zip(CHANNELS, MIXES[COLOURS]))
    dark = [channel for channel, mix in mixes.items() if not any(mix)]
    shades = [YELLOW if channel in dark else mix for channel, mix in mixes.items()]
    tints = ["#" + "".join(f"{round(255 * value):02x}" for value in shade) for shade in shades]
    return {"classes": {"names": CLASS_NAMES, "short": SHORT_NAMES}, "tints": tints, "dark": dark, "map": map_name}


def _block(kind: str, content: dict) -> str:
    """Data as an inert script element; no ``<`` inside, so that nothing in it can end the element."""
    text = json.dumps(content, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" data-kind="{kind}">{text}</script>\n'


def _path(points: np.ndarray) -> str:
    """A closed line, float (k, 2) of x, y in shown px, simplified, as path data relative to its first point."""
    simple = cv2.approxPolyDP(points[:, None].astype(np.float32), TOLERANCE, True)[:, 0]
    if len(simple) < 3:  # a cell of a pixel or two
        simple = points
    whole = np.rint(simple * UNITS).astype(int)
    steps = np.diff(whole, axis=0)
    return f"M{whole[0, 0]} {whole[0, 1]}l" + " ".join(f"{x} {y}" for x, y in steps.tolist()) + "z"


def _numbers(row: np.ndarray) -> list[float] | None:
    """To four digits; None unless all are numbers."""
    return [float(f"{value:.4g}") for value in row.tolist()] if np.isfinite(row).all() else None


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    image = image[..., ::-1] if image.ndim == 3 else image
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes()


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
