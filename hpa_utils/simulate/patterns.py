"""The 19 patterns of the green channel, each drawn from where its proteins live in a cell (sizes in µm)."""

import numpy as np


def draw_pattern(cells, label):
    """What green shows of a class in all cells: float32 (h, w), 0…1, nothing outside the cells."""
    return np.float32(np.clip(PATTERNS[label](cells), 0, 1) * (cells.labels > 0))


def _near(distance, width):
    return np.exp(-((distance / width) ** 2))


def _outward(c, fall):
    return np.exp(-c.far / fall) * (c.far > 0.4) * (c.edge > 0.9)


PATTERNS = (  # by class number
    lambda c: c.nucleus * (0.75 + 0.1 * c.noise(0.6)) * (1 - 0.6 * c.nucleoli),  # nucleoplasm
    lambda c: _near(c.far, 0.55) * (0.9 + 0.15 * c.noise(1.5)) + 0.12 * c.nucleus,  # nuclear membrane
    lambda c: c.nucleoli * (0.9 + 0.1 * c.noise(0.5)) + 0.08 * c.nucleus,  # nucleoli
    lambda c: c.dots(c.nucleoli > 0.6, 4, 9, 0.3) + 0.06 * c.nucleus,  # nucleoli fibrillar center
    lambda c: (c.dots((c.far < -0.8) * (1 - c.nucleoli), 20, 40, 0.5) * (0.8 + 0.4 * c.noise(0.5)) + 0.18)
    * c.nucleus,  # nuclear speckles
    lambda c: (c.dots((c.far < -0.8) & (c.nucleoli < 0.1), 2, 10, 0.5) + 0.08) * c.nucleus,  # nuclear bodies
    lambda c: c.yellow * (0.9 + 0.1 * c.noise(0.5)),  # endoplasmic reticulum
    lambda c: _near(c.far - 1.8, 1.6) * _near(c.hub, 5.5) * (0.8 + 1.2 * c.noise(0.8)) * ~c.nucleus,  # Golgi
    lambda c: c.filaments(_outward(c, 3), 110, 5, 22, 0.09, 0.25) * _outward(c, 9),  # intermediate filaments
    lambda c: np.interp(c.place.imag, np.arange(-60, 60, 0.5), c.rng.random(240) ** 4) * (0.8 + c.noise(5))
    + 0.6 * _near(c.edge, 1),  # actin: straight fibres along the cell, and the cortex
    lambda c: c.red * (0.95 + 0.05 * c.noise(0.5)),  # microtubules
    lambda c: c.spindle,
    lambda c: _near(c.hub, 0.45) + c.dots(c.hub < 1.2, 0, 1, 0.55) + 0.05 * c.cytosol,  # centrosome
    lambda c: _near(c.edge, 0.9) * (0.75 + 0.25 * c.noise(3)) + 0.07 + 0.02 * c.noise(1.5),  # plasma membrane
    lambda c: c.filaments(_outward(c, 5), 110, 0.8, 5, 0.15, 0.3) * ~c.nucleus,  # mitochondria
    lambda c: (c.hub < 2.2 + 0.4 * c.noise(3)) * (0.85 + 0.15 * c.noise(0.6)) + 0.08 * c.cytosol,  # aggresome
    lambda c: c.cytosol,
    lambda c: c.dots(_outward(c, 8), 20, 80, 0.4) + 0.05 * c.cytosol,  # vesicles
    lambda c: 0.05 * c.cytosol + 0.03 * c.nucleus,  # negative: haze
)
