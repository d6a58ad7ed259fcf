"""Cell lines: what makes the cells of one field alike and those of another field different."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class CellLine:
    """Size, shape, crowding and brightness of the cells of one line; lengths in µm.

    Attributes
    ----------
    weight : float
        How often a field shows this line.
    crowd : float
        Cells on 164 × 164 µm, the ground of a 2048² field.
    half_length, half_width, nucleus_length, nucleus_width : float
        Half axes of a cell and of its nucleus.
    clustering : float
        Chance that a cell lies beside an earlier one: epithelial lines grow in islands.
    disorder : float
        Spread of the cells' directions, radians.
    rough : float
        How far the outline departs from an ellipse.
    protrusions, tips : float
        Mean number of thin protrusions; how far the two ends of the cell are drawn out.
    lobed, multinucleate : float
        Share of cells with a lobed nucleus, and with two or three nuclei.
    light : tuple of float
        Mean brightness of red, blue and yellow.
    """

    name: str
    weight: float
    crowd: float
    half_length: float
    half_width: float
    nucleus_length: float
    nucleus_width: float
    clustering: float
    disorder: float
    rough: float
    protrusions: float
    tips: float
    lobed: float
    multinucleate: float
    light: tuple[float, float, float]


# Drawn from what these lines look like in the Human Protein Atlas, not fitted to measurements of them.
LINES = (
    CellLine("U-2 OS", 0.32, 12, 24, 17.5, 9.2, 7.0, 0.3, 0.9, 0.08, 0.5, 0.10, 0.15, 0.05, (1.0, 1.0, 1.0)),
    CellLine("A-431", 0.14, 19, 18, 14.5, 8.4, 6.9, 0.8, 1.2, 0.05, 0.2, 0.00, 0.10, 0.04, (0.9, 1.1, 1.0)),
    CellLine("U-251 MG", 0.13, 11, 25, 15, 9.4, 6.8, 0.3, 0.8, 0.10, 1.2, 0.25, 0.25, 0.08, (1.2, 0.9, 0.9)),
    CellLine("HEK 293", 0.09, 23, 14, 12, 7.6, 6.3, 0.9, 1.2, 0.06, 0.4, 0.05, 0.10, 0.02, (0.8, 1.2, 0.9)),
    CellLine("MCF7", 0.09, 19, 17, 14, 8.0, 6.7, 0.9, 1.2, 0.05, 0.1, 0.00, 0.12, 0.03, (0.9, 1.0, 1.1)),
    CellLine("BJ", 0.08, 8, 38, 11, 10.5, 6.2, 0.1, 0.25, 0.08, 0.4, 0.70, 0.05, 0.02, (1.2, 0.8, 0.9)),
    CellLine("RPE-1", 0.08, 10, 28, 17, 9.8, 7.6, 0.2, 0.6, 0.09, 0.5, 0.20, 0.08, 0.03, (1.0, 1.0, 0.9)),
    CellLine("SH-SY5Y", 0.07, 18, 15, 9.5, 7.6, 6.2, 0.7, 1.2, 0.08, 1.5, 0.35, 0.20, 0.03, (0.9, 1.1, 0.8)),
)
# A cell in metaphase has rounded up, whatever its line; its chromosomes stand in a plate across the spindle.
ROUND = (10.4, 9.8)
PLATE = (1.6, 5.8)


def draw_line(rng: np.random.Generator) -> CellLine:
    """Choose the line of a field."""
    weights = np.array([line.weight for line in LINES])
    return LINES[rng.choice(len(LINES), p=weights / weights.sum())]
