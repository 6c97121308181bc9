"""Train copies of a network of which each process holds a share (trainer=fsdp)."""

from typing import TYPE_CHECKING

import pytorch_lightning as pl
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import nn

from headstart import ranks
from headstart.backbones import Backbone
from headstart.devices.shares import sharded
from headstart.strategies.modes import batch_norms
from headstart.strategies.plan import with_groups

if TYPE_CHECKING:
    from headstart.strategies.strategy import Strategy


class SharedWeights:
    """The whole network of each process, kept while copies of it are trained in shares."""

    def __init__(self) -> None:
        self._whole: tuple[Backbone, nn.Module] | None = None

    def begin(self, strategy: "Strategy") -> None:
        """Replace backbone and head by copies in shares, if the trainer shares weights and computes gradients."""
        lightning = strategy.trainer.strategy
        if not isinstance(lightning, ModelParallelStrategy) or lightning.world_size == 1:
            return
        if strategy.trainer.state.fn != TrainerFn.FITTING:  # no gradients, so memory holds the whole network
            return
        strategy.to("cpu")
        self._whole = (strategy.backbone, strategy.head)
        assert strategy.device_mesh is not None
        mesh = strategy.device_mesh["data_parallel"]
        strategy.backbone, strategy.head = sharded(
            strategy.backbone, strategy.head, list(strategy.plan.frozen_stages), mesh
        )
        strategy.plan = with_groups(strategy, strategy.plan)

    def end(self, strategy: "Strategy", trainer: pl.Trainer) -> None:
        """Put back the whole network, which is unchanged since before the fit."""
        if self._whole is None:
            return
        (strategy.backbone, strategy.head), self._whole = self._whole, None
        strategy.plan = with_groups(strategy, strategy.plan)
        trainer.strategy.optimizers = []  # they keep the copies in memory
        strategy.to(trainer.strategy.root_device)

    def share_statistics(self, strategy: "Strategy") -> None:
        """Copy moving statistics from the first process; DDP does that itself."""
        if self._whole is None:
            return
        layers = [
            layer
            for name, mode in strategy.plan.statistics.items()
            if mode == "update"
            for layer in batch_norms(strategy.backbone.stages[name])
        ]
        ranks.take_from_leader([b for layer in layers for b in layer.buffers() if b.is_floating_point()])
