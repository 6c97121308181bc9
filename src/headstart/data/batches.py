"""Which positions of a split make a batch, in which order, and which of them are for this process."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from headstart import ranks
from headstart.seeds import generator


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
        order = generator("order", self.seed, self.epoch).permutation(self.length)
        epoch, done = self.done
        batches = np.array_split(order, len(self))[done if epoch == self.epoch else 0 :]
        return [np.array_split(batch, self.world)[self.rank] for batch in batches]

    def start_at(self, epoch: int, batches: int) -> None:
        """Go on within an epoch, after so many of its batches."""
        self.epoch, self.done = epoch, (epoch, batches)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for part in self.positions():
            yield [(self.epoch, int(index)) for index in part]


class Mixed(EvenBatches):
    """One shuffled order that is the same in every pass: for batches that should not hold one class only."""

    def __init__(self, length: int, batch_size: int) -> None:
        super().__init__(length, batch_size, 0)

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
