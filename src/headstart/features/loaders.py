"""Give the trainer batches of features by indexing rows, without a DataLoader."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from headstart import ranks
from headstart.data.batches import EvenBatches, batches_in_order
from headstart.features.compute import ahead
from headstart.features.rows import InMemory, Rows
from headstart.inputs.batch import Batch


class FeatureBatches:
    """Batches of features that enter the stage ``entry``, as a loader gives batches of images.

    The order is that of ``shuffled``; without it, batches of ``batch_size`` in order. The rows hold all images for the
    first view, then for the second, and so on; the epoch chooses one of the ``views`` in turn. ``targets`` (N, ...) are
    an array, or label images that are read on demand.
    """

    def __init__(
        self,
        rows: Rows,
        targets: Any,
        batch_size: int,
        entry: int,
        shuffled: EvenBatches | None = None,
        views: int = 1,
    ) -> None:
        self.rows, self.targets, self.views, self.entry = rows, targets, views, entry
        self.dataset = targets  # one entry per image, as in a DataLoader
        self.batch_size, self.batch_sampler = batch_size, shuffled  # Lightning sets its epoch
        self.passes = 0.0  # how often all rows were asked for
        self.in_order = batches_in_order(len(targets), batch_size)
        self.share = 1 / ranks.world()

    def __len__(self) -> int:
        return len(self.batch_sampler if self.batch_sampler is not None else self.in_order)

    def __iter__(self) -> Iterator[Batch]:
        self.passes += self.share
        positions = self._positions()
        if isinstance(self.rows, InMemory):
            return map(self._batch, positions)
        return ahead(self._batch, positions, 1, 4)  # read the disk while the network computes

    def _positions(self) -> list[NDArray[np.int64]]:
        if self.batch_sampler is not None:
            return self.batch_sampler.positions()
        return self.in_order

    def _batch(self, positions: NDArray[np.int64]) -> Batch:
        view = self.batch_sampler.epoch % self.views if self.batch_sampler is not None else 0
        values = self.rows.take(positions + view * len(self.targets))
        targets = torch.from_numpy(self.targets[positions])
        return Batch(values, targets, torch.from_numpy(positions), entry=self.entry)
