"""Test that every optimizer trains a real strategy, and that gradient clipping bounds its steps."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from conftest import TINY, make_strategy
from hydra import compose, initialize_config_dir

from headstart.cli import main
from headstart.data import Digits
from headstart.settings.configs import choices, conf_folder
from headstart.strategies import FinetuneAll
from headstart.training.compose import make, make_trainer

OPTIMIZERS = choices("optimizer")
SCHEDULES = choices("scheduler")


def composed(*overrides: str) -> Any:
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        return compose("train", list(overrides))


class Losses(pl.Callback):
    """Record the loss of each step."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, *args: Any) -> None:
        self.seen.append(float(outputs["loss"]))


def fit(strategy: Any, data: Digits, epochs: int, *callbacks: pl.Callback, **kwargs: Any) -> None:
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=list(callbacks),
        **kwargs,
    )
    trainer.fit(strategy, datamodule=data)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_the_loss(name: str, digits: Digits) -> None:
    optimizer = make(composed(f"optimizer={name}"), "optimizer")
    strategy = make_strategy(
        FinetuneAll, batch_norm="update", optimizer=optimizer, scheduler=None, head_lr_multiplier=1
    )
    groups = {group.name: [parameter.detach().clone() for parameter in group.trained] for group in strategy.plan.groups}
    losses = Losses()
    fit(strategy, digits, 12, losses)
    epoch = len(digits.train_dataloader())
    assert sum(losses.seen[-epoch:]) < 0.9 * sum(losses.seen[:epoch])
    for group in strategy.plan.groups:
        moved = [not torch.equal(*pair) for pair in zip(group.trained, groups[group.name], strict=True)]
        assert all(moved), group.name


@pytest.mark.parametrize("scheduler", SCHEDULES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_works_with_every_schedule(name: str, scheduler: str, digits: Digits) -> None:
    config = composed(f"optimizer={name}", f"scheduler={scheduler}")
    strategy = make_strategy(
        FinetuneAll, optimizer=make(config, "optimizer"), scheduler=make(config, "scheduler"), head_lr_multiplier=10
    )
    before = strategy.head.weight.detach().clone()
    fit(strategy, digits, 1)
    assert not torch.equal(strategy.head.weight, before)
    backbone, head = (
        next(g["lr"] for g in strategy.optimizers().param_groups if g["name"] == group)  # type: ignore[union-attr]
        for group in ("backbone", "head")
    )
    assert head == pytest.approx(10 * backbone)


class Steps(pl.Callback):
    """Record the length of each step."""

    def __init__(self) -> None:
        self.before: list[torch.Tensor] = []
        self.lengths: list[float] = []
        self.largest: list[float] = []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        self.before = [parameter.detach().clone() for parameter in pl_module.parameters()]

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, *args: Any) -> None:
        moves = [p.detach() - before for p, before in zip(pl_module.parameters(), self.before, strict=True)]
        self.lengths.append(float(torch.stack([move.norm() for move in moves]).norm()))
        self.largest.append(max(float(move.abs().max()) for move in moves))


def clipped(digits: Digits, folder: Path, *overrides: str) -> Steps:
    """Return a trainer with SGD at rate 1, without momentum and decay, so that a step is a gradient."""
    config = composed("trainer.accelerator=cpu", "trainer.max_epochs=1", *overrides)
    trainer, *_ = make_trainer(config, folder)
    steps = Steps()
    trainer.callbacks.append(steps)
    optimizer = make(
        composed("optimizer=sgd", "optimizer.lr=1", "optimizer.momentum=0", "optimizer.nesterov=false"), "optimizer"
    )
    optimizer.keywords["weight_decay"] = 0.0
    strategy = make_strategy(
        FinetuneAll, batch_norm="update", optimizer=optimizer, scheduler=None, head_lr_multiplier=1
    )
    trainer.fit(strategy, datamodule=digits)
    return steps


def test_clipping_bounds_a_step(digits: Digits, tmp_path: Path) -> None:
    free = clipped(digits, tmp_path / "free")
    assert min(free.lengths) > 0.06
    bounded = clipped(digits, tmp_path / "norm", "trainer.gradient_clip_val=0.05")
    assert bounded.lengths == pytest.approx([0.05] * len(bounded.lengths), rel=1e-3)
    cut = clipped(digits, tmp_path / "value", "trainer.gradient_clip_val=0.01", "trainer.gradient_clip_algorithm=value")
    assert max(free.largest) > 0.011
    assert max(cut.largest) < 0.0101


def test_a_wrong_setting_ends_a_run_in_one_sentence(capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    logging.getLogger("headstart").setLevel(logging.INFO)
    assert main(["train", *TINY, "output_dir=out", "trainer.gradient_clip_val=-1"]) == 2
    told = capsys.readouterr().err
    assert "trainer.gradient_clip_val=-1: expected a number above 0" in told
    assert "Traceback" not in told


def test_runs_combine_optimizer_and_schedule(tmp_path: Path) -> None:
    settings = [
        "scheduler=plateau",
        "optimizer=lamb",
        "trainer.gradient_clip_val=1",
        "backbone=timm",
        "strategy=finetune_all",
    ]
    assert main(["train", *TINY, *settings, "strategy.lr=auto", "backbone.name=test_resnet", "output_dir=out"]) == 0
    (manifest,) = [json.loads(path.read_text()) for path in (tmp_path / "out").rglob("run.json")]
    assert manifest["status"] == "finished"
    assert 1e-6 < manifest["selected"]["lr"] < 1
