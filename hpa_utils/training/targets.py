"""What each cell is to learn: its field's labels, soft labels, human grades, or to be left alone."""

import hashlib
import itertools
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from hpa_utils.crops.reading import Bags
from hpa_utils.labels import N_CLASSES
from hpa_utils.training.mitosis import SPINDLE
from hpa_utils.training.soft_labels import SOFT_COLUMNS


@dataclass(frozen=True)
class Targets:
    """Labels of single cells, by bag; empty where cells inherit their field's.

    Attributes
    ----------
    cells : dict or None
        Bag number → float32 (n_cells, 19) in 0…1, −1 where a class is to be ignored.
    always : dict
        Bag number → positions of the cells that are drawn whenever the bag is.
    graded : dict
        Bag number → grades of its cells alone, float32 (n_cells, 19), −1 where there is none.
    """

    cells: dict | None = None
    always: dict = field(default_factory=dict)
    graded: dict = field(default_factory=dict)

    def digest(self) -> str:
        """SHA-256 of all of them."""
        content = hashlib.sha256()
        for table in (self.cells or {}, self.always, self.graded):
            for bag in sorted(table):
                content.update(f"{bag}:".encode() + np.asarray(table[bag], np.float32).tobytes())
        return content.hexdigest()


INHERITED = Targets()


def make_targets(
    bags: Bags,
    soft: pd.DataFrame | None = None,
    spindles: tuple[pd.DataFrame, pd.DataFrame] | None = None,
    grades: pd.DataFrame | None = None,
) -> Targets:
    """Targets of all cells of the bags.

    Parameters
    ----------
    bags : Bags
    soft : pandas.DataFrame, optional
        `image_id`, `cell_id`, `s00` … `s18` (`make_soft_labels`, `mix_grades`); cells that it lacks inherit.
    spindles : (pandas.DataFrame, pandas.DataFrame), optional
        Of `spindle_cells`: the cells that stand for class 11 in the fields that carry it, whose other cells are to
        ignore it; and cells elsewhere that look like it, which are to ignore it too.
    grades : pandas.DataFrame, optional
        `image_id`, `cell_id`, `label`, `score` in 0…1 (`match_grades`), to validate on.
    """
    cells, always, graded = None, {}, {}
    places = _places(bags)
    if soft is not None or spindles is not None:
        labels = zip(bags.labels.astype(np.float32), bags.counts, strict=True)
        cells = [np.repeat(own[None], count, axis=0) for own, count in labels]
    if soft is not None:
        for (bag, position), values in _located(soft, places, soft[SOFT_COLUMNS].to_numpy(np.float32)):
            cells[bag][position] = values
    if spindles is not None:
        carrying, ignoring = spindles
        for bag in np.flatnonzero(bags.labels[:, SPINDLE] == 1):
            cells[bag][:, SPINDLE] = -1
        for (bag, position), _ in _located(ignoring, places):
            cells[bag][position, SPINDLE] = -1
        for (bag, position), _ in _located(carrying, places):
            cells[bag][position, SPINDLE] = 1
            always.setdefault(bag, []).append(position)
    if grades is not None:
        for (bag, position), (label, score) in _located(grades, places, grades[["label", "score"]].to_numpy()):
            shape = bags.counts[bag], N_CLASSES
            graded.setdefault(bag, np.full(shape, -1, np.float32))[position, int(label)] = score
    return Targets(None if cells is None else dict(enumerate(cells)), always, graded)


def rare_weights(labels: np.ndarray, cap: float) -> np.ndarray:
    """How often each field is drawn: by the inverse frequency of its set of labels, the commonest 1, at most `cap`.

    Parameters
    ----------
    labels : numpy.ndarray
        (n, 19), 1 for a label of the field.
    """
    _, number, count = np.unique(labels > 0, axis=0, return_inverse=True, return_counts=True)
    return np.minimum(count.max() / count, cap)[number.ravel()]


def _places(bags: Bags) -> dict[tuple[str, int], tuple[int, int]]:
    """(image_id, cell_id) → (bag number, position in the bag)."""
    rows = zip(bags.table["image_id"], bags.table["cell_ids"])
    return {
        (image_id, int(cell)): (bag, position)
        for bag, (image_id, cells) in enumerate(rows)
        for position, cell in enumerate(cells)
    }


def _located(table: pd.DataFrame, places: dict, values=None) -> list[tuple[tuple[int, int], object]]:
    """The place of each row's cell with the row's value; rows of cells that no bag has are left out."""
    values = itertools.repeat(None, len(table)) if values is None else values
    found = [places.get((image_id, int(cell))) for image_id, cell in zip(table["image_id"], table["cell_id"])]
    return [(place, value) for place, value in zip(found, values, strict=True) if place is not None]
