"""Test that plain steps and a backbone that is set aside give what Lightning gives."""

import csv
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import SMALLEST, make_strategy, make_trainer, trained_run

from headstart.optimization import plain_steps
from headstart.optimization.plain_steps import PlainSteps, put_back, set_aside, take_plain_steps
from headstart.strategies import FinetuneUpper, HeadOnly
from headstart.training.checkpoints import BestEpoch

SPEEDS = ("samples_per_second", "seconds")
STATE = ("state_dict", "optimizer_states", "lr_schedulers", "loops", "epoch", "global_step")


def run_of(folder: Path, *settings: str) -> Any:
    """Train a tiny run; return its curves without speeds, its network, and its last checkpoint to resume from."""
    kept: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        plain = torch.save
        patch.setattr(torch, "save", lambda content, file: (kept.append(content), plain(content, file))[1])
        run = trained_run(folder, *SMALLEST, "sweep.checkpoint_share=1", "dataset.batch_size=16", *settings)
    with (run / "metrics.csv").open(newline="") as file:
        rows = [{key: row[key] for key in row if not key.endswith(SPEEDS)} for row in csv.DictReader(file)]
    network = torch.load(run / "checkpoints/best.ckpt", weights_only=True)["state_dict"]
    resume = next(content for content in reversed(kept) if "loops" in content and "headstart" in content)
    return rows, network, {name: resume[name] for name in STATE}


def assert_same(one: Any, other: Any) -> None:
    """Compare nested values, tensors bit for bit."""
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other)
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for name in one:
            assert_same(one[name], other[name])
    elif isinstance(one, list | tuple):
        assert len(one) == len(other)
        for first, second in zip(one, other, strict=True):
            assert_same(first, second)
    else:
        assert one == other


@pytest.mark.parametrize(
    "settings",
    [
        ["strategy=head_only", "callbacks=[ema,early_stopping]"],
        ["strategy=finetune_upper", "trainer.gradient_clip_val=0.1", "scheduler=one_cycle"],
    ],
    ids=["head_only", "finetune_upper"],
)
def test_results_and_checkpoints_are_those_of_lightnings_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: list[str]
) -> None:
    taken: list[int] = []
    plain = PlainSteps._take
    monkeypatch.setattr(PlainSteps, "_take", lambda loop, batches: (taken.append(1), plain(loop, batches))[1])
    found = run_of(tmp_path / "plain", *settings)
    assert len(taken) == 2  # epochs
    monkeypatch.setattr(PlainSteps, "_are_plain", lambda loop: False)
    monkeypatch.setattr(plain_steps, "_of_others", lambda callbacks: callbacks)  # the backbone is not set aside
    assert_same(found, run_of(tmp_path / "lightning", *settings))
    assert len(taken) == 2


class CountsSteps(pl.Callback):
    """Counts the steps, as a user's callback may."""

    def __init__(self) -> None:
        self.steps = 0

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self.steps += 1
        assert "backbone" in dict(pl_module.named_children())


def plain_trainer(folder: Path, *callbacks: pl.Callback) -> pl.Trainer:
    """Return a trainer of two epochs that takes plain steps, unless these callbacks prevent it."""
    trainer = make_trainer(folder, epochs=2)
    best = BestEpoch(folder / "checkpoints", "epoch", monitor="validation/accuracy", mode="max", save_weights_only=True)
    trainer.callbacks[:] = [best, *callbacks]
    take_plain_steps(trainer)
    return trainer


def test_a_callback_of_a_user_is_called_after_every_step(tmp_path: Path, digits: Any) -> None:
    counts = CountsSteps()
    trainer = plain_trainer(tmp_path, counts)
    make_strategy(HeadOnly).fit(trainer, digits)
    assert counts.steps == trainer.global_step == 2 * len(digits.train_dataloader())


def test_only_a_frozen_backbone_is_set_aside_and_it_returns_in_its_place(tmp_path: Path, monkeypatch) -> None:
    for cls, aside in ((HeadOnly, True), (FinetuneUpper, False)):
        strategy = make_strategy(cls)
        strategy.trainer = make_trainer(tmp_path)
        strategy.trainer.callbacks.clear()
        before = list(strategy.state_dict())
        set_aside(strategy)
        assert ("backbone" not in dict(strategy.named_children())) is aside
        strategy.train()
        assert strategy.backbone.pool.training
        assert not strategy.backbone.stages["stage0"].training
        put_back(strategy)
        assert list(strategy.state_dict()) == before


class LogsInSteps(HeadOnly):
    """Logs a number in each step, as a user's strategy may."""

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        self.log("train/step", float(batch_idx), on_step=False, on_epoch=True, batch_size=1)
        return super().training_step(batch, batch_idx)


def test_a_strategy_of_a_user_may_log_in_a_step(tmp_path: Path, digits: Any) -> None:
    trainer = plain_trainer(tmp_path)
    make_strategy(LogsInSteps).fit(trainer, digits)
    assert trainer.logged_metrics["train/step"] == (len(digits.train_dataloader()) - 1) / 2
