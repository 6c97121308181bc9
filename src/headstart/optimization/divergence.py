"""End a run whose loss is not finite, and name the part of the network that caused it."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from headstart.devices.shares import local
from headstart.errors import HeadstartError

EVERY = 50  # steps between two checks on an asynchronous device, as a check waits for it


class Watch:
    """A check of every training loss: at once on the CPU, every ``EVERY`` steps on asynchronous devices."""

    def __init__(self, strategy: Any) -> None:
        self.strategy = strategy
        self._first: Tensor | None = None  # the first step with a bad loss; -1 for none
        self._loss: Tensor | None = None  # the loss of that step

    def see(self, loss: Tensor, step: int) -> None:
        """Check the loss of a step, counted from 0. Raises HeadstartError if it is not finite."""
        loss = loss.detach()
        if loss.device.type == "cpu":
            if not math.isfinite(loss.item()):
                raise self._diverged(step, loss.item())
            return
        if self._first is None or self._loss is None:
            self._first, self._loss = torch.full_like(loss, -1), torch.zeros_like(loss)
        new = ~torch.isfinite(loss) & (self._first < 0)
        self._first = torch.where(new, float(step), self._first)
        self._loss = torch.where(new, loss, self._loss)
        if step % EVERY == 0:
            self.check()

    def check(self) -> None:
        """Raise HeadstartError if a loss so far was not finite."""
        if self._first is not None and self._loss is not None and self._first.item() >= 0:
            raise self._diverged(int(self._first.item()), self._loss.item())

    def see_validation(self, loss: Tensor) -> None:
        """Raise HeadstartError if an epoch's validation loss is not finite, as after a bad last step."""
        if not math.isfinite(loss.item()):
            epoch = self.strategy.current_epoch + 1
            raise HeadstartError(
                f"Training diverged: after epoch {epoch} the validation loss is {loss.item()};"
                f" {offending(self.strategy)}; try a lower optimizer.lr."
            )

    def _diverged(self, step: int, loss: float) -> HeadstartError:
        epoch = self.strategy.current_epoch + 1
        return HeadstartError(
            f"Training diverged: at step {step + 1}, in epoch {epoch}, the loss is {loss}; {offending(self.strategy)};"
            " try a lower optimizer.lr."
        )


@torch.no_grad()
def offending(strategy: Any) -> str:
    """Return which groups of the plan have weights that are not finite, or else the group with the largest weight."""
    largest = {
        group.name: max(_size(parameter) for parameter in group.trained)
        for group in strategy.plan.groups
        if group.trained
    }
    bad = [name for name, value in largest.items() if not math.isfinite(value)]
    if bad:
        return f"weights of {', '.join(bad)} are no longer finite"
    name = max(largest, key=lambda name: largest[name])
    return f"all weights are finite, the largest in {name}: {largest[name]:.3g}"


def _size(parameter: Tensor) -> float:
    """Return the largest absolute value; infinity if a value is NaN."""
    held = local(parameter)  # of a sharded parameter only this process's share, as the others may not call now
    value = float(held.abs().max()) if held.numel() else 0.0
    return value if math.isfinite(value) else math.inf
