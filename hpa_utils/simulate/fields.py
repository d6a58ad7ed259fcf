"""Fields: cells of one line, stained, each showing some of the field's labels, and photographed."""

from dataclasses import dataclass

import numpy as np

from hpa_utils.labels import NEGATIVE
from hpa_utils.simulate.culture import MARGIN_UM, grow_cells, scatter_centres
from hpa_utils.simulate.labels import choose_metaphase, show_labels
from hpa_utils.simulate.lines import draw_line
from hpa_utils.simulate.optics import add_clumps, expose
from hpa_utils.simulate.patterns import draw_pattern
from hpa_utils.simulate.stains import stain

FAINTEST = 0.03  # a pattern weaker than this would drown in noise and is not drawn


@dataclass(frozen=True)
class Field:
    """A simulated field and its truth.

    Attributes
    ----------
    image : numpy.ndarray
        uint8 (h, w, 4), red, green, blue, yellow.
    masks : numpy.ndarray
        uint16 (h, w), cells 1…n.
    shows : numpy.ndarray
        bool (n, 19), which cell shows which class.
    """

    image: np.ndarray
    masks: np.ndarray
    shows: np.ndarray


def draw_field(
    rng: np.random.Generator,
    size: int,
    um: float,
    labels: list[int],
    weakness: float = 1.0,
    must: frozenset = frozenset(),
) -> Field:
    """Simulate one field.

    Parameters
    ----------
    size, um : int, float
        Side in px, and of a pixel in µm.
    labels : list of int
        Of the field.
    weakness : float
    must : set of int
        Labels that at least one cell has to show; see `labels.show_labels`.
    """
    line = draw_line(rng)
    centres = scatter_centres(rng, line, size, um)
    beyond = np.maximum(np.abs(centres.real - size / 2), np.abs(centres.imag - size / 2))
    metaphase = choose_metaphase(rng, labels, beyond < 0.3 * size, weakness)
    cells, masks = grow_cells(rng, line, centres, metaphase, size, um)
    counted = sorted((cell for cell in cells if cell.number), key=lambda cell: cell.number)
    shows = show_labels(rng, labels, np.array([cell.metaphase for cell in counted]), weakness, set(must))
    margin = round(MARGIN_UM / um)
    light = _draw_light(rng, cells, shows, labels, line, size + 2 * margin)
    add_clumps(rng, light[1], um)
    return Field(expose(rng, light, margin, um), masks, shows)


def _draw_light(rng, cells, shows, labels, line, canvas):
    """Light of all cells, float32 (4, canvas, canvas); overlapping cells add up."""
    light = np.zeros((4, canvas, canvas), np.float32)
    haze = rng.uniform(0.2, 1.6)
    red, blue, yellow = line.light
    for cell in cells:
        # A cell whose nucleus is out of view counts nowhere; it looks like one of the others.
        row = shows[cell.number - 1] if cell.number else shows[rng.integers(len(shows))]
        stains = stain(cell)
        green = _draw_green(rng, cell, stains, row, labels, haze)
        planes = (red * stains.red, green, blue * stains.blue, yellow * stains.yellow)
        for channel, (plane, own) in enumerate(zip(planes, np.exp(rng.normal(0, 0.3, 4)))):
            light[channel][cell.window] += np.float32(own) * plane
    return light


def _draw_green(rng, cell, stains, row, labels, haze):
    """The patterns that a cell shows, each of its own strength, over haze and traces of what it hardly shows."""
    green = haze * draw_pattern(NEGATIVE, cell, stains)
    for label in labels:
        if label == NEGATIVE:
            continue
        strength = rng.uniform(0.4, 1) if row[label] else rng.uniform(0, 0.08)
        if strength > FAINTEST and not (cell.metaphase and not row[label]):
            green = green + np.float32(strength) * draw_pattern(label, cell, stains)
    return green
