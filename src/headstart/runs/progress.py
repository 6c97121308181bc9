"""How far the fit is: a bar on a terminal, a line an epoch in any case."""

import logging
import time
from typing import Any

import pytorch_lightning as pl
from tqdm import tqdm

log = logging.getLogger(__name__)


class EpochProgress(pl.Callback):
    """One bar over all steps, from the second second on, and a line after each epoch."""

    def __init__(self) -> None:
        self.bar: tqdm | None = None
        self.start = 0.0
        self.epoch: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Open the bar."""
        self.epoch = None
        if not trainer.is_global_zero:
            return
        total = int(trainer.num_training_batches) * (trainer.max_epochs or 0)
        done = trainer.fit_loop.total_batch_idx + 1  # by a run that is taken up
        self.bar = tqdm(
            total=total or None, initial=done, desc="training", unit="step", delay=2, disable=None, leave=False
        )

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell of the epoch before: only now are its training scores known."""
        self.tell(trainer)
        self.epoch, self.start = trainer.current_epoch, time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """A run that is taken up within an epoch did not see it start."""
        if self.epoch is None:
            self.epoch, self.start = trainer.current_epoch, time.perf_counter()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *args: Any) -> None:
        """One step on."""
        if self.bar is not None:
            self.bar.update()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell of the last epoch and close the bar."""
        self.tell(trainer)
        self.close()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no half bar behind."""
        self.close()

    def tell(self, trainer: pl.Trainer) -> None:
        """ "epoch 3/10: train 81.2 %, validation 88.0 %, 4.1 s"."""
        if self.epoch is None:
            return
        scores = [
            f"{split} {100 * float(trainer.callback_metrics[f'{split}/accuracy']):.1f} %"
            for split in ("train", "validation")
            if f"{split}/accuracy" in trainer.callback_metrics
        ]
        seconds = time.perf_counter() - self.start
        width = len(str(trainer.max_epochs))
        log.info("epoch %*d/%s: %s, %.1f s", width, self.epoch + 1, trainer.max_epochs, ", ".join(scores), seconds)
        self.epoch = None

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
            self.bar = None
