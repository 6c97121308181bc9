"""Schedules rise, fall and end where they say."""

import pytest
import torch

from headstart.errors import ConfigError
from headstart.strategies import constant, cosine


def rates(schedule, steps: int, **kwargs: float) -> list[float]:  # type: ignore[no-untyped-def]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule(optimizer, total_steps=steps, **kwargs)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*seen, optimizer.param_groups[0]["lr"]]


def test_shapes() -> None:
    curve = rates(cosine, 20, warmup=0.25)
    assert curve[:6] == sorted(curve[:6])
    assert max(curve) == pytest.approx(2.0)
    assert curve[5:] == sorted(curve[5:], reverse=True)
    assert curve[-1] == pytest.approx(0, abs=1e-9)
    assert set(rates(constant, 5)) == {2.0}
    with pytest.raises(ConfigError, match="warmup"):
        rates(cosine, 5, warmup=1.0)
