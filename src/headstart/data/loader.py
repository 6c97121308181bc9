"""Load batches in worker processes, and wait for them in short steps."""

import math
from typing import Any

import torch
from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from headstart import ranks
from headstart.data.image_split import Batch, ImageSplit
from headstart.workers import CONTEXT, PATIENCE, begin, rehearse, usable_cores

STEP = 5.0  # seconds of one wait


def load_split(split: ImageSplit, num_workers: int | str, seed: int, **kwargs: Any) -> DataLoader[Batch]:
    """Return the loader of a split. ``num_workers`` "auto" chooses the number of worker processes."""
    split.source.load("images")
    workers = num_workers if isinstance(num_workers, int) else _processes_for(split)
    if workers:
        rehearse(workers)
    return PatientLoader(
        split,
        num_workers=workers,
        collate_fn=_as_is,
        pin_memory=torch.cuda.is_available(),
        # A loader draws a seed for its workers. Its own generator keeps the global one unchanged.
        generator=torch.Generator().manual_seed(seed),
        persistent_workers=workers > 0,
        worker_init_fn=begin,
        timeout=PATIENCE if workers else 0,
        multiprocessing_context=CONTEXT if workers else None,
        **kwargs,
    )


def _processes_for(split: ImageSplit) -> int:
    """Return the number of worker processes: 0 for decoded images without views, else up to 8, sharing the cores."""
    if not split.source.costly and not split.views:
        return 0
    return min(8, max(1, (usable_cores() - 1) // ranks.neighbours()))


def _as_is(batch: Any) -> Any:
    return batch


class PatientLoader(DataLoader[Batch]):
    """A DataLoader whose ``timeout`` does not count the time in which the run is suspended, for example by Ctrl-Z.

    It also notices a dead worker process within ``STEP`` seconds.
    """

    def _get_iterator(self) -> _BaseDataLoaderIter:
        return SteppedLoaderIterator(self) if self.num_workers else super()._get_iterator()


class SteppedLoaderIterator(_MultiProcessingDataLoaderIter):
    """The iterator of a PatientLoader. It waits in short steps, so a suspension counts as one step at most."""

    def _try_get_data(self, timeout: float = STEP) -> tuple[bool, Any]:
        for _ in range(math.ceil(timeout / STEP)):
            found: tuple[bool, Any] = super()._try_get_data(STEP)
            if found[0]:
                return found
        return False, None
