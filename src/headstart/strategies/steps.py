"""Train by gradient steps: optimizer, training step, logs of an epoch, checkpoints."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from headstart import ranks
from headstart.augmentations.mixes import BatchMixing, Mix
from headstart.backbones import Backbone
from headstart.inputs.batch import Batch
from headstart.optimization.divergence import Watch
from headstart.optimization.plain_steps import put_back, set_aside
from headstart.seeds import stream
from headstart.strategies.fitting import Resume, fit_by_gradient
from headstart.strategies.rates import Rates
from headstart.strategies.sharing import SharedWeights
from headstart.strategies.strategy import Strategy
from headstart.tasks import EpochScores, Task


@runtime_checkable
class StepLogger(Protocol):
    """A logger that accepts numbers of single steps."""

    def log_steps(self, what: str, steps: Sequence[tuple[int, dict[str, float]]]) -> None:
        """Log the numbers of each step by name; steps are counted from 0 over all epochs."""


class GradientStrategy(Strategy):
    """A strategy that trains by gradient steps.

    ``optimizer`` takes parameter groups, ``scheduler`` an optimizer and ``total_steps``; ``augmented`` says whether
    the training images are augmented in any way. If an image has several views, all have its target. With a
    ``consistency`` above 0, only the first view has the target, and a loss of this weight makes the predictions for the
    views similar.

    ``lr`` is the head's learning rate: a number, None for the optimizer's own, or "auto" for one found by a range
    test; ``Rates`` describes the other rates. Biases and normalisation have no weight decay unless ``decay_norm_bias``.
    """

    def __init__(
        self,
        backbone: Backbone,
        task: Task,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., Any] | None = None,
        mixes: Sequence[Mix] = (),
        augmented: bool = False,
        consistency: float = 0.0,
        lr: float | str | None = None,
        head_lr_multiplier: float = 1.0,
        head_bias_lr_multiplier: float | None = None,
        layer_decay: float = 1.0,
        stage_lr: Mapping[str, float] | None = None,
        **settings: Any,
    ) -> None:
        rates = Rates.of(optimizer, lr, head_lr_multiplier, head_bias_lr_multiplier, layer_decay, stage_lr)
        super().__init__(backbone, task, mixes, augmented, rates=rates, **settings)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.consistency = consistency
        self.train_scores = EpochScores(task)
        self.shared, self.watch = SharedWeights(), Watch(self)
        self.batch_parts = 1  # passes per training batch; more than 1 saves memory
        self._step_rates: list[tuple[int, dict[str, float]]] = []
        self._spread: list[tuple[Tensor, int]] = []  # consistency loss and number of images, by batch
        self._keep_frozen = True  # whether checkpoints hold frozen tensors

    def fit(self, trainer: Any, data: Any, start: Any = None, resume: Resume | None = None, parts: int = 1) -> int:
        """Train, restore the best epoch on validation, and return its number, counted from 0.

        ``start`` gives cached features of the untrained network, if the strategy needs them. A batch passes through
        the network in ``parts`` parts.
        """
        self.batch_parts = parts
        return fit_by_gradient(self, trainer, data, start, resume)

    def configure_model(self) -> None:
        """Replace the network by a sharded copy, if the trainer shards weights."""
        self.shared.begin(self)

    def configure_optimizers(self) -> Any:
        """Return the optimizer, with a learning rate for each trained group of the plan, and the schedule."""
        optimizer = self.make_optimizer(self.plan.optimizer_groups())
        if self.make_scheduler is None:
            return optimizer
        made = self.make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        schedules = [
            {"scheduler": scheduler, "interval": "epoch", "monitor": "validation/loss"}
            if isinstance(scheduler, ReduceLROnPlateau)
            else {"scheduler": scheduler, "interval": "step"}
            for scheduler in (made if isinstance(made, tuple) else (made,))
        ]
        return [optimizer], schedules

    # --- a step

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Seed dropout for this step, independent of earlier draws."""
        seed = torch.default_generator.manual_seed if self.device.type == "cpu" else torch.manual_seed  # takes 0.4 ms
        seed(stream("noise", self.noise_seed, self.current_epoch, batch_idx, *ranks.key()))

    def entering(self, batch: Batch, batch_idx: int) -> Batch:
        """Return a training batch as it enters the network, before mixing."""
        return batch.carried_out()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the loss of a batch after mixing, with the views' consistency and the strategy's penalty."""
        batch = self.entering(batch, batch_idx)
        inputs, targets, views, count = batch.inputs, batch.targets, batch.views, len(batch.positions)
        if not self.consistency:  # then each view is a separate item
            targets, views = targets.repeat(views) if views > 1 and not self.task.by_pixel else targets, 1
        if self.mixes:
            x, targets, within = self._mixed(inputs, targets, batch_idx)
            with self._mixing(within):
                loss = self._loss(lambda part: self.head(self.normalised_features(part)), x, targets, views, batch_idx)
        else:
            loss = self._loss(lambda part: self(part, batch.entry), inputs, targets, views, batch_idx)
        self.clock.images += count
        penalty = self.penalty()
        # Lightning averages gradients over processes, whose shares of a batch may differ by an image.
        loss = loss * ranks.weight(count, loss.device)
        return loss if penalty is None else loss + penalty

    def _mixed(self, inputs: Tensor, targets: Tensor, batch_idx: int) -> tuple[Tensor, Tensor, BatchMixing | None]:
        """Return mixed and normalised inputs, mixed soft targets, and the mixing for a stage's output, if any."""
        x, targets, within = self.normalise(inputs), self.task.soft(targets), None
        for mixing in self.mixings(len(x), (x.shape[-2], x.shape[-1]), self.current_epoch, batch_idx):
            if mixing.stage is None:
                x = mixing.inputs(x)
            else:
                within = mixing
            targets = mixing.inputs(targets) if self.task.by_pixel else mixing.targets(targets)
        return x, targets, within

    @contextmanager
    def _mixing(self, within: BatchMixing | None) -> Iterator[None]:
        """Mix the output of a stage in every pass inside this context."""
        if within is None or within.stage is None:
            yield
            return
        stage = self.backbone.stages[within.stage]
        handle = stage.register_forward_hook(lambda module, inputs, output: within.inputs(output))
        try:
            yield
        finally:
            handle.remove()

    def _loss(
        self, network: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor, views: int, batch_idx: int
    ) -> Tensor:
        """Return the mean loss of a batch; for a batch in parts, the loss that the last part passes backward."""
        if self.batch_parts > 1 and batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.optimizers().zero_grad()  # type: ignore[union-attr]  # Lightning would do it between our passes
        parts = _in_parts(inputs, targets, views, self.batch_parts)
        for number, (part, labels) in enumerate(parts, 1):
            outputs = network(part)
            first = outputs[: len(labels)]  # the first view of each item
            loss = self.task.loss(first, labels, training=True)
            self.train_scores.update(first, labels, loss)
            if self.consistency:
                spread = self.task.spread_over_views(outputs.unflatten(0, (views, -1)))
                self._spread.append((spread.detach(), len(labels)))
                loss = loss + self.consistency * spread
            self.watch.see(loss, self.global_step)
            loss = loss if len(parts) == 1 else loss * (len(labels) / len(targets))
            if number < len(parts):
                self.trainer.strategy.backward(loss / self.trainer.accumulate_grad_batches, None)
        return loss

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Clear gradients, except for a batch in parts, whose first parts have added theirs already."""
        if self.batch_parts == 1:
            for group in optimizer.param_groups:  # Optimizer.zero_grad would also enter a profiler
                for parameter in group["params"]:
                    parameter.grad = None

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Record the learning rates of this step; the pass is over, so statistics may be changed."""
        self.shared.share_statistics(self)
        self._step_rates.append((self.global_step, self.learning_rates(optimizer)))

    def learning_rates(self, optimizer: Any) -> dict[str, float]:
        """Return the current rate of each trained group of the plan; 0 for one that is frozen in this epoch."""
        return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}

    # --- an epoch

    def on_train_epoch_start(self) -> None:
        """Set all modes, because validation changed them, and start the clock."""
        self.open_phase()
        self.train()
        self.clock.start(self.device)
        self._spread = []

    def on_validation_epoch_start(self) -> None:
        """Stop the clock, because training of this epoch is over."""
        self.clock.stop()

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores, unless training has diverged."""
        scores = self.validation_scores.compute()
        self.watch.see_validation(scores["loss"])
        self.log_scores("validation", scores)

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training scores, speed and learning rates."""
        self.clock.stop()
        self.watch.check()
        self.log_scores("train", self.train_scores.compute())
        if self.consistency:
            spread = ranks.total(sum(float(value) * images for value, images in self._spread))
            self.log("train/jsd", spread / max(1, ranks.total(sum(images for _, images in self._spread))))
        self.log("samples_per_second", self.clock.end_epoch())
        for name, rate in self.learning_rates(self.optimizers()).items():
            self.log(f"learning_rate/{name}", rate)
        for logger in self.loggers:
            if isinstance(logger, StepLogger):
                logger.log_steps("learning_rate", self._step_rates)
        self._step_rates = []

    # --- frozen tensors, checkpoints

    def on_fit_start(self) -> None:
        """Copy the frozen tensors."""
        self.frozen.remember(self.frozen_tensors())
        set_aside(self)

    def on_fit_end(self) -> None:
        """Compare every frozen tensor with its start, bit for bit."""
        put_back(self)
        self.frozen.check(self.frozen_tensors())

    @contextmanager
    def saving_without_frozen(self) -> Iterator[None]:
        """Omit frozen tensors from checkpoints that are written inside this context."""
        self._keep_frozen = False
        try:
            yield
        finally:
            self._keep_frozen = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Omit frozen tensors inside ``saving_without_frozen``."""
        if self._keep_frozen:
            return
        frozen = {f"backbone.stages.{name}" for name in self.frozen_tensors()}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Restore frozen tensors, which checkpoints may omit."""
        frozen = {f"backbone.stages.{name}": tensor for name, tensor in self.frozen_tensors().items()}
        checkpoint["state_dict"] = {**frozen, **checkpoint["state_dict"]}

    def progress(self) -> dict[str, Any]:
        """Return the state for ``resume`` besides weights and optimizer, as plain values and tensors."""
        return {
            "scores": ranks.gathered([self.train_scores.state()]),  # of each process
            "rates": self._step_rates,
            "spread": ranks.gathered([(float(value), images) for value, images in self._spread]),
            **self.clock.state(),
        }

    def resume(self, progress: Mapping[str, Any], mid_epoch: bool = False) -> None:
        """Continue from a checkpoint; within an epoch, also set its modes and start its clock."""
        self.clock.resume(progress, self.device, mid_epoch)
        if not mid_epoch:
            return
        for scores in progress["scores"][ranks.rank() :: ranks.world()]:
            self.train_scores.resume(scores, self.device)
        self._step_rates = [(step, dict(rates)) for step, rates in progress["rates"]]
        if ranks.leads():
            self._spread = [(torch.tensor(value), images) for value, images in progress["spread"]]
        self.open_phase()
        self.train()


def _in_parts(inputs: Tensor, targets: Tensor, views: int, parts: int) -> list[tuple[Tensor, Tensor]]:
    """Return a batch in at most ``parts`` parts, none empty; the views of an image stay together."""
    if parts == 1:
        return [(inputs, targets)]
    by_view = inputs.unflatten(0, (views, -1)).tensor_split(parts, dim=1)
    pairs = zip(by_view, targets.tensor_split(parts), strict=True)
    return [(part.flatten(0, 1), labels) for part, labels in pairs if len(labels)]
