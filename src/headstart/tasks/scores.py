"""Compute the loss and the primary metric of an epoch."""

import math
from typing import Any

import torch
from torch import Tensor

from headstart import ranks
from headstart.precision import at_least_single
from headstart.tasks.several import Several
from headstart.tasks.task import Task, is_by_pixel


class EpochScores:
    """The loss and the primary metric of an epoch, over the images of all processes; also those of each named output.

    Sums are in float64, whatever the precision of the network. The primary metric may be no mean over images, so the
    tallies of all images are kept until the epoch ends. The class is no module, because a trainer converts the tensors
    of modules to the network's precision.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        # losses and tallies of each batch; joining them once per epoch is much faster
        self._batches: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def update(self, outputs: Tensor, targets: Tensor, loss: Tensor) -> None:
        """Add a batch: its outputs (N, ...), targets in the task's format, and mean loss."""
        tallies = self.task.tally(outputs, targets)
        self._batches.append((at_least_single(loss.detach()).expand(len(outputs)), tallies))

    def state(self) -> tuple[Tensor, Tensor] | None:
        """Return the losses (images,) and the tallies (images, M) so far; None if there are none."""
        if not self._batches:
            return None
        losses, tallies = (torch.cat(parts).cpu() for parts in zip(*self._batches, strict=True))
        return losses, tallies

    def resume(self, state: tuple[Tensor, Tensor] | None, device: torch.device) -> None:
        """Continue from a state that ``state`` returned."""
        if state is not None:
            self._batches.append((state[0].to(device), state[1].to(device)))

    def compute(self) -> dict[str, Tensor]:
        """Return the epoch's "loss" and primary metric as float64, NaN without a batch; then clear the tallies."""
        states = [state for state in ranks.gathered([self.state()]) if state is not None]
        self._batches = []
        loss = primary = math.nan
        if states:
            count = sum(len(losses) for losses, _ in states)
            loss = sum(float(losses.double().sum()) for losses, _ in states) / count
            tallies = torch.cat([tallies for _, tallies in states])
            primary = self.task.primary_of(tallies)
        found = {"loss": loss, self.task.primary: primary}
        if states and isinstance(self.task, Several):
            found |= self.task.metrics_of(tallies)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in found.items()}


def kept_of(task: Task, outputs: Tensor) -> Tensor:
    """Return what a run keeps of outputs until its end, on the CPU: predicted pixels (N, S, S), or outputs (N, K)."""
    return task.kept(outputs).cpu() if is_by_pixel(task) else at_least_single(outputs).cpu()


def scores_of_kept(task: Task, kept: Tensor, targets: Any) -> dict[str, float]:
    """Return the scores, by name, of the result of ``kept_of`` against the targets (N, ...) of a split."""
    if is_by_pixel(task):
        return task.score_kept(kept, targets)
    return task.score(kept, torch.from_numpy(targets))
