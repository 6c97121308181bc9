"""Test schedules: they rise, fall and end as set, in the same way for all groups."""

from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from conftest import make_strategy, make_trainer
from hypothesis import given
from hypothesis import strategies as st

from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.strategies import FinetuneAll, constant, cosine, one_cycle, plateau


def rates(schedule: Any, steps: int, **kwargs: float) -> list[float]:
    """Return the rate of each step, and the one after the last step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = schedule(optimizer, total_steps=steps, **kwargs)
    seen = []
    for _ in range(steps):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return [*seen, optimizer.param_groups[0]["lr"]]


def two_groups(**options: float) -> torch.optim.SGD:
    groups = [{"params": [torch.nn.Parameter(torch.zeros(1))], "lr": rate} for rate in (3e-8, 0.5)]
    return torch.optim.SGD(groups, **options)


def test_shapes() -> None:
    curve = rates(cosine, 20, warmup=0.25)
    assert curve[:6] == sorted(curve[:6])
    assert max(curve) == pytest.approx(2.0)
    assert curve[5:] == sorted(curve[5:], reverse=True)
    assert curve[-1] == pytest.approx(0, abs=1e-9)
    assert set(rates(constant, 5)) == {2.0}
    with pytest.raises(ConfigError, match="warmup"):
        rates(cosine, 5, warmup=1.0)


def test_one_cycle_goes_up_once_and_down_once() -> None:
    curve = rates(one_cycle, 40, warmup=0.25, start_factor=0.1, end_factor=0.001)[:-1]
    top = curve.index(max(curve))
    assert curve[0] == pytest.approx(0.2)
    assert curve[top] == pytest.approx(2.0)
    assert top == 9
    assert curve[-1] == pytest.approx(0.002)
    assert curve[: top + 1] == sorted(curve[: top + 1])
    assert curve[top:] == sorted(curve[top:], reverse=True)


@given(steps=st.integers(1, 60), warmup=st.sampled_from([0.0, 0.1, 0.25, 0.3, 0.5, 0.9]))
def test_one_cycle_takes_any_number_of_steps(steps: int, warmup: float) -> None:
    curve = rates(one_cycle, steps, warmup=warmup)[:steps]
    assert all(0 < rate <= 2.0 + 1e-9 for rate in curve)


def test_momentum_goes_the_other_way_where_there_is_any() -> None:
    for momentum in (0.0, 0.9):
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=momentum)
        scheduler = one_cycle(optimizer, total_steps=20, warmup=0.5)
        seen = []
        for _ in range(20):
            seen.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
            optimizer.step()
            scheduler.step()
        if momentum:
            assert max(seen)[1] < min(seen)[1]
        else:
            assert {value for _, value in seen} == {0.0}


@pytest.mark.parametrize(
    ("schedule", "wanted"),
    [
        (partial(one_cycle, warmup=1.0), "scheduler.warmup=1.0"),
        (partial(one_cycle, start_factor=0), "scheduler.start_factor=0: expected a number above 0 and at most 1"),
        (partial(one_cycle, end_factor=1.5), "scheduler.end_factor=1.5: expected a number above 0 and at most 1"),
        (partial(plateau, factor=1), "scheduler.factor=1: expected a number between 0 and 1"),
        (partial(plateau, min_factor=-0.1), "scheduler.min_factor=-0.1: expected a number of at least 0"),
        (partial(plateau, patience=-1), "scheduler.patience=-1: expected a whole number"),
        (partial(plateau, patience=1.5), "scheduler.patience=1.5: expected a whole number"),
    ],
)
def test_wrong_settings_are_refused(schedule: Any, wanted: str) -> None:
    with pytest.raises(ConfigError, match=wanted):
        rates(schedule, 10)


@pytest.mark.parametrize("schedule", [cosine, constant, one_cycle])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_groups_keep_the_ratio_of_their_rates(schedule: Any, momentum: float) -> None:
    optimizer = two_groups(momentum=momentum)
    scheduler = schedule(optimizer, total_steps=30, warmup=0.2)
    for _ in range(30):
        low, high = (group["lr"] for group in optimizer.param_groups)
        assert high / low == pytest.approx(0.5 / 3e-8)
        optimizer.step()
        scheduler.step()


def test_a_plateau_lets_all_groups_fall_alike_down_to_a_floor() -> None:
    optimizer = two_groups()
    scheduler = plateau(optimizer, total_steps=1, factor=0.1, patience=1, min_factor=0.005)
    seen = []
    for loss in (3.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0):
        scheduler.step(loss)
        low, high = (group["lr"] for group in optimizer.param_groups)
        assert high / low == pytest.approx(0.5 / 3e-8)
        seen.append(high / 0.5)
    assert seen == pytest.approx([1, 1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.005, 0.005])


@pytest.mark.parametrize(("rate", "falls"), [(1e-15, True), (0.05, False)])
def test_a_fit_whose_loss_does_not_fall_slows_down(rate: float, falls: bool, digits: Digits, tmp_path: Path) -> None:
    strategy = make_strategy(
        FinetuneAll,
        optimizer=partial(torch.optim.SGD, lr=rate),
        scheduler=partial(plateau, patience=0, factor=0.5),
        head_lr_multiplier=10,
        batch_norm="frozen",
    )
    strategy.fit(make_trainer(tmp_path, epochs=4), digits)
    table = pd.read_csv(tmp_path / "metrics.csv")
    # The first epoch sets the mark; what the second shows bears on the third.
    expected = [1, 1, 0.5, 0.25] if falls else [1, 1, 1, 1]
    assert falls != (table["validation/loss"].diff()[1:] < 0).all()
    assert (table["learning_rate/head"] / rate).tolist() == pytest.approx(expected)
    assert (table["learning_rate/backbone"] / rate).tolist() == pytest.approx([value / 10 for value in expected])


def test_plateau_rises_first_and_falls_afterwards() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [parameters[0]], "lr": 1.0}, {"params": [parameters[1]], "lr": 0.1}], lr=1)
    rising, falling = plateau(optimizer, total_steps=20, warmup=0.2, factor=0.5, patience=0)  # type: ignore[misc]
    seen = []
    for step in range(20):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()
        rising.step()
        if step % 5 == 4:
            falling.step(1.0)  # the loss never falls
    assert [row[0] for row in seen[:6]] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0, 1.0])
    assert [seen[step][0] for step in (9, 10, 15)] == pytest.approx([1.0, 0.5, 0.25])
    assert all(row[1] == pytest.approx(0.1 * row[0]) for row in seen)


@pytest.mark.parametrize("momentum", [0.0, 0.05, 0.5, 0.9])
def test_momentum_cycles_below_the_optimizers_own(momentum: float) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0, momentum=momentum)
    scheduler = one_cycle(optimizer, total_steps=20)
    seen = []
    for _ in range(20):
        seen.append(optimizer.param_groups[0]["momentum"])
        optimizer.step()
        scheduler.step()
    assert seen[0] == pytest.approx(momentum)
    assert max(seen) == pytest.approx(momentum)
    assert min(seen) == pytest.approx(max(0.0, momentum - 0.1), abs=0.02)
