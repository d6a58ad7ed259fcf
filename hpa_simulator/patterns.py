"""Patterns: what green shows of a cell for each of the 19 classes, from where such proteins live (sizes in µm).

The first line of every drawing function is the class's description; the documentation prints it.
"""

import cv2
import numpy as np

from hpa_simulator.cells import Cell
from hpa_simulator.stains import Stains
from hpa_simulator.strokes import draw_dots, draw_filaments, draw_noise


def draw_pattern(label: int, cell: Cell, stains: Stains) -> np.ndarray:
    """What green shows of class `label` in a cell: float32 (h, w), 0…1, nothing outside the cell."""
    light = PATTERNS[label](cell, stains)
    return np.clip(light, 0, 1).astype(np.float32) * cell.body


def describe_pattern(label: int) -> str:
    """One line on what class `label` looks like."""
    return PATTERNS[label].__doc__.strip().splitlines()[0]


def _draw_nucleoplasm(cell, stains):
    """The nucleus filled, finely textured, nucleoli darker."""
    texture = 0.75 + 0.1 * draw_noise(cell, 0.6)
    return cell.core * texture * (1 - 0.65 * cell.nucleoli)


def _draw_nuclear_membrane(cell, stains):
    """A thin bright rim round the nucleus, now and then a fold across it."""
    rim = _ridge(cell.far, 0.5) * (0.9 + 0.15 * draw_noise(cell, 1.5))
    fold = _ridge(draw_noise(cell, 6) - 0.8, 0.06) * (cell.rng.random() < 0.3)
    return rim + (0.14 + 0.4 * fold) * cell.nucleus


def _draw_nucleoli(cell, stains):
    """One to five bright bodies in the nucleus."""
    return cell.nucleoli * (0.9 + 0.1 * draw_noise(cell, 0.5)) + 0.08 * cell.nucleus


def _draw_fibrillar_center(cell, stains):
    """Small dots inside the nucleoli, singly or in a cluster."""
    dots = draw_dots(cell, cell.nucleoli > 0.6, 5, 12, 0.3, spread=0.4)
    return dots + 0.12 * cell.nucleoli + 0.05 * cell.nucleus


def _draw_speckles(cell, stains):
    """Twenty to forty irregular speckles in the nucleus, never in the nucleoli."""
    free = (cell.far < -0.7) * np.maximum(1 - 2 * cell.nucleoli, 0)
    blots = draw_dots(cell, free, 12, 24, 0.5) + draw_dots(cell, free, 8, 16, 0.75)
    ragged = np.clip(blots * (0.75 + 0.5 * draw_noise(cell, 0.45)), 0, 1)
    return (ragged + 0.16) * cell.nucleus


def _draw_nuclear_bodies(cell, stains):
    """Two to ten round, clear-cut dots in the nucleus."""
    dots = draw_dots(cell, (cell.far < -0.8) & (cell.nucleoli < 0.1), 2, 10, 0.5, spread=0.1)
    return dots + 0.08 * cell.nucleus


def _draw_reticulum(cell, stains):
    """Follows the yellow channel: dense round the nucleus, a mesh outwards."""
    return stains.yellow * (0.9 + 0.1 * draw_noise(cell, 0.5))


def _draw_golgi(cell, stains):
    """A ribbon or a stack of short cisternae on one side of the nucleus, at the centrosome."""
    around = _ridge(cell.far - 1.8, 1.5) * _ridge(cell.hub, cell.rng.uniform(3, 6)) * ~cell.nucleus
    ribbon = draw_filaments(cell, around, 14, 1.5, 5, 0.5, thick=0.3)
    stacks = draw_dots(cell, around, 6, 14, 0.5, spread=0.4)
    near = _ridge(cell.hub, 7) * (cell.far > -0.3)
    return (ribbon + 0.7 * stacks + 0.15 * around) * near + 0.03 * stains.cytosol


def _draw_intermediate(cell, stains):
    """Wavy bundles of filaments, most round the nucleus, fewer further out."""
    round_nucleus = np.exp(-np.maximum(cell.far, 0) / 3) * (cell.far > 0.4) * (cell.edge > 0.9)
    bundles = draw_filaments(cell, round_nucleus, 30, 8, 24, 0.2, thick=0.12, bundle=4)
    basket = np.exp(-np.maximum(cell.far, 0) / 8) * np.where(cell.nucleus, 0.25, 1)
    return bundles * basket + 0.1 * stains.cytosol * basket


