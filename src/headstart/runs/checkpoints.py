"""The best epoch while a run goes on, and the network that it ends with."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from lightning_fabric.plugins import TorchCheckpointIO
from pytorch_lightning.callbacks import ModelCheckpoint

from headstart.files import atomic_file
from headstart.strategies import Strategy


class AtomicCheckpoints(TorchCheckpointIO):
    """Checkpoints that are there whole or not at all, and that hold nothing but tensors and plain values."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write beside the old one, which stays until the new one is on the disk."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(path, durable=True) as file:
            torch.save(checkpoint, file)

    def load_checkpoint(
        self, path: Any, map_location: Callable[..., Any] | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read it; code in it is refused, whatever ``weights_only`` says."""
        content: dict[str, Any] = torch.load(path, map_location=map_location or "cpu", weights_only=True)
        return content


class BestEpoch(ModelCheckpoint):
    """Keeps the trained tensors of the best epoch: what is frozen cannot have changed."""

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if this epoch is the best."""
        assert isinstance(pl_module, Strategy)
        with pl_module.saving_without_frozen():
            super().on_validation_end(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Save, if this epoch is the best."""
        assert isinstance(pl_module, Strategy)
        with pl_module.saving_without_frozen():
            super().on_train_epoch_end(trainer, pl_module)


def keep_network(strategy: Strategy, epoch: int, folder: Path) -> None:
    """Write the whole network as ``best.ckpt``."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.cpu() for name, tensor in strategy.state_dict().items()}
    with atomic_file(folder / "best.ckpt") as file:
        torch.save({"epoch": epoch, "state_dict": state}, file)


def drop_intermediate(folder: Path) -> None:
    """Remove what only an unfinished run needs."""
    for name in ("epoch.ckpt", "resume.ckpt"):
        (folder / name).unlink(missing_ok=True)
