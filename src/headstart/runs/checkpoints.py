"""The best epoch while a run goes on, and the network that it ends with."""

import io
from pathlib import Path

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint

from headstart.files import write_atomically
from headstart.strategies import Strategy


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
    """Write the whole network as ``best.ckpt``; then the epoch that it was taken from can go."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.cpu() for name, tensor in strategy.state_dict().items()}
    content = io.BytesIO()
    torch.save({"epoch": epoch, "state_dict": state}, content)
    write_atomically(folder / "best.ckpt", content.getvalue())
    (folder / "epoch.ckpt").unlink(missing_ok=True)