def _draw_actin(cell, stains):
    """Straight parallel stress fibres along the cell, and the cortex below its outline."""
    turn = np.exp(1j * cell.rng.normal(0, 0.15))
    place = cell.place * np.complex64(turn)
    fibres = _stripes(cell, place, across=0.55, along=14)
    cortex = _ridge(cell.edge, 0.8) * (0.7 + 0.2 * draw_noise(cell, 2))
    return fibres * np.clip(cell.edge / 1.5, 0, 1) * np.where(cell.nucleus, 0.5, 0.85) + 0.7 * cortex


def _draw_microtubules(cell, stains):
    """Follows the red channel: filaments from the centrosome outwards."""
    return stains.red * (0.95 + 0.05 * draw_noise(cell, 0.5))


def _draw_spindle(cell, stains):
    """A rounded cell in metaphase: fibres between two poles, across the plate of chromosomes."""
    return stains.spindle + 0.08 * stains.cytosol


def _draw_centrosome(cell, stains):
    """One or two dots beside the nucleus, where the microtubules start."""
    second = draw_dots(cell, (cell.hub < 1.6) & (cell.hub > 0.7), 0, 1, 0.4)
    return _ridge(cell.hub, 0.5) + second + 0.05 * stains.cytosol


def _draw_plasma_membrane(cell, stains):
    """The outline of the cell, brighter where it touches a neighbour; a faint veil over the rest."""
    line = _ridge(cell.edge - 0.2, 0.75) * (0.6 + 0.15 * draw_noise(cell, 3) + 0.4 * cell.contact)
    veil = 0.09 + 0.025 * draw_noise(cell, 0.8)
    return line + veil


def _draw_mitochondria(cell, stains):
    """Threads and beads scattered round the nucleus, thinning out towards the edge."""
    around = np.exp(-np.maximum(cell.far, 0) / 5) * (cell.far > 0.4) * (cell.edge > 0.9)
    threads = draw_filaments(cell, around, 90, 1, 5, 0.45, thick=0.25)
    beads = np.clip(0.75 + 0.3 * draw_noise(cell, 0.6), 0.2, 1.2)
    return threads * beads * np.where(cell.nucleus, 0.12, 1) + 0.05 * stains.cytosol


def _draw_aggresome(cell, stains):
    """One dense, ragged body beside the nucleus."""
    radius = cell.rng.uniform(1.6, 2.8)
    body = np.clip((radius + 0.35 * draw_noise(cell, 1.5) - cell.hub) / 0.5, 0, 1)
    return body * (0.85 + 0.12 * draw_noise(cell, 0.6)) + 0.1 * stains.cytosol


def _draw_cytosol(cell, stains):
    """Smooth all over the cell, the nucleus dark."""
    return stains.cytosol


def _draw_vesicles(cell, stains):
    """Twenty to eighty separate dots in the cytoplasm."""
    around = np.exp(-np.maximum(cell.far, 0) / 8) * (cell.far > 0.5) * (cell.edge > 0.8)
    small = draw_dots(cell, around, 14, 56, 0.3, spread=0.5)
    large = draw_dots(cell, around, 6, 24, 0.5, spread=0.4)
    return small + large + 0.06 * stains.cytosol


def _draw_negative(cell, stains):
    """No pattern: background and a little unspecific haze."""
    return 0.06 * stains.cytosol + 0.035 * cell.nucleus


def _ridge(distance, width):
    """1 where a distance is 0, falling off over `width`."""
    return np.exp(-((distance / np.float32(width)) ** 2))


def _stripes(cell, place, across, along):
    """Noise that changes over `across` µm one way and `along` µm the other, as fibres of differing strength."""
    reach = float(np.abs(place).max()) + 1
    shape = (int(2 * reach / across) + 3, int(2 * reach / along) + 3)
    strength = cell.rng.random(shape, np.float32) ** 3
    column = (place.real + reach) / np.float32(along)
    row = (place.imag + reach) / np.float32(across)
    return cv2.remap(strength, column, row, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


PATTERNS = (  # by class number
    _draw_nucleoplasm,
    _draw_nuclear_membrane,
    _draw_nucleoli,
    _draw_fibrillar_center,
    _draw_speckles,
    _draw_nuclear_bodies,
    _draw_reticulum,
    _draw_golgi,
    _draw_intermediate,
    _draw_actin,
    _draw_microtubules,
    _draw_spindle,
    _draw_centrosome,
    _draw_plasma_membrane,
    _draw_mitochondria,
    _draw_aggresome,
    _draw_cytosol,
    _draw_vesicles,
    _draw_negative,
)
