"""Load batches in processes, and wait for them in short steps."""

import math
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from headstart.data.image_split import Batch

STEP = 5.0  # seconds


class PatientLoader(DataLoader[Batch]):
    """A DataLoader whose ``timeout`` does not count the time in which the run was suspended, as by Ctrl-Z.

    It also notices a dead process within one step.
    """

    def _get_iterator(self) -> _BaseDataLoaderIter:
        return InSteps(self) if self.num_workers else super()._get_iterator()


class InSteps(_MultiProcessingDataLoaderIter):
    """The iterator of a PatientLoader. It waits in short steps, so a suspension costs one step at most."""

    def _try_get_data(self, timeout: float = STEP) -> tuple[bool, Any]:
        for _ in range(math.ceil(timeout / STEP)):
            found: tuple[bool, Any] = super()._try_get_data(STEP)
            if found[0]:
                return found
        return False, None
