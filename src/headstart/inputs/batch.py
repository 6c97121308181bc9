"""What enters a network in one step."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """N items, each in one or several views, with their targets.

    ``inputs`` is (views * N, ...): the first view of every item, then the second of every item, and so on. Where the
    loader left the last views to the device, it is an object whose ``done()`` carries them out.
    """

    inputs: Any
    targets: Tensor  # (N, ...), as the task has them; (views * N, ...) where they move with the views
    positions: Tensor  # int64 (N,), places in the split
    views: int = 1  # of each item
    entry: int = 0  # the stage that the inputs enter: 0 as the data set gives them, the number of stages for features

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return self._replace(**{name: getattr(self, name).to(device) for name in ("inputs", "targets", "positions")})

    def carried_out(self) -> "Batch":
        """Return the batch with every view carried out: ``inputs`` is a tensor."""
        return self if isinstance(self.inputs, Tensor) else self._replace(inputs=self.inputs.done())
