"""Average the weights over training; the average is validated, saved and tested."""

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
from headstart.strategies import GradientStrategy
from headstart.strategies.modes import batch_norms, estimate_statistics


class AveragedWeights(pl.Callback):
    """An average of the weights, which the network holds from each validation to the next training epoch.

    The average is validated, so it decides the best epoch. Checkpoints and the final network hold it. The optimizer
    never sees it, and frozen tensors do not change.
    """

    # Lightning's WeightAveraging copies the whole module. It omits its average from checkpoints without optimizer
    # states (save_weights_only), and the checkpoint of the best epoch is one.

    def __init__(self) -> None:
        self.updates = 0  # the number of averaged states
        self._live: dict[str, Tensor] = {}  # the network's own tensors
        self._average: dict[str, Tensor] = {}
        self._trained: dict[str, Tensor] = {}  # the optimizer's weights, while the network holds the average
        self._found: dict[str, Any] = {}

    @torch.no_grad()
    def on_fit_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Start an average at the first weights of training, or restore the one of a checkpoint."""
        self._live = moving_tensors(pl_module)
        found, self._found = self._found, {}
        self.updates = found.get("updates", 0)
        average = found.get("average", self._live)
        # In at least 32 bits, as 16 bits would lose steps of a hundredth.
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
        """Put the optimizer's weights back into the network."""
        for name, tensor in self._trained.items():
            self._live[name].copy_(tensor)
        self._trained = {}

    def end_of_epoch(self, trainer: pl.Trainer) -> None:
        """Update the average after the last step of an epoch."""

    def settle(self, trainer: pl.Trainer, strategy: GradientStrategy) -> None:
        """Change the network after it has received the average."""

    def move_average(self, share: float) -> None:
        """Move the average by the fraction ``share`` towards the network's weights; copy the network's counters."""
        pairs = [(local(self._average[name]), local(tensor)) for name, tensor in self._live.items()]
        smooth = [(average, tensor.to(average.dtype)) for average, tensor in pairs if average.is_floating_point()]
        torch._foreach_lerp_([average for average, _ in smooth], [tensor for _, tensor in smooth], share)
        for average, tensor in pairs:
            if not average.is_floating_point():
                average.copy_(tensor)
        self.updates += 1

    def state_dict(self) -> dict[str, Any]:
        """Return the average and the optimizer's weights, as the checkpoint's network may hold the average."""
        average, trained = (
            {name: whole(tensor) for name, tensor in tensors.items()} for tensors in (self._average, self._trained)
        )
        return {"updates": self.updates, "average": average, "trained": trained}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the state of a checkpoint until ``on_fit_start``."""
        self._found = state_dict


class ExponentialAverage(AveragedWeights):
    """An exponential moving average over steps, of weights and of the running statistics of batch norm.

    After step t it moves by the fraction ``1 - min(decay, (1 + t) / (10 + t))`` towards the weights, so the random
    start of the head soon has no effect (as in TensorFlow's ExponentialMovingAverage).
    """

    def __init__(self, decay: float = 0.99) -> None:
        super().__init__()
        self.decay = float(check_setting("callbacks.ema.decay", decay))
        self._step = 0

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        """Read the number of steps, which a resumed run has restored by now."""
        self._step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Update the average if the optimizer has made a step; with accumulated gradients, not every batch is one."""
        if trainer.global_step > self._step:
            self._step = trainer.global_step
            step = self.updates + 1
            self.move_average(1 - min(self.decay, (1 + step) / (10 + step)))


class StochasticAverage(AveragedWeights):
    """The plain mean of the weights at the ends of the last epochs: SWA (Izmailov et al. 2018, arXiv:1803.05407).

    Averaging begins after the fraction ``start`` of all epochs; until then the network itself is validated. Running
    statistics of batch norm are not averaged, because the average network has other activations. Each time, a pass
    over the training images, with their views, estimates them again.
    """

    def __init__(self, start: float = 0.75) -> None:
        super().__init__()
        self.start = float(check_setting("callbacks.swa.start", start))
        self._loader: Any = None

    def end_of_epoch(self, trainer: pl.Trainer) -> None:
        """Update the average, unless it is too early."""
        if trainer.current_epoch >= int(self.start * (trainer.max_epochs or 1)):
            self.move_average(1 / (self.updates + 1))

    def settle(self, trainer: pl.Trainer, strategy: GradientStrategy) -> None:
        """Estimate the statistics of the average network."""
        strategy.clock.stop()  # the pass below is no training
        if self._loader is None:
            data: Any = trainer.datamodule  # type: ignore[attr-defined]
            with ranks.alone():
                self._loader = data.train_dataloader()
        batches = islice(counted_batches(self._loader, "statistics of the average"), trainer.num_training_batches)  # type: ignore[arg-type]
        with trainer.precision_plugin.forward_context(), ranks.alone():
            strategy.train()  # to see which statistics change
            moving = [layer for layer in batch_norms(strategy) if layer.training and layer.track_running_stats]
            here = (strategy.entering(batch.to(strategy.device), number) for number, batch in enumerate(batches))
            estimate_statistics(strategy, moving, ((batch.inputs, batch.entry) for batch in here))


def moving_tensors(strategy: GradientStrategy) -> dict[str, Tensor]:
    """Return what training changes, by its name in a checkpoint: trained parameters and moving statistics."""
    frozen = {f"backbone.stages.{name}" for name in strategy.frozen_tensors()}
    return {name: tensor for name, tensor in strategy.state_dict(keep_vars=True).items() if name not in frozen}


def check_one_average(callbacks: Sequence[pl.Callback]) -> None:
    """Raise ConfigError for two averages, as a network can hold only one."""
    names = [type(callback).__name__ for callback in callbacks if isinstance(callback, AveragedWeights)]
    if len(names) > 1:
        raise ConfigError("callbacks: ema and swa both average the weights; leave one of them out.")


def _wide(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32) if tensor.is_floating_point() else tensor.dtype
