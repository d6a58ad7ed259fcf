"""Plan: which fields a data set has, before any is drawn."""

from dataclasses import dataclass

import numpy as np

from hpa_simulator.labels import draw_label_sets
from hpa_utils.dataset import PIXEL_SIZE_UM
from hpa_utils.labels import N_CLASSES

SPLITS = ("train", "test")
COARSE_UM = 0.32  # 512² px of it are the ground of a real 2048² field
NATIVE_FROM = 1024  # fields of this side or more have the competition's own pixel size
# Sides of the competition's fields and how many there are of each (train: all; test: the public part).
MIXED_SIDES = {"train": {2048: 17955, 3072: 3842, 4096: 9}, "test": {2048: 462, 1728: 68, 3072: 29}}


@dataclass(frozen=True)
class FieldPlan:
    """One field to draw: its place in its split, side in px, labels, and those that a cell has to show."""

    split: str
    index: int
    side: int
    labels: tuple[int, ...]
    must: frozenset


def pixel_size(size: int | str) -> float:
    """µm a pixel of a data set of this size."""
    return PIXEL_SIZE_UM if size == "mixed" or size >= NATIVE_FROM else COARSE_UM


def plan_fields(n_train: int, n_test: int, size: int | str, seed: int, rare: str) -> list[FieldPlan]:
    """Plan all fields of a data set, train before test.

    Parameters
    ----------
    size : int or "mixed"
        Side of the fields; a tenth of the test fields are 27/32 of it, as 1728 is of 2048. "mixed" draws the
        competition's sizes.
    rare : {"floor", "natural"}
        With "floor" the first field of a class in each split shows the class in at least one cell.
    """
    plan = []
    for number, (split, n) in enumerate(zip(SPLITS, (n_train, n_test))):
        rng = np.random.default_rng([seed, 2, number])
        unseen = set(range(N_CLASSES)) if rare == "floor" else set()
        sides = draw_sides(rng, split, n, size)
        for index, labels in enumerate(draw_label_sets(rng, n, rare)):
            plan.append(FieldPlan(split, index, sides[index], tuple(labels), frozenset(unseen.intersection(labels))))
            unseen = unseen.difference(labels)
    return plan


def draw_sides(rng: np.random.Generator, split: str, n: int, size: int | str) -> list[int]:
    """Sides of the fields of a split, px."""
    if size == "mixed":
        sides, counts = zip(*MIXED_SIDES[split].items())
        return rng.choice(sides, n, p=np.array(counts) / sum(counts)).tolist()
    smaller = 0
    if split == "test":
        smaller = max(n // 10, int(n >= 5))
    sides = np.full(n, size)
    sides[rng.permutation(n)[:smaller]] = round(size * 27 / 32 / 8) * 8
    return sides.tolist()
