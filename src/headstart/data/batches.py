"""Which positions of a split make a batch, in which order, and which of them are for this process."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart import ranks
from headstart.inputs.collection import Targets
from headstart.seeds import generator

AGAIN = 2**32  # how far apart the epochs are that the views of one image in one epoch are drawn from


class EvenBatches:
    """Shuffled (epoch, position) keys in batches that differ by one at most: no left-over of one for batch norm.

    Where several processes train together, each has its share of every batch.
    """

    def __init__(self, length: int, batch_size: int, seed: int) -> None:
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.world = ranks.rank(), ranks.world()
        self.epoch = 0
        self.done = (0, 0)  # an epoch, and how many of its batches need not come, as they came before
        self.sampler = self  # where Lightning looks for set_epoch

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-self.length // self.batch_size)

    def positions(self) -> list[NDArray[np.int64]]:
        """The positions of each batch of this epoch, or of this process's share of each."""
        return self._shares(self.order())

    def order(self) -> NDArray[np.int64]:
        """Return the positions of this epoch, (length,)."""
        return generator("order", self.seed, self.epoch).permutation(self.length)

    def _shares(self, order: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Cut what belongs to the positions of an epoch into batches, those that are left, and each to our share."""
        epoch, done = self.done
        batches = np.array_split(order, len(self))[done if epoch == self.epoch else 0 :]
        return [np.array_split(batch, self.world)[self.rank] for batch in batches]

    def start_at(self, epoch: int, batches: int) -> None:
        """Go on within an epoch, after so many of its batches."""
        self.epoch, self.done = epoch, (epoch, batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for part in self.positions():
            yield [(self.epoch, int(index)) for index in part]


class BalancedBatches(EvenBatches):
    """As ``EvenBatches``, but every class comes equally often: counts of classes differ by one at most in an epoch.

    An epoch has as many images as the split. The images of a class come in shuffled passes, each pass with all of
    them, so that a rare class repeats its images evenly and a frequent one leaves some out. Every time that an image
    comes in an epoch it has a view of its own. The order depends on (seed, epoch) alone.
    """

    def __init__(self, targets: Targets, batch_size: int, seed: int) -> None:
        super().__init__(len(targets), batch_size, seed)
        self.members = [np.flatnonzero(targets == label) for label in np.unique(targets)]

    def order(self) -> NDArray[np.int64]:
        """Return the positions of this epoch, (length,), some of them several times."""
        rng = generator("balanced order", self.seed, self.epoch)
        share, rest = divmod(self.length, len(self.members))
        more = set(rng.permutation(len(self.members))[:rest].tolist())
        drawn = [_in_passes(rng, of_class, share + (label in more)) for label, of_class in enumerate(self.members)]
        return rng.permutation(np.concatenate(drawn))

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        order = self.order()
        for part, turns in zip(self._shares(order), self._shares(_turns(order)), strict=True):
            yield [(self.epoch + AGAIN * int(turn), int(index)) for index, turn in zip(part, turns, strict=True)]


def _in_passes(rng: np.random.Generator, positions: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Return ``count`` of the positions, from shuffled passes over all of them."""
    passes = [rng.permutation(positions) for _ in range(-(-count // len(positions)))]
    return np.concatenate([*passes, positions[:0]])[:count]


def _turns(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how often each entry has come before in ``order``: [7, 5, 7] gives [0, 0, 1]."""
    sorted_ = np.argsort(order, kind="stable")
    _, starts, counts = np.unique(order[sorted_], return_index=True, return_counts=True)
    turns = np.empty_like(order)
    turns[sorted_] = np.arange(len(order)) - np.repeat(starts, counts)
    return turns


class Mixed(EvenBatches):
    """One shuffled order that is the same in every pass: for batches that should not hold one class only.

    With ``of`` the first ``length`` of so many positions.
    """

    def __init__(self, length: int, batch_size: int, of: int | None = None) -> None:
        super().__init__(length, batch_size, 0)
        self.of = length if of is None else of

    def order(self) -> NDArray[np.int64]:
        """Return the positions of every epoch, (length,)."""
        return generator("order", self.seed, self.epoch).permutation(self.of)[: self.length]

    def set_epoch(self, epoch: int) -> None:
        """There is one order only."""


class InOrder:
    """Positions straight on, as a DataLoader takes them."""

    def __init__(self, length: int, batch_size: int) -> None:
        self.batches = straight_on(length, batch_size)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        return (batch.tolist() for batch in self.batches)


def straight_on(length: int, batch_size: int) -> list[NDArray[np.int64]]:
    """Positions in order, ``batch_size`` at a time, or this process's share of each such batch.

    A last batch with too few for all processes goes into the one before: each has as many batches, none empty.
    """
    starts = list(range(0, length, batch_size))
    if len(starts) > 1 and length - starts[-1] < ranks.world():
        starts.pop()
    batches = np.split(np.arange(length), starts[1:])
    return [np.array_split(batch, ranks.world())[ranks.rank()] for batch in batches]
