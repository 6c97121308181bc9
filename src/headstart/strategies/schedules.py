"""Learning-rate schedules by step; each takes the optimizer and the number of steps in all."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from headstart.errors import ConfigError


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.1) -> LambdaLR:
    """A linear rise over the share ``warmup`` of all steps, then half a cosine to zero (arXiv:1608.03983)."""
    if not 0 <= warmup < 1:
        raise ConfigError(f"scheduler.warmup={warmup}: expected a share of the steps of at least 0 and below 1.")
    rise = round(warmup * total_steps)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total_steps - rise))))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """A linear rise over the share ``warmup`` of all steps, then no change."""
    if not 0 <= warmup < 1:
        raise ConfigError(f"scheduler.warmup={warmup}: expected a share of the steps of at least 0 and below 1.")
    rise = round(warmup * total_steps)
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (rise + 1)))
