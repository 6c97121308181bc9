"""Find a learning rate by a range test: raise the rate from step to step and see where the loss falls fastest."""

import copy
import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.errors import HeadstartError
from headstart.progress import counted
from headstart.seeds import stream

log = logging.getLogger(__name__)
LOWEST, HIGHEST, STEPS = 1e-6, 1.0, 100  # of the head's rate
SMOOTHING = 0.9  # weight of earlier losses in the smoothed loss
DIVERGED = 4.0  # the test stops when the smoothed loss is this many times its minimum
SKIPPED = 10  # first steps, which show only the smoothing


@dataclass(frozen=True)
class RangeTest:
    """The curve of a range test, one point per step."""

    rates: NDArray[np.float64]  # of the head
    losses: NDArray[np.float64]  # smoothed, in nats
    suggestion: float


@dataclass(frozen=True)
class Clip:
    """The trainer's gradient clipping."""

    value: float | None = None
    algorithm: str = "norm"

    def __call__(self, parameters: Iterable[nn.Parameter]) -> None:
        """Clip the gradients of these parameters in place."""
        if self.value and self.algorithm == "value":
            nn.utils.clip_grad_value_(parameters, self.value)
        elif self.value:
            nn.utils.clip_grad_norm_(parameters, self.value)


def find_lr(
    strategy: Any,
    batches: Iterable[Any],
    device: torch.device,
    loggers: Sequence[Any] = (),
    clip: Clip = Clip(),
) -> float:
    """Return the head's rate at which the loss falls fastest (Smith 2017, arXiv:1506.01186).

    Trains for up to 100 steps on the batches, with rates from 1e-6 to 1 in equal ratios and the same factor for all
    groups. Then it restores weights, statistics, modes and the random state. A step is one batch, without loss scaling
    in 16-bit training; a strategy with phases is in its first one. Loggers that accept the curve get it. Raises
    HeadstartError if the loss never falls.
    """
    kept = copy.deepcopy(strategy.state_dict())
    modes = {module: module.training for module in strategy.modules()}
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        try:
            found = _range_test(strategy, batches, device, clip)
        finally:
            strategy.load_state_dict(kept)
            strategy.zero_grad(set_to_none=True)
            for module, mode in modes.items():
                module.training = mode
            strategy.train_scores.compute()  # clears the scores of the test
    log.info("learning rate found: %.3g, where the loss fell fastest in %d steps", found.suggestion, len(found.rates))
    for logger in loggers:
        if hasattr(logger, "log_range_test"):
            logger.log_range_test(found.rates, found.losses, found.suggestion)
    return found.suggestion


def _range_test(strategy: Any, batches: Iterable[Any], device: torch.device, clip: Clip) -> RangeTest:
    torch.manual_seed(stream("lr finder", strategy.noise_seed))
    strategy.open_phase()
    strategy.train()
    optimizer = strategy.make_optimizer(strategy.plan.optimizer_groups())
    relative = [group["lr"] for group in optimizer.param_groups]  # the plan's rates, with 1 for the head
    ratio = (HIGHEST / LOWEST) ** (1 / (STEPS - 1))
    rates: list[float] = []
    losses: list[float] = []
    average = 0.0
    steps = counted(range(STEPS), "learning rate test", STEPS, "steps")
    for step, batch in zip(steps, _endless(batches), strict=False):
        rate = LOWEST * ratio**step
        for group, share in zip(optimizer.param_groups, relative, strict=True):
            group["lr"] = rate * share
        optimizer.zero_grad(set_to_none=True)
        loss: Tensor = strategy.training_step(batch.to(device), step)
        loss.backward()
        clip(strategy.parameters())
        optimizer.step()
        average = SMOOTHING * average + (1 - SMOOTHING) * float(loss.detach())
        smooth = average / (1 - SMOOTHING ** (step + 1))
        if not math.isfinite(smooth):
            break
        rates.append(rate)
        losses.append(smooth)
        if step > SKIPPED and smooth > DIVERGED * min(losses):
            break
    return RangeTest(np.array(rates), np.array(losses), suggest(rates, losses))


def suggest(rates: Sequence[float], losses: Sequence[float]) -> float:
    """Return the rate of the steepest descent before the minimum, for the loss over the logarithm of the rate.

    Raises HeadstartError if there is none.
    """
    used = np.asarray(losses[SKIPPED:], dtype=np.float64)
    end = int(np.argmin(used)) + 1 if len(used) else 0
    if end < 3:
        raise HeadstartError("strategy.lr=auto: the loss does not fall at any learning rate; set strategy.lr yourself.")
    slopes = np.gradient(used[:end], np.log(np.asarray(rates[SKIPPED : SKIPPED + end])))
    return float(rates[SKIPPED + int(np.argmin(slopes))])


def _endless(batches: Iterable[Any]) -> Iterable[Any]:
    while True:
        yield from batches
