"""Choose the positions of each batch, their order, and the share of this process."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart import ranks
from headstart.inputs.collection import Targets
from headstart.seeds import generator

AGAIN = 2**32  # added to the epoch for each repeat of an image in an epoch, so that its views differ


class EvenBatches:
    """Shuffled (epoch, position) keys in batches whose sizes differ by at most one.

    Batch norm fails on one image, so no small last batch is left over. Each process gets its share of every batch.
    """

    def __init__(self, length: int, batch_size: int, seed: int) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world = ranks.rank(), ranks.world()
        self.epoch = 0
        self.done = (0, 0)  # an epoch, and how many of its batches are done
        self.sampler = self  # Lightning calls set_epoch on it

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch. Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def positions(self) -> list[NDArray[np.int64]]:
        """Return the positions of each remaining batch of this epoch; of several processes, only this one's share."""
        return self._shares(self.order())

    def order(self) -> NDArray[np.int64]:
        """Return the positions of this epoch, (length,)."""
        return generator("order", self.seed, self.epoch).permutation(self.length)

    def _shares(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return this process's share of each remaining batch, from one value for each position of the epoch."""
        epoch, done = self.done
        batches = np.array_split(order, len(self))[done if epoch == self.epoch else 0 :]
        return [np.array_split(batch, self.world)[self.rank] for batch in batches]

    def start_at(self, epoch: int, batches: int) -> None:
        """Start at an epoch, after this many of its batches."""
        self.epoch, self.done = epoch, (epoch, batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for part in self.positions():
            yield [(self.epoch, int(index)) for index in part]


class BalancedBatches(EvenBatches):
    """``EvenBatches`` in which all classes are equally frequent: their counts in an epoch differ by at most one.

    An epoch has as many images as the split. Each class is drawn in shuffled passes over all its images, so that a rare
    class repeats its images evenly and a frequent one omits some. Repeated images get different views. The order
    depends only on (seed, epoch).
    """

    def __init__(self, targets: Targets, batch_size: int, seed: int) -> None:
        super().__init__(len(targets), batch_size, seed)
        self.members = [np.flatnonzero(targets == label) for label in np.unique(targets)]

    def order(self) -> NDArray[np.int64]:
        """Return the positions of this epoch, (length,); some are repeated."""
        rng = generator("balanced order", self.seed, self.epoch)
        share, rest = divmod(self.length, len(self.members))
        more = set(rng.permutation(len(self.members))[:rest].tolist())
        drawn = [_in_passes(rng, of_class, share + (label in more)) for label, of_class in enumerate(self.members)]
        return rng.permutation(np.concatenate(drawn))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self.order()
        for part, repeats in zip(self._shares(order), self._shares(_earlier_repeats(order)), strict=True):
            yield [(self.epoch + AGAIN * int(repeat), int(index)) for index, repeat in zip(part, repeats, strict=True)]


def _in_passes(rng: np.random.Generator, positions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return ``count`` of the positions, from shuffled passes over all of them."""
    passes = [rng.permutation(positions) for _ in range(-(-count // len(positions)))]
    return np.concatenate([*passes, positions[:0]])[:count]


def _earlier_repeats(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each entry occurs earlier in ``order``: [7, 5, 7] gives [0, 0, 1]."""
    sorted_ = np.argsort(order, kind="stable")
    _, starts, counts = np.unique(order[sorted_], return_index=True, return_counts=True)
    repeats = np.empty_like(order)
    repeats[sorted_] = np.arange(len(order)) - np.repeat(starts, counts)
    return repeats


class FixedShuffleBatches(EvenBatches):
    """Batches in one shuffled order, the same in every epoch, so that each batch holds several classes.

    ``shuffled`` is the number of positions to shuffle, by default ``length``; the first ``length`` are used.
    """

    def __init__(self, length: int, batch_size: int, shuffled: int | None = None) -> None:
        super().__init__(length, batch_size, 0)
        self.shuffled = length if shuffled is None else shuffled

    def order(self) -> NDArray[np.int64]:
        """Return the positions, (length,), in the same order for every epoch."""
        return generator("order", self.seed, self.epoch).permutation(self.shuffled)[: self.length]

    def set_epoch(self, epoch: int) -> None:
        """Do nothing, because every epoch has the same order."""


class OrderedBatches:
    """Batches of positions in order, for a DataLoader."""

    def __init__(self, length: int, batch_size: int) -> None:
        self.batches = batches_in_order(length, batch_size)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.batches)


def batches_in_order(length: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Return the positions of batches in order; of several processes, only this one's share of each batch.

    A last batch that is smaller than the number of processes joins the previous batch, so that no process gets an empty
    batch.
    """
    starts = list(range(0, length, batch_size))
    if len(starts) > 1 and length - starts[-1] < ranks.world():
        starts.pop()
    batches = np.split(np.arange(length), starts[1:])
    return [np.array_split(batch, ranks.world())[ranks.rank()] for batch in batches]
