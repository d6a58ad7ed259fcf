"""How well cells agree with reference masks of the same field."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Agreement:
    """Cells of one field, or of several added up, against reference masks.

    Attributes
    ----------
    hits : int
        Cells whose IoU with a reference reaches the threshold; each reference is hit once at most.
    cells, reference : int
        How many there are of each.
    iou_sum : float
        IoU of the hits, added up.
    """

    hits: int = 0
    cells: int = 0
    reference: int = 0
    iou_sum: float = 0.0

    @property
    def f1(self) -> float:
        """Hits against both counts; 1 where there is nothing in either."""
        total = self.cells + self.reference
        return 2 * self.hits / total if total else 1.0

    @property
    def mean_iou(self) -> float:
        """Mean IoU of the hits; NaN where there is none."""
        return self.iou_sum / self.hits if self.hits else float("nan")

    def __add__(self, other: "Agreement") -> "Agreement":
        return Agreement(
            self.hits + other.hits,
            self.cells + other.cells,
            self.reference + other.reference,
            self.iou_sum + other.iou_sum,
        )


def iou_table(cells: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """IoU of every cell with every reference, float64 (n cells, n references); numbers 1…n, gaps give zeros."""
    if cells.shape != reference.shape:
        raise ValueError(f"masks differ in size: {cells.shape} and {reference.shape}")
    n, m = int(cells.max(initial=0)) + 1, int(reference.max(initial=0)) + 1
    pairs = cells.ravel().astype(np.int64) * m + reference.ravel()
    both = np.bincount(pairs, minlength=n * m).reshape(n, m)
    union = both.sum(1, keepdims=True) + both.sum(0, keepdims=True) - both
    return both[1:, 1:] / np.maximum(union[1:, 1:], 1)


def match_masks(cells: np.ndarray, reference: np.ndarray, threshold: float = 0.6) -> Agreement:
    """Match the cells of a field with reference masks.

    Parameters
    ----------
    cells, reference : numpy.ndarray
        Integer labels (H, W), 0 is background.
    threshold : float
        IoU from which a cell is a hit; above 0.5 no cell can hit two.
    """
    table = iou_table(cells, reference)
    present, wanted = np.unique(cells[cells > 0]).size, np.unique(reference[reference > 0]).size
    hits = []
    while table.size and table.max() >= max(threshold, 1e-9):
        cell, other = np.unravel_index(table.argmax(), table.shape)
        hits.append(table[cell, other])
        table[cell], table[:, other] = 0, 0
    return Agreement(len(hits), present, wanted, float(np.sum(hits)))
