"""Keep the best epoch during a run, and the network at its end."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import Tensor

from headstart.files import atomic_file
from headstart.records.names import BEST_CHECKPOINT, EPOCH_CHECKPOINT, RESUME_CHECKPOINT
from headstart.strategies import Strategy

PATHS = ("best_model_path", "kth_best_model_path", "last_model_path")  # in Lightning's state of a checkpoint callback
LOSS = "validation/loss"  # decides between epochs of equal accuracy


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are complete or absent, and that hold only tensors and plain values."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint; the old file stays until the new one is on the disk."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, durable=True) as file:
            _save(checkpoint, file, path)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint; refuse code in it, even if ``weights_only`` is False."""
        content: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return content


class BestEpoch(ModelCheckpoint):
    """A checkpoint of the best epoch's trained tensors; frozen ones cannot have changed.

    Among epochs with the best value of the monitor, the lowest validation loss decides, then the earliest epoch. Small
    validation splits often tie, and classifiers on features choose their settings by the same rule.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.best_loss = math.inf

    def check_monitor_top_k(self, trainer: pl.Trainer, current: Tensor | None = None) -> bool:
        """Return whether this epoch is the best so far."""
        better = super().check_monitor_top_k(trainer, current)
        loss = float(trainer.callback_metrics.get(LOSS, math.inf))
        loss = math.inf if math.isnan(loss) else loss
        if current is not None and not better:
            tie = self.best_model_score is not None and bool(current == self.best_model_score)
            better = trainer.strategy.reduce_boolean_decision(tie and loss < self.best_loss)
        if better:
            self.best_loss = loss
        return better

    def state_dict(self) -> dict[str, Any]:
        """Return what a resumed run needs to know the best epoch."""
        return {**super().state_dict(), "best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state, with paths in this run's directory, which may have moved."""

        def here(path: Any) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else ""

        moved = {name: here(state_dict.get(name)) for name in PATHS}
        best = {here(path): score for path, score in state_dict.get("best_k_models", {}).items()}
        self.best_loss = state_dict["best_loss"]
        super().load_state_dict({**state_dict, **moved, "best_k_models": best, "dirpath": self.dirpath})

    def on_train_batch_end(self, *args: Any) -> None:
        """Do nothing, because no epoch is over."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Save the checkpoint if this epoch is the best."""
        with pl_module.saving_without_frozen():
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Save the checkpoint if this epoch is the best."""
        with pl_module.saving_without_frozen():
            super().on_train_epoch_end(trainer, pl_module)


def keep_network(strategy: Strategy, epoch: int, folder: Path) -> None:
    """Write the whole network as ``best.ckpt``."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.cpu() for name, tensor in strategy.state_dict().items()}
    with atomic_file(folder / BEST_CHECKPOINT) as file:
        _save({"epoch": epoch, "state_dict": state}, file, folder / BEST_CHECKPOINT)


def drop_intermediate(folder: Path) -> None:
    """Remove the checkpoints that only an unfinished run needs, first the one that refers to the other."""
    for name in (RESUME_CHECKPOINT, EPOCH_CHECKPOINT):
        (folder / name).unlink(missing_ok=True)
    drop_halves(folder)


def drop_halves(folder: Path) -> None:
    """Remove partly written checkpoints of a killed process; the caller must hold the run's lock."""
    for path in folder.glob(".*.ckpt.*"):
        path.unlink(missing_ok=True)


class _Disk:
    """A file that keeps the error of the disk, as PyTorch replaces it with its own."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.error: OSError | None = None

    def write(self, content: bytes) -> int:
        """Write to the file and keep its error."""
        try:
            return self.file.write(content)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        """Flush the file."""
        self.file.flush()


def _save(content: dict[str, Any], file: IO[bytes], path: Path) -> None:
    disk = _Disk(file)
    try:
        torch.save(content, disk)  # type: ignore[arg-type]
    except RuntimeError as error:
        if disk.error is not None:
            raise OSError(disk.error.errno, disk.error.strerror, str(path)) from error
        raise
