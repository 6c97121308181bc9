"""Estimate how long a training would take, from two of its steps."""

import time
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from headstart.console import errors_only
from headstart.crashes import crash_of
from headstart.errors import ConfigError
from headstart.training.prepare import prepare, run_settings


@dataclass(frozen=True)
class TrainingTime:
    """The estimated time of one training, without validation passes."""

    strategy: str
    epochs: int
    steps: int
    """Of one epoch."""
    images: int
    """Of one step."""
    seconds_a_step: float

    @property
    def seconds(self) -> float:
        """Return the time of all steps."""
        return self.epochs * self.steps * self.seconds_a_step


def estimate_time(strategy: str, settings: DictConfig) -> TrainingTime:
    """Measure the second step of a training, as the first one also prepares memory.

    Raises a HeadstartError for settings that cannot be trained, and if a batch does not fit into memory.
    """
    config = OmegaConf.create(run_settings(settings))
    epochs = config.trainer.get("max_epochs")
    if epochs is None or epochs < 1:
        raise ConfigError(f"trainer.max_epochs={epochs} does not limit the epochs.")
    with TemporaryDirectory(prefix="headstart-") as folder, errors_only("headstart"):
        parts = prepare(config, Path(folder))
        network: Any = parts.strategy
        device: Any = parts.trainer.strategy.root_device
        network.to(device).train()
        optimizer = network.make_optimizer(network.plan.optimizer_groups())
        batches = parts.data.train_dataloader()
        try:
            for step, batch in enumerate(islice(batches, 2)):
                begun = time.perf_counter()
                with parts.trainer.precision_plugin.forward_context():
                    loss = network.training_step(batch.to(device), step)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
                if device.type == "cuda":
                    torch.cuda.synchronize(device)
                seconds = time.perf_counter() - begun
        except Exception as error:
            raise crash_of(error) or error from error
    return TrainingTime(strategy, int(epochs), len(batches), len(batch.positions), seconds)
