"""Fields: cells of one line, stained, each showing some of the field's labels, and photographed."""

from dataclasses import dataclass

import numpy as np

from hpa_simulator.culture import MARGIN_UM, grow_cells, scatter_centres
from hpa_simulator.labels import choose_metaphase, show_labels, visibility
from hpa_simulator.looks import Look, draw_look
from hpa_simulator.optics import add_clumps, expose
from hpa_simulator.patterns import draw_grain, draw_pattern, draw_unspecific
from hpa_simulator.stains import stain
from hpa_utils.labels import N_CLASSES, NEGATIVE

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
    structures: dict | None = None,
    look: Look | None = None,
    gain: float = 1.0,
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
    structures : dict, optional
        Is given the light of each pattern that a counted cell shows, on the field and before optics: (number of the
        cell, label) → (rows and columns, slices; light, float32 0…1). What is drawn stays the same.
    look : Look, optional
        Of the field's sample; a new one unless given.
    gain : float
        Factor on the light.
    """
    look = look or draw_look((int(rng.integers(2**31)),))
    line = look.line
    centres = scatter_centres(rng, line, size, um)
    beyond = np.maximum(np.abs(centres.real - size / 2), np.abs(centres.imag - size / 2))
    metaphase = choose_metaphase(rng, labels, beyond < 0.3 * size, weakness)
    cells, masks = grow_cells(rng, line, centres, metaphase, size, um)
    counted = sorted((cell for cell in cells if cell.number), key=lambda cell: cell.number)
    dividing = np.array([cell.metaphase for cell in counted])
    shows = show_labels(rng, labels, dividing, visibility(masks), weakness, set(must))
    margin = round(MARGIN_UM / um)
    patterns = None if structures is None else {}
    light = _draw_light(rng, cells, shows, labels, look, size + 2 * margin, patterns)
    for key, (window, pattern) in (patterns or {}).items():
        structures[key] = _on_field(window, pattern, margin, size)
    add_clumps(rng, light[1], um)
    return Field(expose(rng, light, margin, um, gain), masks, shows)


def _draw_light(rng, cells, shows, labels, look, canvas, patterns):
    """Light of all cells, float32 (4, canvas, canvas); overlapping cells add up. `patterns`: see `_draw_green`."""
    light = np.zeros((4, canvas, canvas), np.float32)
    red, blue, yellow = look.line.light
    for cell in cells:
        # A cell whose nucleus is out of view counts nowhere; it looks like one of the others.
        row = shows[cell.number - 1] if cell.number else shows[rng.integers(len(shows))]
        stains = stain(cell, look)
        green = _draw_green(rng, cell, stains, row, labels, look, patterns)
        planes = (red * stains.red, green, blue * stains.blue, yellow * stains.yellow)
        for channel, (plane, own) in enumerate(zip(planes, np.exp(rng.normal(0, 0.3, 4)))):
            light[channel][cell.window] += np.float32(own) * plane
    return light


def _draw_green(rng, cell, stains, row, labels, look, patterns):
    """The patterns that a cell shows, each of its own strength, with traces of those it hardly shows.

    Where `patterns` is a dict, it is given those that a counted cell shows, with their windows of the canvas.
    """
    green = draw_unspecific(cell, stains, look)
    for label in np.union1d(labels, np.flatnonzero(row)).astype(int):
        if label == NEGATIVE:
            continue
        share = rng.uniform(0.6, 1.1) if row[label] else rng.uniform(0, 0.08)
        strength = look.strength * look.properties(label + N_CLASSES)(0.6, 1) * share
        if strength > FAINTEST and not (cell.metaphase and not row[label]):
            pattern = draw_pattern(label, cell, stains, look)
            green = green + np.float32(strength) * pattern
            if patterns is not None and cell.number and row[label]:
                patterns[cell.number, label] = cell.window, pattern
    return green * draw_grain(cell, look, green)


def _on_field(window, pattern, margin, size):
    """A window of the canvas and what is drawn on it, moved to the field and cut at its borders."""
    spans = [(span.start - margin, span.stop - margin) for span in window]
    rows, columns = (slice(max(0, -start), max(0, size - start)) for start, _ in spans)
    return tuple(slice(max(0, start), min(size, stop)) for start, stop in spans), pattern[rows, columns]
