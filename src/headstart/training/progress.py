"""Show the progress of a run: a bar within each epoch, and a line after it."""

import logging
import time
from typing import Any

import pytorch_lightning as pl

from headstart import ranks
from headstart.progress import ProgressLine, duration, images_of

log = logging.getLogger(__name__)
SCORES = (("loss", "loss {:.3f}", 1), ("accuracy", "{:.1f} %", 100))


class EpochProgress(pl.Callback):
    """A counter of the images of each pass, which logs a line after each epoch."""

    def __init__(self) -> None:
        self.open: list[ProgressLine] = []  # of training, then of validation inside it
        self.start = 0.0
        self.epoch: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Clear the epoch of an earlier fit."""
        self.epoch = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the epoch before, whose training scores are known only now."""
        self.log_epoch(trainer)
        self.epoch, self.start = trainer.current_epoch, time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, number: int) -> None:
        """Begin to count; a run that is resumed within an epoch has not seen its start."""
        if self.epoch is None:
            self.epoch, self.start = trainer.current_epoch, time.perf_counter()
        if not self.open:
            what = f"epoch {self.epoch + 1}/{trainer.max_epochs}, training"
            self._begin(what, trainer.train_dataloader, trainer.num_training_batches, number)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Count the images of a step."""
        self._advance(batch)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the pass."""
        self._end()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the last epoch."""
        self.log_epoch(trainer)

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        epoch = "" if self.epoch is None else f"epoch {self.epoch + 1}/{trainer.max_epochs}, "
        self._begin(f"{epoch}validation", trainer.val_dataloaders, sum(trainer.num_val_batches))

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Count the images of a batch."""
        self._advance(batch)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the pass."""
        self._end()

    def on_test_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count."""
        self._begin("test", trainer.test_dataloaders, sum(trainer.num_test_batches))

    def on_test_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Count the images of a batch."""
        self._advance(batch)

    def on_test_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the pass."""
        self._end()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count the validation images, which the chosen network predicts again."""
        self._begin("validation", trainer.predict_dataloaders, sum(trainer.num_predict_batches))

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Count the images of a batch."""
        self._advance(batch)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """End the pass."""
        self._end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Close all unfinished bars."""
        while self.open:
            self._end()

    def log_epoch(self, trainer: pl.Trainer) -> None:
        """Log "epoch  3/10: train loss 0.612, 81.2 %, validation loss 0.401, 88.0 %, 4.1 s, 0:29 left"."""
        if self.epoch is None:
            return
        scores = []
        for split in ("train", "validation"):
            known = [
                text.format(times * float(trainer.callback_metrics[f"{split}/{name}"]))
                for name, text, times in SCORES
                if f"{split}/{name}" in trainer.callback_metrics
            ]
            scores += [f"{split} {', '.join(known)}"] if known else []
        seconds = time.perf_counter() - self.start
        width, left = len(str(trainer.max_epochs)), (trainer.max_epochs or 0) - self.epoch - 1
        scores += [f"{seconds:.1f} s", *([f"{duration(left * seconds)} left"] if left > 0 else [])]
        log.info("epoch %*d/%s: %s", width, self.epoch + 1, trainer.max_epochs, ", ".join(scores))
        self.epoch = None

    def _begin(self, what: str, loader: Any, batches: float, done: int = 0) -> None:
        """Count a pass of ``batches`` batches, of which ``done`` are already done."""
        images, every = images_of(loader), len(loader)
        total = None if images is None else int(images * min(1.0, batches / max(1, every)))
        self.open.append(ProgressLine(what, total, done=int((total or 0) * done / max(1, batches))))
        self.open[-1].__enter__()

    def _advance(self, batch: Any) -> None:
        if self.open:
            self.open[-1].advance(len(batch.positions) * ranks.world())  # every process has its share

    def _end(self) -> None:
        if self.open:
            self.open.pop().__exit__()
