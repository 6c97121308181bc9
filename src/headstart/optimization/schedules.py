"""Make learning-rate schedules from the optimizer and the number of steps; all groups are treated equally."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR, LinearLR, OneCycleLR, ReduceLROnPlateau

from headstart.settings.leaf_table import check_parameters


def cosine(optimizer: Optimizer, total_steps: int, warmup: float = 0.1) -> LambdaLR:
    """Return a linear rise over the fraction ``warmup`` of all steps, then half a cosine to 0 (arXiv:1608.03983)."""
    rise = _rise(total_steps, warmup)

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / (rise + 1)
        return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - rise) / max(1, total_steps - rise))))

    return LambdaLR(optimizer, factor)


def constant(optimizer: Optimizer, total_steps: int, warmup: float = 0.0) -> LambdaLR:
    """Return a linear rise over the fraction ``warmup`` of all steps, then a constant."""
    rise = _rise(total_steps, warmup)
    return LambdaLR(optimizer, lambda step: min(1.0, (step + 1) / (rise + 1)))


def one_cycle(
    optimizer: Optimizer, total_steps: int, warmup: float = 0.3, start_factor: float = 0.04, end_factor: float = 1e-5
) -> OneCycleLR:
    """Return one cycle (arXiv:1708.07120): half a cosine up to each group's rate, then half a cosine down.

    Momentum falls by 0.1 from the optimizer's own and rises again; 0 stays 0. ``start_factor`` and ``end_factor`` are
    the first and the last rate, divided by the highest.
    """
    total_steps = max(total_steps, 2)
    _rise(total_steps, warmup)
    check_parameters("scheduler", locals())
    momentum = _momentum(optimizer)
    return OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=total_steps,
        pct_start=warmup if warmup * total_steps > 1 else 0.0,  # OneCycleLR divides by the rise's steps - 1
        div_factor=1 / start_factor,
        final_div_factor=start_factor / end_factor,
        cycle_momentum=momentum > 0,  # 0 stays 0
        base_momentum=max(0.0, momentum - 0.1),
        max_momentum=momentum,
    )


def plateau(
    optimizer: Optimizer,
    total_steps: int,
    factor: float = 0.1,
    patience: int = 2,
    min_factor: float = 1e-3,
    warmup: float = 0.0,
) -> ReduceLROnPlateau | tuple[LinearLR, ReduceLROnPlateau]:
    """Return a schedule that multiplies rates by ``factor`` when the validation loss stops falling.

    That is after more than ``patience`` epochs without a lower loss. No rate falls below ``min_factor`` times its
    start. ``warmup`` is the fraction of all steps with a linear rise.
    """
    rise = _rise(total_steps, warmup)
    check_parameters("scheduler", locals())
    least = [min_factor * group["lr"] for group in optimizer.param_groups]
    # By default PyTorch skips changes below 1e-8, so groups with small rates would not follow the others.
    falling = ReduceLROnPlateau(optimizer, factor=factor, patience=patience, min_lr=least, eps=0.0)
    if not rise:
        return falling
    # LinearLR multiplies the current rates, so that both schedules can act on them.
    return LinearLR(optimizer, start_factor=1 / (rise + 1), total_iters=rise), falling


def _momentum(optimizer: Optimizer) -> float:
    options = optimizer.param_groups[0]
    return float(options["betas"][0] if "betas" in options else options.get("momentum", 0.0))


def _rise(total_steps: int, warmup: float) -> int:
    check_parameters("scheduler", locals())
    return round(warmup * total_steps)
