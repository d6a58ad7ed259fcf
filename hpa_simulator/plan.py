"""Plan: which fields a data set has, before any is drawn."""

from dataclasses import dataclass

import numpy as np

from hpa_simulator.labels import draw_label_sets
from hpa_utils.dataset import PIXEL_SIZE_UM
from hpa_utils.labels import N_CLASSES

SPLITS = ("train", "test")
COARSE_UM = 0.32  # 512² px of it are the ground of a real 2048² field
SAMPLE_FIELDS = (0.5, 0.25, 0.12, 0.07, 0.03, 0.03)  # shares of samples of 1…6 fields
LEAST_SAMPLES = 60  # a small set has smaller samples, so that every class has some
OTHER_OPTICS = 0.4  # share of test samples that another microscope photographed: other gain, other scale
NATIVE_FROM = 1024  # fields of this side or more have the competition's own pixel size
# Sides of the competition's fields and how many there are of each (train: all; test: the public part).
MIXED_SIDES = {"train": {2048: 17955, 3072: 3842, 4096: 9}, "test": {2048: 462, 1728: 68, 3072: 29}}


@dataclass(frozen=True)
class FieldPlan:
    """One field to draw.

    Attributes
    ----------
    split, index, sample : str, int, int
        Its place in its split, and its sample: fields of one share labels, the protein's look and the cell line.
    side : int
        px
    gain, scale : float
        Factors on its light and on its pixels' size, of the sample's microscope.
    labels, must : tuple of int, frozenset
        Its labels, and those that at least one cell has to show.
    """

    split: str
    index: int
    sample: int
    side: int
    gain: float
    scale: float
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
        sides, sample_of = draw_sides(rng, split, n, size), draw_samples(rng, n)
        fields_of_sample = np.bincount(sample_of)
        sets = draw_label_sets(rng, fields_of_sample, rare)
        other = (rng.random(len(sets)) < OTHER_OPTICS) & (split == "test")
        gains = np.where(other, np.exp(rng.uniform(-0.5, 0.5, len(sets))), 1)
        scales = np.where(other, rng.choice([0.85, 1.2], len(sets)), 1)
        for index, sample in enumerate(sample_of):
            labels, optics = sets[sample], (float(gains[sample]), float(scales[sample]))
            must = frozenset(unseen.intersection(labels))
            plan.append(FieldPlan(split, index, int(sample), sides[index], *optics, tuple(labels), must))
            unseen = unseen.difference(labels)
    return plan


def draw_samples(rng: np.random.Generator, n: int) -> np.ndarray:
    """The sample of each of `n` fields, (n,), numbered from 0; fields of one sample follow each other."""
    sizes = np.minimum(1 + rng.choice(len(SAMPLE_FIELDS), n, p=SAMPLE_FIELDS), max(1, n // LEAST_SAMPLES))
    return np.repeat(np.arange(n), sizes)[:n]


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
