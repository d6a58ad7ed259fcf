"""Stains: what the red, blue and yellow channels show of a cell, whatever the protein in green."""

from dataclasses import dataclass

import numpy as np

from hpa_simulator.cells import Cell
from hpa_simulator.looks import Look
from hpa_simulator.strokes import draw_filaments, draw_noise, unit


@dataclass(frozen=True)
class Stains:
    """Images of a cell, float32 (h, w), 0…1 (single points somewhat brighter).

    Attributes
    ----------
    red, blue, yellow : numpy.ndarray
        Microtubules, chromatin, endoplasmic reticulum.
    cytosol : numpy.ndarray
        How much cytosol lies over a point; little over the nucleus.
    spindle : numpy.ndarray
        Fibres between the poles; nothing unless the cell is in metaphase.
    """

    red: np.ndarray
    blue: np.ndarray
    yellow: np.ndarray
    cytosol: np.ndarray
    spindle: np.ndarray


def stain(cell: Cell, look: Look) -> Stains:
    """Draw the three marker channels of a cell."""
    body = np.clip(cell.edge / 2.6, 0, 1) * cell.body  # a cell thins out towards its edge
    uneven = np.exp(0.35 * draw_noise(cell, 3.5))  # where a cell is thick, it has more of everything
    near = uneven * np.exp(-np.maximum(cell.far, 0) / 7)
    cytosol = body * _dark_nucleus(cell, 0.2) * (0.8 + 0.05 * draw_noise(cell, 1.2))
    spindle = _draw_spindle(cell)
    if cell.metaphase:
        red = spindle + 0.15 * body
        mesh = np.where(spindle > 0.1, 0.4, 0.6) + 0.12 * draw_noise(cell, 0.7)
        yellow = body * mesh * _dark_nucleus(cell, 0)
    else:
        red = _draw_microtubules(cell, body, near, look)
        yellow = _draw_reticulum(cell, body, near, look)
    images = (red, _draw_chromatin(cell), yellow, cytosol, spindle)
    return Stains(*(np.maximum(image, 0).astype(np.float32) for image in images))


def _draw_chromatin(cell):
    """Textured nuclei with dark nucleoli; the chromosomes of a metaphase plate are brighter."""
    texture = 0.72 + 0.14 * draw_noise(cell, 0.5) + 0.07 * draw_noise(cell, 2)
    brightness = 1.4 if cell.metaphase else 1.0
    return brightness * texture * (1 - 0.55 * cell.nucleoli) * cell.core * cell.body


def _draw_microtubules(cell, body, near, look):
    """Filaments from the centrosome outwards and others along the cell, densest round the nucleus, over a veil."""
    from_hub = draw_filaments(cell, cell.hub < 1.2, 45, 8, 34, 0.12, thick=0.16)
    along = draw_filaments(cell, (cell.far > 0.5) * (near + 0.15), 85, 8, 28, 0.1, thick=0.16, stray=0.6)
    tubes = (from_hub + along) * (0.22 + 0.78 * near) * (1 + 0.25 * draw_noise(cell, 5))
    veil = np.float32(look.red_veil) * body * (0.3 + near)
    return unit((tubes + veil) * _dark_nucleus(cell, look.red_nucleus)) * _crisp(cell, 0.32)


def _draw_reticulum(cell, body, near, look):
    """Dense round the nucleus, a fine mesh further out (ridges of noise), patchy on a larger scale, over a veil."""
    mesh = 0.25 + 0.75 * np.exp(-2.2 * np.abs(draw_noise(cell, 0.75)))
    patchy = np.maximum(1 + 0.3 * draw_noise(cell, 1.8) + 0.3 * draw_noise(cell, 5), 0.2)
    light = mesh * patchy + np.float32(look.yellow_veil)
    return unit(body * (0.2 + near) * light * _dark_nucleus(cell, look.yellow_nucleus)) ** 1.15 * _crisp(cell, 0.42)


def _crisp(cell, strength):
    """Factor of fine texture: real structures are sharper than drawn ones, some points far brighter than the rest."""
    return np.exp(np.clip(strength * draw_noise(cell, cell.um), -2, 1.5) - 0.5 * strength**2)


def _draw_spindle(cell):
    """Fibres that narrow from the plate towards both poles, and the poles."""
    if not cell.metaphase:
        return np.zeros(cell.body.shape, np.float32)
    along, across = np.abs(cell.place.real), cell.place.imag
    spread = across / (4.6 * np.clip(1 - along / 6.5, 0.03, 1))
    stripes = 0.6 + 0.3 * np.cos(11 * spread + draw_noise(cell, 2))
    fibres = np.exp(-(spread**4)) * (along < 6.5) * stripes * _dark_nucleus(cell, 0.35)
    poles = np.exp(-((along - 5.8) ** 2) - across**2)
    return ((fibres + poles) * cell.body).astype(np.float32)


def _dark_nucleus(cell, dark):
    """`dark` over the nucleus, 1 elsewhere."""
    return 1 - np.float32(1 - dark) * cell.core
