"""One linear layer on fixed features, fitted to convergence."""

import time
from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch

from headstart.errors import ConfigError, nearest
from headstart.features.extract import extract
from headstart.strategies.linear_fit import LOSSES
from headstart.strategies.probe_fit import STRENGTHS, fit_probe_once
from headstart.strategies.strategy import Strategy


class LinearProbe(Strategy):
    """Features are computed once, standardised, and a linear classifier is fitted for each strength in ``l2``.

    ``loss`` is "logistic" (multinomial) or "hinge" (squared, each class against the rest: a linear SVM). The strength
    is the one with the best validation accuracy. Standardisation is folded into the head, so that the network takes
    pictures like any other. No augmentation: the features are fixed.
    """

    def __init__(self, *args: Any, l2: Sequence[float] = STRENGTHS, loss: str = "logistic", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if loss not in LOSSES:
            raise ConfigError(f"strategy.loss={loss}: there is no such loss.{nearest(loss, LOSSES)}")
        if self.augmented:
            raise ConfigError(
                "strategy=linear_probe works on features computed once, so it takes no augmentation:"
                " use augmentation=none, or strategy=head_only."
            )
        if not l2 or any(not strength > 0 for strength in l2):
            raise ConfigError(f"strategy.l2={list(l2)}: expected one or more numbers above 0.")
        self.strengths, self.loss = list(l2), loss

    def trained_stages(self) -> list[str]:
        """None."""
        return []

    def learning_rate_of(self, name: str) -> str:
        """The fit has no learning rate."""
        return "L-BFGS" if name == "head" else super().learning_rate_of(name)

    def fit(self, trainer: pl.Trainer, data: Any) -> int:
        """Compute features, fit each strength, put the best into the head; the number of that strength."""
        device = trainer.strategy.root_device
        self.to(device)
        self.train()
        self.on_fit_start()
        start = time.perf_counter()
        with trainer.precision_plugin.forward_context():
            train = extract(self.features, data.train_eval_dataloader(), device, "train features")
            validation = extract(self.features, data.val_dataloader(), device, "validation features")

        def on_row(number: int, row: dict[str, float]) -> None:
            for logger in trainer.loggers:
                logger.log_metrics({"epoch": number, **row}, step=number)

        probe = fit_probe_once(train, validation, self.task.num_classes, self.strengths, self.loss, on_row)
        with torch.no_grad():
            self.head.weight.copy_(probe.weight.float())
            self.head.bias.copy_(probe.bias.float())
        self.check_frozen()
        self.seconds_trained, self.samples_trained = time.perf_counter() - start, len(train.targets)
        return probe.number
