"""Define the batch, which enters a network in one step."""

from typing import Any, NamedTuple

import torch
from torch import Tensor


class Batch(NamedTuple):
    """N items, each in one or several views, with their targets.

    ``inputs`` is (views * N, ...): the first view of every item, then the second of every item, and so on. If the
    device applies the last views, it is an object whose ``done()`` applies them and returns the tensor.
    """

    inputs: Any
    targets: Tensor  # (N, ...), see the task; (views * N, ...) if views transform them too
    positions: Tensor  # int64 (N,), places in the split
    views: int = 1  # how many of each item
    entry: int = 0  # index of the stage that the inputs enter: 0 for images, the number of stages for features

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device."""
        return self._replace(**{name: getattr(self, name).to(device) for name in ("inputs", "targets", "positions")})

    def carried_out(self) -> "Batch":
        """Return the batch with all views applied, so that ``inputs`` is a tensor."""
        return self if isinstance(self.inputs, Tensor) else self._replace(inputs=self.inputs.done())
