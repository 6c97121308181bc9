"""A loader that waits for its processes in short steps."""

import math
from typing import Any

from torch.utils.data import DataLoader
from torch.utils.data.dataloader import _BaseDataLoaderIter, _MultiProcessingDataLoaderIter

from headstart.data.image_split import Batch

STEP = 5.0  # seconds


class PatientLoader(DataLoader[Batch]):
    """A DataLoader whose ``timeout`` leaves out the time in which the whole run was stopped, as by Ctrl-Z.

    Also, it finds out within a step that a process has died.
    """

    def _get_iterator(self) -> _BaseDataLoaderIter:
        return InSteps(self) if self.num_workers else super()._get_iterator()


class InSteps(_MultiProcessingDataLoaderIter):
    """Waits in steps: a stop makes one of them end at once, and no more."""

    def _try_get_data(self, timeout: float = STEP) -> tuple[bool, Any]:
        for _ in range(math.ceil(timeout / STEP)):
            found: tuple[bool, Any] = super()._try_get_data(STEP)
            if found[0]:
                return found
        return False, None
