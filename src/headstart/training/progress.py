"""How far a run is: what is under way within an epoch, and a line after each."""

import logging
import time
from typing import Any

import pytorch_lightning as pl

from headstart import ranks
from headstart.progress import ProgressLine, duration, images_of

log = logging.getLogger(__name__)
SCORES = (("loss", "loss {:.3f}", 1), ("accuracy", "{:.1f} %", 100))


class EpochProgress(pl.Callback):
    """Count the images of each pass, and log a line after each epoch."""

    def __init__(self) -> None:
        self.open: list[ProgressLine] = []  # training, and within it validation
        self.start = 0.0
        self.epoch: int | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin anew."""
        self.epoch = None

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell of the epoch before: only now are its training scores known."""
        self.tell(trainer)
        self.epoch, self.start = trainer.current_epoch, time.perf_counter()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, number: int) -> None:
        """Begin to count; a run that is taken up within an epoch did not see it start."""
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
        """All images were seen."""
        self._end()

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Tell of the last epoch."""
        self.tell(trainer)

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
        """All images were seen."""
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
        """All images were seen."""
        self._end()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin to count: the validation images, once more by the network that was chosen."""
        self._begin("validation", trainer.predict_dataloaders, sum(trainer.num_predict_batches))

    def on_predict_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        """Count the images of a batch."""
        self._advance(batch)

    def on_predict_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """All images were seen."""
        self._end()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Leave no half bar behind."""
        while self.open:
            self._end()

    def tell(self, trainer: pl.Trainer) -> None:
        """ "epoch  3/10: train loss 0.612, 81.2 %, validation loss 0.401, 88.0 %, 4.1 s, 0:29 left"."""
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
        """Count a pass of so many batches, of which some were done before."""
        images, every = images_of(loader), len(loader)
        total = None if images is None else int(images * min(1.0, batches / max(1, every)))
        self.open.append(ProgressLine(what, total, done=int((total or 0) * done / max(1, batches))))
        self.open[-1].__enter__()

    def _advance(self, batch: Any) -> None:
        if self.open:
            self.open[-1].advance(len(batch.targets) * ranks.world())  # every process has its share

    def _end(self) -> None:
        if self.open:
            self.open.pop().__exit__()
