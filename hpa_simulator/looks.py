"""Looks: what the cells of one sample have in common, a protein in a cell line on one slide."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from hpa_simulator.lines import LINES, CellLine, draw_line

OF_LINE = 0.3  # chance that a property of a pattern comes from the cell line, not from the protein
OF_CELL = 0.2  # deviation of a cell's property from its sample's, as a part of the property's range


@dataclass(frozen=True)
class Look:
    """The look of a sample: all its fields have it.

    Attributes
    ----------
    seed : tuple of int
        What the properties of patterns are drawn from; see `properties`.
    line : CellLine
    strength : float
        Of the protein: near 0.4 it is dim, above 1.5 saturated.
    veil, nuclear_veil : float
        Unspecific antibody all over the cell and over the nucleus, of the same scale as a pattern of strength 1.
    grain : float
        How much the antibody clusters: deviation of the logarithm of green's fine texture.
    specks : float
        Brightness of unspecific dots.
    red_veil, red_nucleus, yellow_veil, yellow_nucleus : float
        Light of the two stains between their structures, and over the nucleus.
    """

    seed: tuple
    line: CellLine
    strength: float
    veil: float
    nuclear_veil: float
    grain: float
    specks: float
    red_veil: float
    red_nucleus: float
    yellow_veil: float
    yellow_nucleus: float

    def properties(self, label: int, cell: np.random.Generator | None = None) -> Callable[[float, float], float]:
        """A function of (low, high) that draws the properties of a pattern: each call the next one, the same for all
        cells of the sample, or, with a cell's generator, near to that. Some are those of the cell line.
        """
        protein, line = (np.random.default_rng([*seed, label]) for seed in (self.seed, (LINES.index(self.line),)))

        def between(low: float, high: float) -> float:
            own, common, chance = protein.random(), line.random(), protein.random()
            part = common if chance < OF_LINE else own
            if cell is not None:
                part = 1 - abs(1 - abs(part + OF_CELL * cell.standard_normal()) % 2)
            return low + (high - low) * part

        return between


def draw_look(seed: tuple) -> Look:
    """Draw the look of a sample from its seed."""
    rng = np.random.default_rng(seed)
    line, strength = draw_line(rng), float(np.clip(np.exp(rng.normal(0, 0.4)), 0.4, 2))
    return Look(
        seed=tuple(seed),
        line=line,
        strength=strength,
        veil=strength * rng.choice([rng.uniform(0, 0.06), rng.uniform(0.02, 0.16)]),
        nuclear_veil=strength * rng.choice([rng.uniform(0, 0.06), rng.uniform(0, 0.15)]),
        grain=rng.uniform(0.22, 0.55),
        specks=strength * rng.choice([0, rng.uniform(0.05, 0.4)]),
        red_veil=rng.uniform(0.05, 0.5),
        red_nucleus=rng.uniform(0.15, 0.7),
        yellow_veil=rng.uniform(0.0, 0.3),
        yellow_nucleus=rng.uniform(0.15, 0.6),
    )
