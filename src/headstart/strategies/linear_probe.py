"""One linear layer on fixed features, fitted to convergence."""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from headstart.errors import ConfigError
from headstart.features import Features, extract
from headstart.strategies.softmax_regression import Fit, fit_softmax
from headstart.strategies.strategy import Strategy

log = logging.getLogger(__name__)
STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(4, -9, -1))  # 100 down to 1e-4


class LinearProbe(Strategy):
    """Features are computed once, standardised, and a softmax regression is fitted for each strength in ``l2``.

    The strength is the one with the best validation accuracy, then the lowest validation loss. Standardisation is
    folded into the head, so that the network takes pictures like any other. No augmentation: features are fixed.
    """

    def __init__(self, *args: Any, l2: Sequence[float] = STRENGTHS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.augmented:
            raise ConfigError(
                "strategy=linear_probe works on features computed once, so it takes no augmentation:"
                " use augmentation=none, or strategy=head_only."
            )
        if not l2 or any(not strength > 0 for strength in l2):
            raise ConfigError(f"strategy.l2={list(l2)}: expected one or more numbers above 0.")
        self.strengths = sorted((float(strength) for strength in l2), reverse=True)
        self.chosen: dict[str, float] = {}

    def trained_stages(self) -> list[str]:
        """None."""
        return []

    def fit(self, trainer: pl.Trainer, data: Any) -> None:
        """Compute features, fit each strength from strong to weak, keep the best on validation."""
        device = trainer.strategy.root_device
        self.to(device)
        self.train()
        self.on_fit_start()
        start = time.perf_counter()
        train = extract(self.features, data.train_eval_dataloader(), device, "train features")
        self.seconds_trained, self.samples_trained = time.perf_counter() - start, len(train.targets)
        validation = extract(self.features, data.val_dataloader(), device, "validation features")
        mean, std = standardisation(train.values)
        best: Fit | None = None
        fitted: Fit | None = None
        x, held_out = ((split.values.double() - mean) / std for split in (train, validation))
        for number, strength in enumerate(
            tqdm(self.strengths, desc="L2 strengths", delay=2, disable=None, leave=False)
        ):
            fitted = fit_softmax(x, train.targets, self.task.num_classes, strength, start=fitted)
            if not fitted.converged:
                log.warning("the fit at l2=%g stopped after %d iterations", strength, fitted.iterations)
            row = {**_scores("train", fitted, x, train), **_scores("validation", fitted, held_out, validation)}
            for logger in trainer.loggers:
                logger.log_metrics({"epoch": number, "l2": strength, **row}, step=number)
            if best is None or _rank(row) > _rank(self.chosen):
                best, self.chosen = fitted, {"l2": strength, **row}
        if len(self.strengths) > 1 and self.chosen["l2"] in (self.strengths[0], self.strengths[-1]):
            log.warning("the best L2 strength, %g, is at the end of strategy.l2: try a wider range", self.chosen["l2"])
        assert best is not None
        self.set_head(best, mean, std)
        self.check_frozen()

    @torch.no_grad()
    def set_head(self, fit: Fit, mean: Tensor, std: Tensor) -> None:
        """Fold the standardisation into the linear layer."""
        weight = fit.weight / std
        self.head.weight.copy_(weight)
        self.head.bias.copy_(fit.bias - weight @ mean)


def standardisation(values: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each feature as float64; a feature that never changes gets deviation 1."""
    std, mean = torch.std_mean(values.double(), dim=0, correction=0)
    return mean, torch.where(std > 1e-8 * (1 + mean.abs()), std, torch.ones_like(std))


def _scores(split: str, fit: Fit, x: Tensor, features: Features) -> dict[str, float]:
    logits = fit.logits(x)
    accuracy = (logits.argmax(dim=1) == features.targets).double().mean()
    return {
        f"{split}/loss": float(F.cross_entropy(logits, features.targets)),
        f"{split}/accuracy": float(accuracy),
    }


def _rank(row: dict[str, float]) -> tuple[float, float]:
    return row.get("validation/accuracy", -math.inf), -row.get("validation/loss", math.inf)
