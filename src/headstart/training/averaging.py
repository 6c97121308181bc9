"""Averages of the weights that training passes through: what is validated, kept and tested, while training goes on."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor

from headstart import ranks
from headstart.devices.shares import like, local, whole
from headstart.errors import ConfigError
from headstart.progress import counted_batches
from headstart.settings.leaf_table import check_setting
from headstart.strategies import Strategy
from headstart.strategies.modes import batch_norms, estimate_statistics


class AveragedWeights(pl.Callback):
    """From each validation to the next training epoch the network holds the average; the optimizer never sees it.

    So the average is what the best epoch is chosen by, what a checkpoint holds, and what a run ends with. Only what
    training moves is averaged: frozen tensors are not touched.
    """

    # Lightning's WeightAveraging copies the whole module, and its average is not in checkpoints without optimizer
    # states (save_weights_only), which the best epoch is.

    def __init__(self) -> None:
        self.updates = 0  # how many states are in the average
        self._live: dict[str, Tensor] = {}  # the network's own tensors
        self._average: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}  # what the optimizer goes on with, while the network holds the average
        self._found: dict[str, Any] = {}

    @torch.no_grad()
    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Begin an average at the weights that training starts from, or take up the one of a checkpoint."""
        self._live = moving_tensors(pl_module)
        found, self._found = self._found, {}
        self.updates = found.get("updates", 0)
        average = found.get("average", self._live)
        # In 32 bits at least: steps of a hundredth would be lost in 16.
        self._average = {
            name: like(average[name].detach(), tensor).to(tensor.device, _wide(tensor), copy=True)
            for name, tensor in self._live.items()
        }
        self._trained = {
            name: like(tensor, self._live[name]).to(self._live[name].device)
            for name, tensor in found.get("trained", {}).items()
        }

    @torch.no_grad()
    def on_validation_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Put the average into the network."""
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        self.end_of_epoch(trainer)
        if not self.updates:
            return
        self._trained = {name: tensor.detach().clone() for name, tensor in self._live.items()}
        for name, tensor in self._live.items():
            tensor.copy_(self._average[name])
        self.settle(trainer, pl_module)

    @torch.no_grad()
    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Give the optimizer its own weights back."""
        for name, tensor in self._trained.items():
            self._live[name].copy_(tensor)
        self._trained = {}

    def end_of_epoch(self, trainer: pl.Trainer) -> None:
        """All steps of an epoch are made."""

    def settle(self, trainer: pl.Trainer, strategy: Strategy) -> None:
        """The average has come into the network."""

    def move_average(self, share: float) -> None:
        """Go this share of the way from the average to the network as it is; counters are taken from the network."""
        pairs = [(local(self._average[name]), local(tensor)) for name, tensor in self._live.items()]
        smooth = [(average, tensor.to(average.dtype)) for average, tensor in pairs if average.is_floating_point()]
        torch._foreach_lerp_([average for average, _ in smooth], [tensor for _, tensor in smooth], share)
        for average, tensor in pairs:
            if not average.is_floating_point():
                average.copy_(tensor)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """For a run that is taken up again: the checkpoint's network may be the average."""
        average, trained = (
            {name: whole(tensor) for name, tensor in tensors.items()} for tensors in (self._average, self._trained)
        )
        return {"updates": self.updates, "average": average, "trained": trained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from there."""
        self._found = state_dict


class ExponentialAverage(AveragedWeights):
    """An exponential moving average over steps, of weights and of the running statistics of batch norm alike.

    After step t it goes the share ``1 - min(decay, (1 + t) / (10 + t))`` of the way to the weights: the random head
    that training starts from is soon forgotten (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = float(check_setting("callbacks.ema.decay", decay))
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Count steps from here: by now a run that is taken up knows how many it has made."""
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Average, if the optimizer has made a step: with accumulated gradients not every batch does."""
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            step = self.updates + 1
            self.move_average(1 - min(self.decay, (1 + step) / (10 + step)))


class StochasticAverage(AveragedWeights):
    """The plain mean of the weights at the ends of the last epochs: SWA (Izmailov et al. 2018, arXiv:1803.05407).

    Averaging begins when the share ``start`` of all epochs is over; up to then the network is validated as it is.
    Running statistics of batch norm do not average, as the mean network has activations of its own: they are
    estimated anew by a pass over the training images, their views included, each time.
    """

    def __init__(self, start: float = 0.75) -> None:
        super().__init__()
        self.start = float(check_setting("callbacks.swa.start", start))
        self._loader: Any = None

    def end_of_epoch(self, trainer: pl.Trainer) -> None:
        """Average, if it is time."""
        if trainer.current_epoch >= int(self.start * (trainer.max_epochs or 1)):
            self.move_average(1 / (self.updates + 1))

    def settle(self, trainer: pl.Trainer, strategy: Strategy) -> None:
        """Estimate the statistics of the mean network."""
        strategy.clock.stop()  # no training step is made in here
        if self._loader is None:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            with ranks.alone():
                self._loader = data.train_dataloader()
        batches = islice(counted_batches(self._loader, "statistics of the average"), trainer.num_training_batches)  # type: ignore[arg-type]
        with trainer.precision_plugin.forward_context():
            strategy.train()  # to see which statistics move
            moving = [layer for layer in batch_norms(strategy) if layer.training and layer.track_running_stats]
            here = (batch.to(strategy.device).carried_out() for batch in batches)
            estimate_statistics(strategy, moving, ((batch.inputs, batch.entry) for batch in here))


def moving_tensors(strategy: Strategy) -> dict[str, Tensor]:
    """What training moves, by its name in a checkpoint: trained parameters and statistics that follow the batches."""
    frozen = {f"backbone.stages.{name}" for name in strategy.frozen_tensors()}
    return {name: tensor for name, tensor in strategy.state_dict(keep_vars=True).items() if name not in frozen}


def check_one_average(callbacks: Sequence[pl.Callback]) -> None:
    """Raise ConfigError for two averages: a network can end with one."""
    names = [type(callback).__name__ for callback in callbacks if isinstance(callback, AveragedWeights)]
    if len(names) > 1:
        raise ConfigError("callbacks: ema and swa both average the weights; leave one of them out.")


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
