"""Fit a plan: by gradient steps, or by computing the head from features."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import pytorch_lightning as pl
import torch

from headstart import ranks
from headstart.errors import HeadstartError
from headstart.features.extract import extract
from headstart.optimization.lr_finder import Clip, find_lr
from headstart.progress import ProgressLine
from headstart.solvers.features import Features, joined
from headstart.strategies.plan import with_groups

if TYPE_CHECKING:
    from headstart.strategies.solved import SolvedStrategy
    from headstart.strategies.steps import GradientStrategy
    from headstart.strategies.strategy import Strategy


class Resume(Protocol):
    """The checkpoint that training resumes from."""

    @property
    def path(self) -> Path:
        """Return Lightning's checkpoint."""

    @property
    def epoch(self) -> int:
        """Return the epoch of the next batch, counted from 0."""

    @property
    def batches(self) -> int:
        """Return the number of finished batches of that epoch."""

    @property
    def complete(self) -> bool:
        """Return whether nothing is left to train."""

    @property
    def best(self) -> str:
        """Return the checkpoint of the best epoch so far."""

    @property
    def strategy(self) -> Mapping[str, Any]:
        """Return the strategy's state, as ``progress`` returned it."""


class FitData(pl.LightningDataModule):
    """The loaders of one fit. The first training loader starts where the checkpoint left off; later ones do not."""

    def __init__(self, data: Any, start_at: tuple[int, int], mixed: bool) -> None:
        super().__init__()
        self.data, self.start_at, self.mixed = data, start_at, mixed

    def train_dataloader(self) -> Any:
        """Return shuffled training batches."""
        start_at, self.start_at = self.start_at, (0, 0)
        return self.data.train_dataloader(start_at)

    def val_dataloader(self) -> Any:
        """Return the validation batches."""
        return self.data.val_dataloader(self.mixed)


def fit_by_gradient(
    strategy: GradientStrategy, trainer: pl.Trainer, data: Any, start: Any = None, resume: Resume | None = None
) -> int:
    """Train, restore the best epoch on validation, and return its number, counted from 0.

    ``start`` gives cached features of the untrained network, if the strategy needs them. With ``resume`` the start is
    computed again, as later steps refer to it; then training continues from the checkpoint.
    """
    device: Any = trainer.strategy.root_device
    strategy.begin(data, device)
    strategy.to(device)
    with trainer.precision_plugin.forward_context():
        if strategy.wants_start_features:
            train, validation = start_features(strategy, start or data, device)
            strategy.start_head(train, validation)
            ranks.copy_from_leader(strategy.head)
        if strategy.rates is not None and strategy.rates.to_find:
            clip = Clip(trainer.gradient_clip_val, str(trainer.gradient_clip_algorithm or "norm"))
            with ranks.alone():
                batches = data.train_dataloader()
                found = find_lr(strategy, batches, device, trainer.loggers, clip) if ranks.leads() else 1.0
            strategy.rates = strategy.rates.found(ranks.from_leader(found))
            strategy.selected["lr"] = strategy.rates.lr
            strategy.plan = with_groups(strategy, strategy.plan)
    place = (resume.epoch, resume.batches) if resume is not None else (0, 0)
    loaders = FitData(data, place, strategy.batch_norm == "batch")
    if resume is None:
        trainer.fit(strategy, datamodule=loaders)
    elif not resume.complete:
        trainer.fit(strategy, datamodule=loaders, ckpt_path=str(resume.path), weights_only=True)
    else:
        strategy.resume(resume.strategy)
    strategy.shared.end(strategy, trainer)
    best = getattr(trainer.checkpoint_callback, "best_model_path", "") or (resume and resume.best)
    if not best:
        raise HeadstartError(
            "No epoch was completed, so there is no best network; use a longer trainer.max_time, or none, and a trainer"
            " that keeps the best epoch."
        )
    content = ranks.from_leader(
        torch.load(best, map_location="cpu", weights_only=True) if ranks.leads() else {}  # one machine may have it
    )
    strategy.load_state_dict(strategy.state_dict() | content["state_dict"])
    strategy.finish(trainer, data)
    return int(content["epoch"])


def fit_solved(strategy: SolvedStrategy, trainer: pl.Trainer, data: Any) -> int:
    """Compute features, then the head; return the number of the chosen row of scores.

    There is nothing to resume, as the feature cache keeps the features.
    """
    device: Any = trainer.strategy.root_device
    strategy.begin(data, device)
    strategy.to(device)
    strategy.train()
    strategy.frozen.remember(strategy.frozen_tensors())
    begun = time.perf_counter()
    with trainer.precision_plugin.forward_context():
        train, validation = start_features(strategy, data, device)
        held_out = validation()

    def on_row(number: int, row: dict[str, float]) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({"epoch": number, **row}, step=number)

    with ProgressLine(strategy.config_name(), unit=""):
        number = strategy.compute_head(train, held_out, on_row)
    strategy.images = joined(train, held_out) if strategy.refits else None
    strategy.frozen.check(strategy.frozen_tensors())
    strategy.clock.seconds_trained = time.perf_counter() - begun
    strategy.clock.images_trained = len(train.targets)
    return number


def start_features(strategy: Strategy, data: Any, device: torch.device) -> tuple[Features, Callable[[], Features]]:
    """Return the features of the training images, and a function that returns those of the validation images."""
    strategy.eval()
    mixed = strategy.batch_norm == "batch"

    def passed(loader: Callable[[bool], Any], what: str) -> Features:
        with ranks.alone():
            return extract(strategy.features, loader(mixed), device, what)

    train = passed(data.train_eval_dataloader, "train features")
    return train, lambda: passed(data.val_dataloader, "validation features")
