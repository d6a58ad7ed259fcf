"""Patterns: what green shows of a cell for each of the 19 classes, from where such proteins live (sizes in µm).

The first line of every drawing function is the class's description; the documentation prints it.
"""

import cv2
import numpy as np

from hpa_simulator.cells import Cell
from hpa_simulator.looks import Look
from hpa_simulator.stains import Stains
from hpa_simulator.strokes import draw_dots, draw_filaments, draw_noise


def draw_pattern(label: int, cell: Cell, stains: Stains, look: Look) -> np.ndarray:
    """What green shows of class `label` in a cell: float32 (h, w), 0…1, nothing outside the cell.

    Every class has variants: the numbers that describe one are drawn by `look.properties`, for a sample and near to
    that for each of its cells.
    """
    light = PATTERNS[label](cell, stains, look.properties(label, cell.rng))
    return np.clip(light, 0, 1).astype(np.float32) * cell.body


def draw_unspecific(cell: Cell, stains: Stains, look: Look) -> np.ndarray:
    """What the antibody shows in any cell, whatever its class: veils over cell and nucleus, and specks."""
    own = np.exp(cell.rng.normal(0, 0.3))
    veil = look.veil * (0.4 * stains.cytosol + 0.6 * np.clip(cell.edge / 2.6, 0, 1)) + look.nuclear_veil * cell.core
    light = own * veil
    if look.specks:
        number = round(cell.body.sum() * cell.um**2 / 25)
        light = light + look.specks * draw_dots(cell, cell.body, number // 3, number, 0.18, spread=0.8)
    return (light * cell.body).astype(np.float32)


def draw_grain(cell: Cell, look: Look, light: np.ndarray) -> np.ndarray:
    """Factor on green `light`: antibody lies in clusters of all sizes, and where it is sparse each can be seen; float32
    (h, w), mean near 1.
    """
    clusters = 0.9 * draw_noise(cell, cell.um) + 0.4 * draw_noise(cell, 0.8) + 0.3 * draw_noise(cell, 3)
    deviation = look.grain * np.clip((0.5 / np.maximum(light, 0.02)) ** 0.35, 0.7, 2)
    return np.exp(np.clip(deviation * clusters, -2.5, 2) - 0.5 * deviation**2).astype(np.float32)


def describe_pattern(label: int) -> str:
    """One line on what class `label` looks like."""
    return PATTERNS[label].__doc__.strip().splitlines()[0]


def _draw_nucleoplasm(cell, stains, between):
    """The nucleus filled, smooth to mottled, nucleoli darker or not; the cytosol may be stained faintly."""
    texture = 0.75 + between(0.03, 0.16) * draw_noise(cell, between(0.4, 1.4))
    return cell.core * texture * (1 - between(0, 0.9) * cell.nucleoli) + between(0.05, 0.45) * stains.cytosol


def _draw_nuclear_membrane(cell, stains, between):
    """A thin bright rim round the nucleus, now and then a fold across it."""
    rim = _ridge(cell.far, between(0.35, 0.8)) * (0.9 + 0.15 * draw_noise(cell, 1.5))
    fold = _ridge(draw_noise(cell, 6) - 0.8, 0.06) * (cell.rng.random() < between(0, 0.6))
    return rim + (between(0.05, 0.35) + 0.4 * fold) * cell.nucleus + between(0, 0.2) * stains.yellow


def _draw_nucleoli(cell, stains, between):
    """Two to seven bright bodies in the nucleus, filled or brighter at their rims."""
    ring = between(0, 0.5) * np.clip(cell.nucleoli - 0.7, 0, 1) * 2
    bodies = np.clip(cell.nucleoli * between(1.1, 2), 0, 1) * (0.9 + 0.1 * draw_noise(cell, 0.5))
    return bodies * (1 - ring) + between(0, 0.2) * cell.core + between(0, 0.2) * stains.cytosol


def _draw_fibrillar_center(cell, stains, between):
    """Small dots inside the nucleoli, singly or in a cluster."""
    most = round(between(4, 14))
    dots = draw_dots(cell, cell.nucleoli > 0.6, most // 2, most, between(0.22, 0.42), spread=0.4)
    return dots + between(0, 0.3) * cell.nucleoli + between(0.02, 0.2) * cell.core


def _draw_speckles(cell, stains, between):
    """Twenty to forty irregular speckles in the nucleus, never in the nucleoli."""
    free = (cell.far < -0.7) * np.maximum(1 - 2 * cell.nucleoli, 0)
    size = between(0.75, 1.25)
    blots = draw_dots(cell, free, 12, 24, 0.5 * size) + draw_dots(cell, free, 8, 16, 0.75 * size)
    ragged = np.clip(blots * (0.75 + 0.5 * draw_noise(cell, 0.45)), 0, 1)
    return (ragged + between(0.08, 0.4)) * cell.core + between(0, 0.12) * stains.cytosol


def _draw_nuclear_bodies(cell, stains, between):
    """Two to fourteen round, clear-cut dots in the nucleus."""
    most = round(between(3, 14))
    inside = (cell.far < -0.8) & (cell.nucleoli < 0.1)
    dots = draw_dots(cell, inside, most // 3, most, between(0.28, 0.6), spread=0.1)
    return dots + between(0.03, 0.35) * cell.core + between(0, 0.12) * stains.cytosol


def _draw_reticulum(cell, stains, between):
    """Follows the yellow channel: dense round the nucleus, a mesh outwards, its rim at times."""
    mesh = stains.yellow ** between(0.8, 1.6) * (0.9 + 0.1 * draw_noise(cell, 0.5))
    return mesh + between(0, 0.5) * _ridge(cell.far, 0.6) + between(0, 0.12) * cell.core


def _draw_golgi(cell, stains, between):
    """A ribbon or a stack of short cisternae on one side of the nucleus, at the centrosome."""
    around = _ridge(cell.far - 1.8, 1.5) * _ridge(cell.hub, between(2.5, 6.5)) * ~cell.nucleus
    ribbon = draw_filaments(cell, around, round(between(6, 18)), 1.5, 5, 0.5, thick=0.3)
    stacks = draw_dots(cell, around, 6, 14, 0.5, spread=0.4)
    near = _ridge(cell.hub, 7) * (cell.far > -0.3)
    compact = between(0, 1)
    body = compact * ribbon + (1 - 0.5 * compact) * stacks + 0.15 * around
    return body * near + between(0.02, 0.2) * stains.cytosol


def _draw_intermediate(cell, stains, between):
    """Wavy bundles of filaments, most round the nucleus, fewer further out."""
    reach = between(3, 10)
    round_nucleus = np.exp(-np.maximum(cell.far, 0) / reach) * (cell.far > 0.4) * (cell.edge > 0.9)
    number, together = round(between(15, 45)), round(between(2, 5))
    bundles = draw_filaments(cell, round_nucleus, number, 8, 24, between(0.12, 0.3), thick=0.12, bundle=together)
    basket = np.exp(-np.maximum(cell.far, 0) / (2 * reach)) * np.where(cell.nucleus, 0.25, 1)
    return bundles * basket + between(0.05, 0.25) * stains.cytosol * basket


def _draw_actin(cell, stains, between):
    """Straight parallel stress fibres along the cell, and the cortex below its outline."""
    turn = np.exp(1j * cell.rng.normal(0, 0.15))
    place = cell.place * np.complex64(turn)
    fibres = _stripes(cell, place, across=between(0.4, 0.8), along=between(8, 16))
    cortex = _ridge(cell.edge, between(0.5, 1.1)) * (0.7 + 0.2 * draw_noise(cell, 2))
    over = np.clip(cell.edge / 1.5, 0, 1) * np.where(cell.nucleus, between(0.3, 0.8), 0.85)
    return fibres * over + between(0.3, 0.9) * cortex + between(0, 0.15) * stains.cytosol


def _draw_microtubules(cell, stains, between):
    """Follows the red channel: filaments from the centrosome outwards."""
    tubes = stains.red ** between(0.8, 1.4) * (0.95 + 0.05 * draw_noise(cell, 0.5))
    return tubes + between(0, 0.15) * stains.cytosol


def _draw_spindle(cell, stains, between):
    """A rounded cell in metaphase: fibres between two poles, across the plate of chromosomes."""
    return stains.spindle + between(0.04, 0.2) * stains.cytosol


def _draw_centrosome(cell, stains, between):
    """One or two dots beside the nucleus, where the microtubules start."""
    second = draw_dots(cell, (cell.hub < 1.6) & (cell.hub > 0.7), 0, 1, 0.4)
    return _ridge(cell.hub, between(0.4, 0.8)) + second + between(0.02, 0.3) * stains.cytosol


def _draw_plasma_membrane(cell, stains, between):
    """The outline, ruffles, folds and the whole surface, brighter where a neighbour touches; the nucleus darker."""
    along = np.clip(0.6 + 0.4 * draw_noise(cell, 6), 0, 1.5) + 0.4 * cell.contact
    line = _ridge(cell.edge - 0.3, between(0.5, 1.5)) * along
    ruffled = np.clip(draw_noise(cell, 2.5) - 0.4, 0, 1) * np.exp(-cell.edge / 2.5)
    central = between(0, 0.5)
    near = 1 - central + central * np.exp(-np.maximum(cell.far, 0) / between(4, 14))
    surface = np.clip(cell.edge / between(1, 4.5), 0, 1) * near * (1 - between(0, 0.65) * cell.core)
    surface = surface * np.maximum(1 + between(0.02, 0.2) * draw_noise(cell, between(0.8, 4)), 0.2)
    folds = _ridge(draw_noise(cell, 5), 0.1) * np.clip(cell.edge, 0, 1)
    light = between(0, 0.7) * line + between(0, 0.6) * ruffled + between(0.5, 1) * surface
    return light + between(0, 0.35) * folds


def _draw_mitochondria(cell, stains, between):
    """Threads, some of them beaded, dense round the nucleus and fewer towards the edge."""
    around = np.exp(-np.maximum(cell.far, 0) / between(1, 4)) * np.where(cell.far > 0.3, 1, between(0.1, 0.5))
    around = around * (cell.edge > 0.9)
    number, longest = round(between(50, 160)), between(1.5, 6)
    threads = draw_filaments(cell, around, number, 0.8, longest, between(0.25, 0.6), thick=between(0.1, 0.26))
    beads = np.clip(0.75 + between(0.1, 0.45) * draw_noise(cell, 0.6), 0.15, 1.2)
    blurred = cv2.GaussianBlur(threads, (0, 0), 0.9 / cell.um)
    threads = threads + between(0, 0.3) * (blurred - threads)
    return threads * beads * (1 - between(0, 0.7) * cell.core) + between(0, 0.1) * stains.cytosol


def _draw_aggresome(cell, stains, between):
    """One dense, ragged body beside the nucleus."""
    radius = cell.rng.uniform(0.75, 1.25) * between(1.3, 2.8)
    body = np.clip((radius + 0.35 * draw_noise(cell, 1.5) - cell.hub) / 0.5, 0, 1)
    return body * (0.85 + 0.12 * draw_noise(cell, 0.6)) + between(0.04, 0.25) * stains.cytosol


def _draw_cytosol(cell, stains, between):
    """All over the cell, smooth or patchy, thinning out towards the edge; the nucleus dark to half as bright."""
    thick = np.clip(cell.edge / between(1, 5), 0, 1)
    near = np.exp(-np.maximum(cell.far, 0) / between(4, 14))
    central = between(0.25, 0.9)
    patchy = np.maximum(1 + between(0, 0.22) * draw_noise(cell, between(0.8, 4)), 0.2)
    light = thick * (1 - central + central * near) * patchy
    return 0.85 * light * (1 - between(0.3, 0.95) * cell.core)


def _draw_vesicles(cell, stains, between):
    """Twenty to a hundred separate dots in the cytoplasm, round the nucleus or all over."""
    around = np.exp(-np.maximum(cell.far, 0) / between(2.5, 15)) * (cell.far > 0.5) * (cell.edge > 0.8)
    most, size = round(between(20, 75)), between(0.7, 1.4)
    small = draw_dots(cell, around, most // 3, most, 0.3 * size, spread=0.5)
    large = draw_dots(cell, around, most // 8, most // 3, 0.5 * size, spread=0.4)
    return small + large + between(0.03, 0.25) * stains.cytosol


def _draw_negative(cell, stains, between):
    """No pattern: only what the antibody shows in any cell, a veil and specks."""
    return np.zeros(cell.body.shape, np.float32)


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
