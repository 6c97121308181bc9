"""Test that the range test finds the steepest descent, and changes nothing but the learning rate."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import make_trainer, toy_backbone
from hypothesis import given
from hypothesis import strategies as st
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor, nn

from headstart.data import Digits
from headstart.errors import ConfigError, HeadstartError
from headstart.optimization.lr_finder import HIGHEST, LOWEST, SKIPPED, STEPS, find_lr, suggest
from headstart.records.curves import TensorBoardCurves
from headstart.strategies import FinetuneAll, FinetuneUpper, Strategy, cosine
from headstart.tasks import Classification

CPU = torch.device("cpu")
RATES = np.geomspace(LOWEST, HIGHEST, STEPS)


def make(cls: type[Strategy] = FinetuneAll, lr: float | str = "auto", dropout: float = 0.0, **kwargs: Any) -> Strategy:
    backbone = toy_backbone()
    backbone.stages["stage3"].append(nn.Dropout(dropout))  # type: ignore[operator]
    kwargs = {"optimizer": partial(torch.optim.AdamW, lr=0.1), "scheduler": cosine, "head_lr_multiplier": 10} | kwargs
    return cls(backbone=backbone, task=Classification(10), lr=lr, **kwargs)


def everything(strategy: Strategy) -> dict[str, Tensor]:
    tensors = {**strategy.state_dict(), **dict(strategy.named_buffers())}
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def random_state() -> tuple[Any, ...]:
    return torch.get_rng_state().tolist(), random.getstate(), str(np.random.get_state())  # noqa: NPY002


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cls", [FinetuneAll, FinetuneUpper])
def test_the_strategy_is_restored(cls: type[Strategy], training: bool, digits: Digits) -> None:
    strategy = make(cls, dropout=0.5).train(training)
    tensors, state = everything(strategy), random_state()
    modes = [module.training for module in strategy.modules()]
    moved = []
    handle = strategy.head.register_forward_pre_hook(
        lambda *_: moved.append(not torch.equal(strategy.head.weight, tensors["head.weight"]))
    )
    find_lr(strategy, digits.train_dataloader(), CPU)
    handle.remove()
    assert any(moved)  # it did train meanwhile
    assert all(torch.equal(tensor, tensors[name]) for name, tensor in everything(strategy).items())
    assert random_state() == state
    assert [module.training for module in strategy.modules()] == modes
    assert all(parameter.grad is None for parameter in strategy.parameters())
    assert strategy.train_scores._batches == []


def test_a_rate_that_is_found_is_as_good_as_one_that_is_given(digits: Digits, tmp_path: Path) -> None:
    found = make(dropout=0.5)
    epoch = found.fit(make_trainer(tmp_path / "found"), digits)
    given_ = make(lr=found.rates.lr, dropout=0.5)
    assert given_.fit(make_trainer(tmp_path / "given"), digits) == epoch
    for name, tensor in found.state_dict().items():
        assert torch.equal(tensor, given_.state_dict()[name]), name
    curves = [(tmp_path / name / "metrics.csv").read_text().split("\n") for name in ("found", "given")]
    assert len(curves[0]) == len(curves[1])


def test_the_same_seed_gives_the_same_rate(digits: Digits) -> None:
    def found(seed: int) -> float:
        torch.manual_seed(torch.seed())  # whatever the global state is
        return find_lr(make(dropout=0.5, noise_seed=seed), digits.train_dataloader(), CPU)

    curves = []
    for seed in (0, 0, 1):
        log: list[Any] = []
        logger = type("Logger", (), {"log_range_test": lambda self, *told, log=log: log.append(told)})()
        find_lr(make(dropout=0.5, noise_seed=seed), digits.train_dataloader(), CPU, [logger])
        curves.append(log[0][1].tolist())
    assert found(0) == found(0)
    assert curves[0] == curves[1]
    assert curves[0] != curves[2]


def test_the_plan_holds_numbers_afterwards_in_the_same_ratios(digits: Digits, tmp_path: Path) -> None:
    strategy = make(head_bias_lr_multiplier=20, layer_decay=0.5)
    before = {group.name: group.learning_rate for group in strategy.plan.groups}
    assert strategy.plan.learning_rate_of("head") == "auto x 1"
    assert strategy.plan.learning_rate_of("stage3") == "auto x 0.05"
    strategy.fit(make_trainer(tmp_path, epochs=1), digits)
    rate = strategy.selected["lr"]
    assert LOWEST < rate < HIGHEST
    assert strategy.rates.lr == rate
    after = {group.name: group.learning_rate for group in strategy.plan.groups}
    assert after["head"] == rate
    assert after["head bias"] == pytest.approx(2 * rate)
    assert after == pytest.approx({name: rate * share for name, share in before.items() if share})
    assert strategy.plan.learning_rate_of("head") == f"{rate:g}"


def test_groups_rise_together_in_equal_ratios(digits: Digits) -> None:
    seen: list[list[float]] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> None:
            seen.append([group["lr"] for group in self.param_groups])
            super().step(closure)

    find_lr(make(optimizer=partial(Watched, lr=1.0), decay_norm_bias=True), digits.train_dataloader(), CPU)
    backbone, head = np.array(seen).T
    assert len(seen) > 50
    assert head == pytest.approx(RATES[: len(head)])
    assert backbone == pytest.approx(head / 10)


def test_the_curve_goes_to_tensorboard(digits: Digits, tmp_path: Path) -> None:
    strategy = make()
    trainer = make_trainer(tmp_path, epochs=1)
    trainer.loggers = [*trainer.loggers, TensorBoardCurves(tmp_path)]
    strategy.fit(trainer, digits)
    events = EventAccumulator(str(tmp_path / "tensorboard" / "train"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    rates = [event.value for event in events.Scalars("lr_finder/learning_rate")]
    losses = [event.value for event in events.Scalars("lr_finder/loss")]
    assert rates == pytest.approx(RATES[: len(rates)].tolist(), rel=1e-5)
    assert len(losses) == len(rates) > SKIPPED
    assert suggest(rates, losses) == pytest.approx(strategy.rates.lr, rel=1e-5)
    (image,) = events.Images("lr_finder")
    assert image.encoded_image_string.startswith(b"\x89PNG")


@given(
    where=st.integers(SKIPPED + 12, STEPS - 20),
    width=st.floats(1.5, 4.0),
    height=st.floats(0.1, 100.0),
    lowest=st.floats(0.0, 10.0),
)
def test_the_steepest_descent_is_taken(where: int, width: float, height: float, lowest: float) -> None:
    steps = np.arange(STEPS)
    fall = lowest + height / (1 + np.exp((steps - where) / width))  # steepest in its middle
    rise = np.where(steps > where + 15, height * (steps - where - 15) ** 2, 0)
    assert suggest(RATES.tolist(), (fall + rise).tolist()) == pytest.approx(RATES[where])


def test_a_steeper_fall_beyond_the_minimum_does_not_count() -> None:
    steps = np.arange(STEPS)
    losses = 5 - 2 / (1 + np.exp(-(steps - 40) / 3))
    losses[70:] = np.linspace(30, 10, 30)  # it has diverged, and falls from there
    assert suggest(RATES.tolist(), losses.tolist()) == pytest.approx(RATES[40])


def test_luck_in_the_first_steps_does_not_count() -> None:
    steps = np.arange(STEPS)
    losses = 1 + 1 / (1 + np.exp((steps - 50) / 3))
    losses[2] = 0.1  # as of one easy batch
    assert suggest(RATES.tolist(), losses.tolist()) == pytest.approx(RATES[50])


@pytest.mark.parametrize(
    "losses", [np.ones(STEPS), np.linspace(1, 4, STEPS), np.r_[np.linspace(2, 1, SKIPPED), np.full(30, 5.0)], []]
)
def test_a_loss_that_does_not_fall_is_refused(losses: Any) -> None:
    with pytest.raises(HeadstartError, match=r"strategy\.lr=auto: the loss does not fall at any learning rate"):
        suggest(RATES[: len(losses)].tolist(), list(losses))


def test_a_refusal_leaves_the_strategy_as_it_was(digits: Digits) -> None:
    class Hopeless(FinetuneAll):
        def training_step(self, batch: Any, batch_idx: int) -> Tensor:
            return super().training_step(batch, batch_idx) * 0 + float(batch_idx)

    strategy = make(Hopeless)
    before, state = everything(strategy), random_state()
    with pytest.raises(HeadstartError, match=r"set strategy\.lr yourself"):
        find_lr(strategy, digits.train_dataloader(), CPU)
    assert all(torch.equal(tensor, before[name]) for name, tensor in everything(strategy).items())
    assert random_state() == state


def test_wrong_rates_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"strategy\.lr=fast: expected a number above 0"):
        make(lr="fast")
    with pytest.raises(ConfigError, match=r"strategy\.lr cannot be auto"):
        make(stage_lr={"stage0": 0.1})
