"""What to expect of a cell before it is looked at: from its size, the border, and the labels of its field.

The figures are fitted by `benchmarks/real_truth.py` on 5,090 public HPA cells that experts graded; docs/blending.md.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

N_PATTERNS = 18  # the classes but Negative


@dataclass(frozen=True)
class Prior:
    """How cells show the labels of their fields; arrays (18,) by class."""

    share: np.ndarray  # of the cells of a field with this label, those that show it
    half_size: np.ndarray  # area / median of the field at which half of the cells that would show it do
    company: np.ndarray  # what this label adds to the log odds of each other label of its field
    power: float = 1.5  # how fast a class comes with size
    border: float = 1.0  # how fast it goes with the share of the outline on the border
    nothing: float = 0.7  # cells that show nothing, of those there would be if labels came independently


# share, half size, company
_FIGURES = [
    (0.78, 0.35, 0.02),  # 0 nucleoplasm
    (0.74, 0.35, 0.15),  # 1 nuclear membrane
    (0.64, 0.35, 0.27),  # 2 nucleoli
    (0.45, 0.35, 0.12),  # 3 fibrillar center
    (0.87, 0.35, 0.13),  # 4 nuclear speckles
    (0.39, 0.35, -0.16),  # 5 nuclear bodies
    (0.70, 0.35, 0.04),  # 6 endoplasmic reticulum
    (0.49, 0.80, 0.03),  # 7 Golgi apparatus
    (0.79, 0.35, 0.16),  # 8 intermediate filaments
    (0.75, 0.35, 0.02),  # 9 actin filaments
    (0.59, 0.35, 0.08),  # 10 microtubules
    (0.07, 0.35, -0.36),  # 11 mitotic spindle
    (0.24, 0.80, 0.06),  # 12 centrosome
    (0.70, 0.35, -0.47),  # 13 plasma membrane
    (0.85, 0.35, -0.41),  # 14 mitochondria
    (0.68, 0.80, 0.07),  # 15 aggresome
    (0.82, 0.35, -0.46),  # 16 cytosol
    (0.55, 0.35, 0.28),  # 17 vesicles
]
GRADED = Prior(*np.array(_FIGURES).T)


def shown_part(area: np.ndarray, field: np.ndarray, edge_fraction: np.ndarray, prior: Prior = GRADED) -> np.ndarray:
    """What a cell's size and border leave of the chance that it shows a class, (n, 18) in 0…1.

    A fragment shows little; Golgi, centrosome and aggresome are often missed by smaller cells, too. `area` (n,) in any
    unit, `field` int (n,) the number of each cell's field, `edge_fraction` (n,) the share of the outline on the border.
    """
    relative = area / pd.Series(area).groupby(field).transform("median").to_numpy()
    grown = relative[:, None] ** prior.power
    return grown / (grown + prior.half_size**prior.power) * np.exp(-prior.border * edge_fraction)[:, None]


def company_odds(labels: np.ndarray, prior: Prior = GRADED) -> np.ndarray:
    """Factor (n, 18) for the odds of each class from the other labels of the field; 1 for a label that stands alone.

    `labels` (n, 19): how probably the field of each cell has each label. Few cells show nothing at all, so a label that
    stands alone is shown by more cells than one beside others; cytosol, mitochondria or plasma membrane count most.
    """
    labels = labels[:, :N_PATTERNS]
    missing = np.log1p(-labels * prior.share)
    others_missing = np.exp(missing.sum(axis=1, keepdims=True) - missing)
    beside = labels @ prior.company
    added = beside[:, None] - labels * prior.company
    return np.exp(added) * prior.nothing / (1 - (1 - prior.nothing) * others_missing)


def nothing_shown(labels: np.ndarray, part: np.ndarray, prior: Prior = GRADED) -> np.ndarray:
    """Chance (n,) of Negative: that a cell shows none of its field's labels.

    `labels` as of `company_odds`, `part` (n, 18) as of `shown_part`, or 1 where size and border shall not count.
    """
    return np.prod(1 - labels[:, :N_PATTERNS] * prior.share * part, axis=1)


def change_odds(probabilities: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Probabilities whose odds are multiplied by a factor; they stay in 0…1."""
    return probabilities * factor / (1 - probabilities + probabilities * factor)
