"""Test that plan and TensorBoard show the learning rates that were set."""

import math
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
from conftest import make_strategy, make_trainer, toy_backbone
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from headstart import strategies
from headstart.data import Digits
from headstart.errors import ConfigError
from headstart.records.curves import TensorBoardCurves
from headstart.strategies import FinetuneAll, FinetuneUpper, GradientStrategy, LayerTransfer, Strategy
from headstart.strategies.plan import HEADER
from headstart.strategies.solved import SolvedStrategy

LR = 0.02


def scalars(folder: Path, tag: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    return [(event.step, event.value) for event in events.Scalars(tag)]


def test_tensorboard_shows_the_rate_of_each_group_at_every_step(digits: Digits, tmp_path: Path) -> None:
    used: list[dict[str, float]] = []

    class Watched(FinetuneAll):
        def optimizer_step(self, epoch: int, batch_idx: int, optimizer: Any, *args: Any) -> None:
            used.append({group["name"]: group["lr"] for group in optimizer.param_groups})
            super().optimizer_step(epoch, batch_idx, optimizer, *args)

    strategy = make_strategy(Watched, lr=LR, head_lr_multiplier=10, head_bias_lr_multiplier=20)  # cosine
    trainer = make_trainer(tmp_path, epochs=3)
    trainer.loggers = [*trainer.loggers, TensorBoardCurves(tmp_path)]
    strategy.fit(trainer, digits)

    steps = 3 * len(digits.train_dataloader())
    rise = round(0.1 * steps)
    assert rise >= 1
    factors = [(step + 1) / (rise + 1) for step in range(rise)]
    factors += [(1 + math.cos(math.pi * (step - rise) / (steps - rise))) / 2 for step in range(rise, steps)]
    assert max(factors) == 1
    for name, top in {"backbone": LR / 10, "head": LR, "head bias": LR / 10 * 20}.items():
        shown = scalars(tmp_path / "tensorboard" / "train", f"learning_rate/{name}")
        assert [step for step, _ in shown] == list(range(steps))
        assert [value for _, value in shown] == pytest.approx([top * factor for factor in factors], rel=1e-6)
        assert [rates[name] for rates in used] == pytest.approx([value for _, value in shown], rel=1e-6)


EVERY = [
    cls
    for name in strategies.__all__
    if isinstance(cls := getattr(strategies, name), type)
    and issubclass(cls, Strategy)
    and cls not in (Strategy, GradientStrategy, SolvedStrategy)
]


RATES: list[dict[str, Any]] = [{}, {"head_bias_lr_multiplier": 20}, {"decay_norm_bias": True}]


@pytest.mark.parametrize(
    ("cls", "settings"),
    [(cls, settings) for cls in EVERY for settings in RATES if not (settings and issubclass(cls, SolvedStrategy))],
)
def test_the_printed_plan_is_what_the_optimizer_has(cls: type[Strategy], settings: dict[str, Any]) -> None:
    if cls is LayerTransfer:
        settings = {**settings, "random_backbone": toy_backbone(1)}
    steps = {"scheduler": None, "lr": LR} if cls.by_gradient else {}
    strategy = make_strategy(cls, **steps, **settings)
    header, rows = HEADER, strategy.plan.rows()
    printed = {row["group"]: row for row in (dict(zip(header, row, strict=True)) for row in rows)}
    strategy.trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    entries = [] if issubclass(cls, SolvedStrategy) else strategy.configure_optimizers().param_groups
    expected: dict[str, tuple[str, str]] = dict.fromkeys(printed, ("–", "–"))
    for name in {entry["name"] for entry in entries}:
        decays = {entry["weight_decay"]: entry for entry in entries if entry["name"] == name}
        (rate,) = {entry["lr"] for entry in entries if entry["name"] == name}
        said = [f"{decay:g}" for decay in sorted(decays, reverse=True)]
        expected[name] = f"{rate:g}", said[0] if len(said) == 1 else f"{said[0]}, vectors {said[1]}"
        if 0.0 in decays and len(decays) == 2:
            assert {parameter.ndim for parameter in decays[0.0]["params"]} == {1}
    assert {name: (row["learning rate"], row["weight decay"]) for name, row in printed.items()} == expected
    assert all(printed[name]["mode"].startswith("train") == (rate != "–") for name, (rate, _) in expected.items())
    if not entries:
        assert printed["head"]["mode"] == cls.solver


def planned(strategy: Strategy) -> dict[str, float | None]:
    return {group.name: group.learning_rate for group in strategy.plan.groups}


def optimizer_rates(strategy: Strategy) -> dict[str, float]:
    """Return the rates of the optimizer itself, without a schedule."""
    strategy.trainer = pl.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    return {group["name"]: group["lr"] for group in strategy.configure_optimizers().param_groups}


def test_rates_decay_with_the_distance_from_the_head() -> None:
    strategy = make_strategy(FinetuneAll, lr=LR, head_lr_multiplier=2, layer_decay=0.5, scheduler=None)
    expected = {f"stage{number}": LR / 2 * 0.5 ** (4 - number) for number in range(4)} | {"head": LR}
    assert planned(strategy) == pytest.approx(expected)
    assert optimizer_rates(strategy) == pytest.approx(expected)


def test_without_decay_the_backbone_is_one_group() -> None:
    strategy = make_strategy(FinetuneAll, lr=LR, head_lr_multiplier=10, layer_decay=1.0)
    assert planned(strategy) == pytest.approx({"backbone": LR / 10, "head": LR})


def test_frozen_stages_have_no_rate() -> None:
    strategy = make_strategy(FinetuneUpper, lr=LR, head_lr_multiplier=1, layer_decay=0.5, scheduler=None)
    expected = {"stage2": LR / 4, "stage3": LR / 2, "head": LR}
    assert planned(strategy) == {"frozen": None, **expected}
    assert optimizer_rates(strategy) == pytest.approx(expected)


def test_single_stages_get_rates_of_their_own() -> None:
    given = {"stage0": 1e-5, "stage[12]": 3e-4}
    strategy = make_strategy(FinetuneAll, lr=LR, head_lr_multiplier=10, stage_lr=given, scheduler=None)
    expected = {"stage0": 1e-5, "stage1": 3e-4, "stage2": 3e-4, "stage3": LR / 10, "head": LR}
    assert planned(strategy) == pytest.approx(expected)
    assert optimizer_rates(strategy) == pytest.approx(expected)


def test_a_rate_of_its_own_is_not_decayed() -> None:
    strategy = make_strategy(
        FinetuneAll, lr=LR, head_lr_multiplier=1, layer_decay=0.1, stage_lr={"stage1": 0.5}, scheduler=None
    )
    assert planned(strategy)["stage1"] == 0.5
    assert planned(strategy)["stage3"] == pytest.approx(LR / 10)


@pytest.mark.parametrize(
    ("cls", "settings", "sentence"),
    [
        (FinetuneAll, {"stage_lr": {"stage9": 0.1}}, r"'stage9' is no stage of toy, which has stage0, .* Did you mean"),
        (FinetuneAll, {"stage_lr": {"block*": 0.1}}, r"'block\*' is no stage of toy, which has stage0"),
        (FinetuneAll, {"stage_lr": {"stage*": 0.1, "stage1": 0.2}}, r"stage1 is named twice, by 'stage\*' and by"),
        (FinetuneUpper, {"stage_lr": {"stage0": 0.1}}, r"stage0 would get a learning rate, but .* keeps it frozen"),
        (FinetuneAll, {"stage_lr": {"stage0": 0}}, r"strategy\.stage_lr\.stage0=0: expected a number above 0"),
        (FinetuneAll, {"stage_lr": {"stage0": "fast"}}, r"stage_lr\.stage0=fast: expected a number above 0"),
        (FinetuneAll, {"layer_decay": 0}, r"strategy\.layer_decay=0: expected a number above 0"),
        (FinetuneAll, {"layer_decay": 1.5}, r"strategy\.layer_decay=1\.5: expected a number above 0 and at most 1"),
        (FinetuneAll, {"head_lr_multiplier": -1}, r"head_lr_multiplier=-1: expected a number above 0"),
        (FinetuneAll, {"head_bias_lr_multiplier": 0}, r"head_bias_lr_multiplier=0: expected a number above 0"),
    ],
)
def test_wrong_rates_are_refused(cls: type[Strategy], settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_strategy(cls, **settings)


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"head_lr_multiplier": 1e-37, "lr": 1e5}, r"learning rate of stage0 is 1e\+42.*that float32 can hold"),
        ({"head_lr_multiplier": 1e37, "lr": 1e-5}, r"learning rate of stage0 is 1e-42"),
        ({"layer_decay": 1e-30}, r"learning rate of stage0 is \S+e-123"),
        ({"head_bias_lr_multiplier": 1e38, "lr": 100.0}, r"learning rate of the head's biases is"),
        ({"head_lr_multiplier": math.inf}, r"strategy.head_lr_multiplier=inf: expected a number above 0"),
        ({"layer_decay": math.inf}, r"strategy.layer_decay=inf: expected a number above 0"),
        ({"lr": 1e99}, r"optimizer.lr=1e\+99: expected a number above 0"),
        ({"stage_lr": {"stage1": 1e99}}, r"strategy.stage_lr.stage1=1e\+99: expected a number above 0"),
    ],
)
def test_rates_that_float32_cannot_hold(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        make_strategy(FinetuneAll, **settings)
