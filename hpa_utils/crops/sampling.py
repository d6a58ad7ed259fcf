"""Which bags, and which of their cells, a training step sees."""

import functools
from collections.abc import Mapping, Sequence

import numpy as np


class BagSampler:
    """Draws the bags of each step and K cells of each bag: a pure function of the seed and the step.

    There is no state to save: `batch(step)` gives the same bags and cells whatever was asked before, so a run goes
    on at any step, and any number of readers, processes or hosts agree. Draws are numbered through; without weights
    each epoch of n draws is a permutation in which every bag comes once, and with weights w it is a permutation of
    n draws in which bag i comes either ⌊n wᵢ / Σw⌋ or ⌈n wᵢ / Σw⌉ times (systematic resampling: the least variance
    that drawing can have). Batches run across the border of epochs, so no bag is dropped. The cells of a bag are
    drawn anew each time, without replacement.

    Parameters
    ----------
    numbers : sequence of int
        The bags to draw from (n).
    counts : sequence of int
        How many cells each of them has (n), as `Bags.counts[numbers]`; at least 1.
    cells_per_bag : int
        K; a bag with fewer cells gives all it has.
    bags_per_batch : int
        B, of all hosts together.
    seed : int
    weights : sequence of float, optional
        How often each bag comes, relative to the others (n); 0 for never.
    always : mapping of int to sequence of int, optional
        Bag number → cells (positions in the bag) that are drawn before the others whenever the bag is.
    shard : (index, count)
        This host's number among how many: it gets its B / count rows of each batch.

    Raises
    ------
    ValueError
        Naming what cannot be drawn from.
    """

    def __init__(
        self,
        numbers: Sequence[int],
        counts: Sequence[int],
        cells_per_bag: int,
        bags_per_batch: int,
        seed: int,
        weights: Sequence[float] | None = None,
        always: Mapping[int, Sequence[int]] | None = None,
        shard: tuple[int, int] = (0, 1),
    ):
        self.numbers, self.counts = np.asarray(numbers, np.int64), np.asarray(counts, np.int64)
        self.weights = None if weights is None else np.asarray(weights, np.float64)
        self.cells_per_bag, self.bags_per_batch, self.seed = int(cells_per_bag), int(bags_per_batch), int(seed)
        self.always = {bag: np.asarray(cells, np.int64) for bag, cells in (always or {}).items()}
        self.shard = shard
        self._check()
        self._order = functools.lru_cache(maxsize=4)(self._draw_order)  # a batch needs one epoch, or two at a border

    def __len__(self):
        return len(self.numbers)

    @property
    def steps_per_epoch(self) -> int:
        """Steps until every bag has come (without weights), n / B rounded up."""
        return -(-len(self.numbers) // self.bags_per_batch)

    @property
    def rows(self) -> range:
        """This host's rows of a batch."""
        index, count = self.shard
        own = self.bags_per_batch // count
        return range(index * own, (index + 1) * own)

    def batch(self, step: int) -> tuple[np.ndarray, list[np.ndarray]]:
        """The draws of a step, counted from 0.

        Returns
        -------
        bags : numpy.ndarray
            int64 (B / shards,), bag numbers.
        cells : list of numpy.ndarray
            For each of them int64 (≤ K,): positions of the drawn cells in the bag, in random order.
        """
        draws = [divmod(step * self.bags_per_batch + row, len(self.numbers)) for row in self.rows]
        places = [self._order(epoch)[position] for epoch, position in draws]
        return self.numbers[places], [self._cells(place, *draw) for place, draw in zip(places, draws)]

    def _draw_order(self, epoch: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch])
        n = len(self.numbers)
        if self.weights is None:
            return rng.permutation(n)
        cumulated = np.cumsum(self.weights)
        drawn = np.searchsorted(cumulated * (n / cumulated[-1]), rng.random() + np.arange(n), side="right")
        return rng.permutation(np.minimum(drawn, np.flatnonzero(self.weights)[-1]))  # the last may be rounded beyond

    def _cells(self, place: int, epoch: int, position: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, epoch, position])
        first = self.always.get(int(self.numbers[place]))
        if first is None:
            return rng.permutation(self.counts[place])[: self.cells_per_bag]
        others = np.setdiff1d(np.arange(self.counts[place]), first)
        return np.concatenate([rng.permutation(first), rng.permutation(others)])[: self.cells_per_bag]

    def _check(self) -> None:
        index, count = self.shard
        if not len(self.numbers):
            raise ValueError("no bags to draw from")
        if self.counts.shape != self.numbers.shape or self.counts.min() < 1:
            raise ValueError(f"sampler.counts: expected a count of 1 or more for each of {len(self.numbers)} bags")
        for name in ("cells_per_bag", "bags_per_batch"):
            if getattr(self, name) < 1:
                raise ValueError(f"sampler.{name} is {getattr(self, name)}; expected 1 or more")
        if not 0 <= index < count or self.bags_per_batch % count:
            raise ValueError(
                f"sampler.shard is {self.shard}; expected (index, count) with index < count and a count that divides "
                f"the {self.bags_per_batch} bags of a batch"
            )
        if self.weights is not None:
            usable = np.isfinite(self.weights).all() and self.weights.min() >= 0 and self.weights.any()
            if self.weights.shape != self.numbers.shape or not usable:
                raise ValueError(
                    f"sampler.weights: expected {len(self.numbers)} finite numbers of 0 or more, not all 0"
                )
        sizes = dict(zip(self.numbers.tolist(), self.counts.tolist()))
        for bag, cells in self.always.items():
            if bag in sizes and len(cells) and not 0 <= cells.min() <= cells.max() < sizes[bag]:
                raise ValueError(f"sampler.always names cells {cells.tolist()} of bag {bag}, which has {sizes[bag]}")
