"""Taking a run up again where it stopped, so that it ends as if it never had.

A checkpoint to resume from holds the trained tensors, the optimizer, the schedule, the counters of Lightning and of all
callbacks, the scores of the epoch so far, the curves, and how long each TensorBoard file was. Order, views, mixes and
noise need no state: they are drawn from (seed, epoch, position in the epoch).
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from headstart.records.curves import Curves
from headstart.records.names import RESUME_CHECKPOINT
from headstart.settings.leaf_table import check_setting
from headstart.training.interrupt import current

log = logging.getLogger(__name__)
STATE = "headstart"  # where our own part lies in Lightning's checkpoint
SHORTEST = 1.0  # seconds of training between two checkpoints, at least


@dataclass(frozen=True)
class ResumePoint:
    """A checkpoint to go on from."""

    path: Path
    epoch: int  # of the next batch, counted from 0
    batches: int  # of that epoch that are done
    complete: bool  # nothing is left to train
    best: str  # the checkpoint of the best epoch so far, wherever the run directory lies now
    seconds: float  # that the run had taken
    strategy: Mapping[str, Any]
    curves: Mapping[str, Mapping[str, Any]]  # by the logger's name

    def __str__(self) -> str:
        if self.complete:
            return "after the last epoch"
        return f"epoch {self.epoch + 1}" + (f", after {self.batches} batches" if self.batches else "")


def read_progress(folder: Path, made_of: Mapping[str, Any]) -> ResumePoint | None:
    """What ``folder`` holds to go on from; None where there is nothing, or it is of another run than ``made_of``."""
    path = folder / RESUME_CHECKPOINT
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        own = content[STATE]
        kept = {name: value for name, value in own.items() if name != "made_of"}
        found = ResumePoint(path, **{**kept, "best": str(folder / kept["best"]) if kept["best"] else ""})
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever is wrong with it, starting anew gives the same result
        log.warning("%s cannot be read (%s); training starts anew", path, str(error).partition("\n")[0])
        return None
    other = [name for name, value in made_of.items() if own["made_of"].get(name) != value]
    if other:
        log.warning("the checkpoint was made with another %s; training starts anew", " and ".join(other))
        return None
    return found


class KeepProgress(pl.Callback):
    """Writes a checkpoint to resume from now and then, and whenever a signal asks the run to stop.

    ``share`` is how much of the time may go into them: after one that took s seconds the next follows s / share later.
    With 1 there is one an epoch, with 0 only those that a signal asks for.
    """

    def __init__(self, folder: Path, made_of: Mapping[str, Any], share: float = 0.05) -> None:
        check_setting("sweep.checkpoint_share", share)
        self.path, self.made_of, self.share = folder / RESUME_CHECKPOINT, dict(made_of), share
        self.found: ResumePoint | None = None
        self._last, self._cost = time.perf_counter(), 0.0
        self._place = (0, 0)
        self._complete = self._writing = False
        self.begun, self.earlier_seconds = time.perf_counter(), 0.0  # when training began, and what came before

    def resume_from(self, found: ResumePoint | None) -> None:
        """What the run starts with."""
        self.found = found
        self.earlier_seconds = found.seconds if found is not None else 0.0

    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """From here on signals wait for the end of a step."""
        current().waiting = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Put back what Lightning does not know of."""
        # Lightning has just put handlers of its own over ours, which talk to the other processes in mid-step.
        current().listen()
        self._last, self._complete = time.perf_counter(), False
        if self.found is not None:
            pl_module.resume(self.found.strategy, mid_epoch=self.found.batches > 0)
        for logger in trainer.loggers:
            if isinstance(logger, Curves):
                logger.muted = False

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Between two epochs everything of the earlier one is logged: the best place for a checkpoint."""
        epoch = trainer.current_epoch
        if epoch and (self.found is None or self.found.epoch != epoch or self.found.batches):
            self._place = (epoch, 0)
            self._keep_if_due(trainer, pl_module)
        elif trainer.strategy.reduce_boolean_decision(current().asked, all=False):
            current().end()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """In long epochs, and when asked to stop; not after the last batch, as validation comes first."""
        if batch_idx + 1 < trainer.num_training_batches and not self._accumulating(trainer, batch_idx):
            self._place = (trainer.current_epoch, batch_idx + 1)
            self._keep_if_due(trainer, pl_module, only_in_long_epochs=True)

    def on_train_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """What comes now (mixing weights, the test pass) is done anew by a run that is taken up."""
        self._place, self._complete = (trainer.current_epoch, 0), True
        self._keep_if_due(trainer, pl_module)
        current().waiting = False
        if trainer.strategy.reduce_boolean_decision(current().asked, all=False):  # while that was written
            self._keep_if_due(trainer, pl_module)

    def on_test_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """As when training starts."""
        current().listen()

    def on_predict_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """As when training starts."""
        current().listen()

    def on_save_checkpoint(self, trainer: pl.Trainer, pl_module: Any, checkpoint: dict[str, Any]) -> None:
        """Add our own part, and make Lightning's counters say what they mean between two epochs."""
        if not self._writing:
            return
        epoch, batches = self._place
        checkpoint[STATE] = {
            "epoch": epoch,
            "batches": batches,
            "complete": self._complete,
            "best": Path(str(trainer.checkpoint_callback.best_model_path)).name,  # type: ignore[union-attr]
            "seconds": self.earlier_seconds + time.perf_counter() - self.begun,
            "made_of": self.made_of,
            "strategy": pl_module.progress(),
            "curves": {logger.name: logger.state() for logger in trainer.loggers if isinstance(logger, Curves)},
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
            log.info("stopped after this step; the same command goes on from here")
            current().end()

    def _keep(self, trainer: pl.Trainer, strategy: Any) -> None:
        before = time.perf_counter()
        self._writing = True
        with strategy.saving_without_frozen():
            trainer.save_checkpoint(self.path)
        self._writing = False
        self._last = time.perf_counter()
        self._cost = self._last - before
