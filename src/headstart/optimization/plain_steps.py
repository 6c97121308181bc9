"""Fit with less of Lightning's bookkeeping, which costs more than the steps of a small head."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from pytorch_lightning import Callback, Trainer
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loops.training_epoch_loop import _TrainingEpochLoop
from pytorch_lightning.plugins.precision import Precision
from pytorch_lightning.profilers import PassThroughProfiler
from pytorch_lightning.strategies import SingleDeviceStrategy

STEP_HOOKS = ("on_train_batch_start", "on_before_optimizer_step", "on_train_batch_end")  # of callbacks
OTHER_HOOKS = ("on_before_zero_grad", "on_before_backward", "on_after_backward")  # which plain steps do not call


class PlainSteps(_TrainingEpochLoop):
    """Lightning's loop over the batches of an epoch, which takes plain steps itself.

    A step is plain if it is on the CPU, in 32 bits, not the last of its epoch and not the first after a resume. It is
    the same computation in the same order, and it sets the same counters, so that checkpoints do not change. Lightning
    takes all other steps, and every step if a strategy or callback from outside headstart or the trainer's settings may
    take part.
    """

    def advance(self, data_fetcher: Any) -> None:
        """Take all plain steps that come next, then one step as Lightning does."""
        if not self.restarting and self._are_plain():
            self._take(data_fetcher)
        super().advance(data_fetcher)

    def _are_plain(self) -> bool:
        trainer: Any = self.trainer
        callbacks = trainer.callbacks
        of_others = _of_others(callbacks)
        schedules = [one for one in trainer.lr_scheduler_configs if one.interval == "step"]
        return (
            type(trainer.strategy) is SingleDeviceStrategy
            and trainer.strategy.root_device.type == "cpu"
            and type(trainer.precision_plugin) is Precision
            and type(trainer.profiler) is PassThroughProfiler
            and trainer.accumulate_grad_batches == 1
            and trainer.max_steps == -1
            and isinstance(trainer.num_training_batches, int)
            and trainer.val_check_interval == 1.0
            and all(one.frequency == 1 and not one.reduce_on_plateau for one in schedules)
            and not any(_own(callback, name) for name in OTHER_HOOKS for callback in callbacks)
            and not any(_own(callback, name) for name in STEP_HOOKS for callback in of_others)
            and type(trainer.lightning_module).__module__.startswith("headstart.")  # another one may log in a step
        )

    def _take(self, data_fetcher: Any) -> None:
        trainer: Any = self.trainer
        module, optimizer, progress = trainer.lightning_module, trainer.optimizers[0], self.batch_progress
        counts = self.automatic_optimization.optim_progress.optimizer
        loss: Any = None
        schedules = [one.scheduler for one in trainer.lr_scheduler_configs if one.interval == "step"]
        started, stepping, ended = (
            [hook for callback in trainer.callbacks if (hook := _own(callback, name))] for name in STEP_HOOKS
        )
        epoch, clip = trainer.current_epoch, trainer.gradient_clip_val

        @torch.enable_grad()
        def closure() -> torch.Tensor:
            nonlocal loss
            loss = module.training_step(batch, number)
            counts.zero_grad.increment_ready()
            counts.zero_grad.increment_started()
            module.optimizer_zero_grad(epoch, number, optimizer)
            counts.zero_grad.increment_completed()
            loss.backward()
            for hook in stepping:
                hook(trainer, module, optimizer)
            module.on_before_optimizer_step(optimizer)
            if clip is not None:
                module.configure_gradient_clipping(optimizer, clip, trainer.gradient_clip_algorithm)
            return loss

        while progress.current.ready + 1 < trainer.num_training_batches and not trainer.should_stop:
            number = progress.current.ready
            batch, _, _ = next(data_fetcher)
            progress.increment_ready()
            for hook in started:
                hook(trainer, module, batch, number)
            module.on_train_batch_start(batch, number)
            progress.increment_started()
            counts.step.increment_ready()
            optimizer.step(closure)
            counts.step.increment_completed()
            progress.increment_processed()
            for schedule in schedules:
                self.scheduler_progress.increment_ready()
                schedule.step()
                self.scheduler_progress.increment_completed()
            for hook in ended:
                hook(trainer, module, {"loss": loss.detach()}, batch, number)
            progress.increment_completed()
            self._batches_that_stepped += 1


def take_plain_steps(trainer: Trainer) -> None:
    """Let a trainer fit with ``PlainSteps``."""
    given = trainer.fit_loop.epoch_loop
    trainer.fit_loop.epoch_loop = PlainSteps(trainer, given.min_steps, given.max_steps)


def set_aside(strategy: Any) -> None:
    """Make a frozen backbone a plain attribute of its strategy, so that Lightning does not visit its layers.

    Lightning would do so several times in each epoch, to set their modes, although these do not change. Nothing is done
    if some of the backbone is trained, on other devices than one CPU, or if a callback from outside headstart may look
    for the backbone among the modules.
    """
    trainer = strategy.trainer
    on_one_cpu = type(trainer.strategy) is SingleDeviceStrategy and trainer.strategy.root_device.type == "cpu"
    is_frozen = strategy.plan.prefix_end == len(strategy.backbone.stages)
    if on_one_cpu and is_frozen and not _of_others(trainer.callbacks):
        strategy.eval()
        strategy.__dict__["backbone"], strategy.__dict__["_whole"] = strategy.backbone, strategy._modules
        strategy._modules = {name: part for name, part in strategy._modules.items() if name != "backbone"}


def put_back(strategy: Any) -> None:
    """Undo ``set_aside``; the parts have their old order."""
    if "_whole" in strategy.__dict__:
        del strategy.__dict__["backbone"]
        strategy._modules = strategy.__dict__.pop("_whole")


def _of_others(callbacks: Sequence[Callback]) -> list[Callback]:
    """Return the callbacks from outside headstart, except one that only reads metrics."""
    own = ("headstart.", EarlyStopping.__module__)
    return [one for one in callbacks if not type(one).__module__.startswith(own)]


def _own(callback: Callback, name: str) -> Callable[..., Any] | None:
    """Return the hook of a callback if its class defines one, as those of Lightning's ``Callback`` do nothing."""
    return None if getattr(type(callback), name) is getattr(Callback, name) else getattr(callback, name)
