"""Compute loss and primary metric over an epoch."""

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from headstart import ranks
from headstart.precision import at_least_single

if TYPE_CHECKING:
    from headstart.tasks.task import Task


class EpochScores:
    """Loss and primary metric over an epoch, over the images of all processes.

    Sums are in float64 at every precision of the network. The class is no module, because a trainer converts the
    tensors of modules to the network's precision.
    """

    def __init__(self, task: "Task") -> None:
        self.task = task
        self._batches: list[tuple[Tensor, Tensor]] = []  # added once per epoch, which is much faster

    @torch.no_grad()
    def update(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: outputs (N, K), targets in the task's format, the mean loss."""
        scores = self.task.score_each(outputs, targets)
        self._batches.append((at_least_single(loss.detach()).expand(len(outputs)), scores))

    def state(self) -> tuple[Tensor, Tensor] | None:
        """Return the losses and scores so far, (images,) each; None if there are none."""
        if not self._batches:
            return None
        losses, scores = (torch.cat(parts).cpu() for parts in zip(*self._batches, strict=True))
        return losses, scores

    def resume(self, state: tuple[Tensor, Tensor] | None, device: torch.device) -> None:
        """Continue from a state that ``state`` returned."""
        if state is not None:
            self._batches.append((state[0].to(device), state[1].to(device)))

    def compute(self) -> dict[str, Tensor]:
        """Return the epoch's "loss" and primary metric as float64, NaN without a batch; then clear the sums."""
        own = self.state()
        sums = (float(own[0].double().sum()), float(own[1].double().sum()), len(own[0])) if own else (0.0, 0.0, 0)
        self._batches = []
        losses, scores, count = map(sum, zip(*ranks.gathered([sums]), strict=True))
        return {
            name: torch.tensor(value / count if count else math.nan, dtype=torch.float64)
            for name, value in (("loss", losses), (self.task.primary, scores))
        }
