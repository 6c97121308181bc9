"""Resume an interrupted run, so that its result equals that of an uninterrupted run.

A checkpoint to resume from holds the trained tensors, the optimizer, the schedule, the counters of Lightning and of all
callbacks, the scores of the epoch so far, the curves, and the length of each TensorBoard file. Order, views, mixes and
noise need no state, as (seed, epoch, position in the epoch) determines them.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from headstart.interrupt import current
from headstart.records.curves import CurveLogger
from headstart.records.names import RESUME_CHECKPOINT
from headstart.settings.leaf_table import check_setting

log = logging.getLogger(__name__)
STATE = "headstart"  # the key of headstart's state in Lightning's checkpoint
SHORTEST = 1.0  # seconds of training between two checkpoints, at least


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint to resume from."""

    path: Path
    epoch: int  # of the next batch, counted from 0
    batches: int  # the finished ones of that epoch
    complete: bool  # whether nothing is left to train
    best: str  # the checkpoint of the best epoch so far, in the present run directory
    seconds: float  # of the run so far
    strategy: Mapping[str, Any]
    curves: Mapping[str, Mapping[str, Any]]  # by the logger's name

    def __str__(self) -> str:
        if self.complete:
            return "after the last epoch"
        return f"epoch {self.epoch + 1}" + (f", after {self.batches} batches" if self.batches else "")


def read_progress(folder: Path, origin: Mapping[str, Any]) -> ResumePoint | None:
    """Return the checkpoint in ``folder``; None if there is none, or if it has another ``origin``."""
    path = folder / RESUME_CHECKPOINT
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        own = content[STATE]
        kept = {name: value for name, value in own.items() if name != "made_of"}
        found = ResumePoint(path, **{**kept, "best": str(folder / kept["best"]) if kept["best"] else ""})
    except FileNotFoundError:
        return None
    except Exception as error:  # after any error, training from the beginning gives the same result
        log.warning("%s cannot be read (%s); training starts from the beginning", path, str(error).partition("\n")[0])
        return None
    other = [name for name, value in origin.items() if own["made_of"].get(name) != value]
    if other:
        log.warning("the checkpoint has another %s; training starts from the beginning", " and ".join(other))
        return None
    return found


class KeepProgress(pl.Callback):
    """Checkpoints to resume from, written at intervals and when a signal asks the run to stop.

    ``share`` is the fraction of time that they may take: after one that took s seconds, the next follows s / share
    later. With 1 there is one per epoch, with 0 only a signal causes one.
    """

    def __init__(self, folder: Path, origin: Mapping[str, Any], share: float = 0.05) -> None:
        check_setting("sweep.checkpoint_share", share)
        self.path, self.origin, self.share = folder / RESUME_CHECKPOINT, dict(origin), share
        self.found: ResumePoint | None = None
        self._last, self._cost = time.perf_counter(), 0.0
        self._place = (0, 0)
        self._complete = self._writing = False
        self.begun, self.earlier_seconds = time.perf_counter(), 0.0  # the start of this process, and the seconds before

    def resume_from(self, found: ResumePoint | None) -> None:
        """Set the checkpoint from which the run starts, if any."""
        self.found = found
        self.earlier_seconds = found.seconds if found is not None else 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Let signals wait for the end of a step from now on."""
        current().waiting = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Restore the state that Lightning does not restore."""
        # Lightning has just replaced our signal handlers by its own, which contact other processes within a step.
        current().listen()
        self._last, self._complete = time.perf_counter(), False
        if self.found is not None:
            pl_module.resume(self.found.strategy, mid_epoch=self.found.batches > 0)
        for logger in trainer.loggers:
            if isinstance(logger, CurveLogger):
                logger.muted = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write a checkpoint if one is due: between two epochs, the earlier one is logged completely."""
        epoch = trainer.current_epoch
        if epoch and (self.found is None or self.found.epoch != epoch or self.found.batches):
            self._place = (epoch, 0)
            self._keep_if_due(trainer, pl_module)
        elif trainer.strategy.reduce_boolean_decision(current().asked, all=False):
            current().end()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Write a checkpoint in long epochs and when asked to stop, but not before validation, after the last batch."""
        if batch_idx + 1 < trainer.num_training_batches and not self._accumulating(trainer, batch_idx):
            self._place = (trainer.current_epoch, batch_idx + 1)
            self._keep_if_due(trainer, pl_module, only_in_long_epochs=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Write a checkpoint if one is due; a resumed run repeats all later steps, such as the test pass."""
        self._place, self._complete = (trainer.current_epoch, 0), True
        self._keep_if_due(trainer, pl_module)
        current().waiting = False
        if trainer.strategy.reduce_boolean_decision(current().asked, all=False):  # during that checkpoint
            self._keep_if_due(trainer, pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Install our signal handlers again."""
        current().listen()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Install our signal handlers again."""
        current().listen()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add headstart's state; between two epochs, also set Lightning's counters to those of a finished epoch."""
        if not self._writing:
            return
        epoch, batches = self._place
        checkpoint[STATE] = {
            "epoch": epoch,
            "batches": batches,
            "complete": self._complete,
            "best": Path(str(trainer.checkpoint_callback.best_model_path)).name,  # type: ignore[union-attr]
            "seconds": self.earlier_seconds + time.perf_counter() - self.begun,
            "made_of": self.origin,
            "strategy": pl_module.progress(),
            "curves": {logger.name: logger.state() for logger in trainer.loggers if isinstance(logger, CurveLogger)},
        }
        if not batches:
            counts = checkpoint["loops"]["fit_loop"]["epoch_progress"]
            for count in (counts["current"], counts["total"]):
                count["ready"] = count["started"] = count["processed"] = count["completed"]

    @staticmethod
    def _accumulating(trainer: pl.Trainer, batch_idx: int) -> bool:
        return (batch_idx + 1) % trainer.accumulate_grad_batches != 0

    def _keep_if_due(self, trainer: pl.Trainer, strategy: Any, only_in_long_epochs: bool = False) -> None:
        asked = trainer.strategy.reduce_boolean_decision(current().asked, all=False)
        since = time.perf_counter() - self._last
        due = self.share > 0 and since >= max(SHORTEST, self._cost / self.share)
        if self.share == 1:
            due = not only_in_long_epochs
        if trainer.world_size > 1:
            due = bool(trainer.strategy.broadcast(due))
        if asked or due:
            self._keep(trainer, strategy)
        if asked:
            log.info("stopped after this step; run the same command again to resume")
            current().end()

    def _keep(self, trainer: pl.Trainer, strategy: Any) -> None:
        before = time.perf_counter()
        self._writing = True
        with strategy.saving_without_frozen():
            trainer.save_checkpoint(self.path)
        self._writing = False
        self._last = time.perf_counter()
        self._cost = self._last - before
