"""The base of all strategies: it owns loss, metrics, modes and learning rates; a subclass says what is trained."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from headstart.backbones import Backbone
from headstart.errors import ConfigError, HeadstartError
from headstart.seeds import generator, stream
from headstart.strategies.plan import Group, check_partition
from headstart.tasks import Classification, Scores

Mix = Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, Tensor]]
# uint8 pictures (N, 3, S, S), or floats that leave the frozen prefix; labels (N,); positions (N,)
Batch = tuple[Tensor, Tensor, Tensor]


class Strategy(pl.LightningModule):
    """Backbone and new head, trained as the subclass says.

    ``optimizer`` takes parameter groups, ``scheduler`` an optimizer and ``total_steps``; ``augmented`` says whether
    the training pictures are augmented in any way.

    The stages below ``first_trained`` are the frozen prefix. Every step takes pictures, uint8, or what leaves that
    prefix, floating: the same, computed earlier.
    """

    pixel_scale: Tensor
    pixel_shift: Tensor
    pretrained = True  # whether the backbone starts from weights learned elsewhere

    def __init__(
        self,
        backbone: Backbone,
        task: Classification,
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., Any] | None = None,
        mixes: Sequence[Mix] = (),
        augmented: bool = False,
        backbone_lr_factor: float = 1.0,
        channels_last: bool = True,
        head_seed: int = 0,
        noise_seed: int = 0,
    ) -> None:
        super().__init__()
        if backbone_lr_factor <= 0:
            raise ConfigError(f"strategy.backbone_lr_factor={backbone_lr_factor}: expected a number above 0.")
        self.backbone, self.task = backbone, task
        self.head = task.make_head(backbone.feature_dim, head_seed)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.mixes, self.augmented, self.noise_seed = list(mixes), augmented, noise_seed
        self.backbone_lr_factor, self.channels_last = backbone_lr_factor, channels_last
        mean, std = (
            torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (backbone.preprocessing.mean, backbone.preprocessing.std)
        )
        self.register_buffer("pixel_scale", 1 / std, persistent=False)
        self.register_buffer("pixel_shift", -mean / std, persistent=False)
        self.train_scores, self.validation_scores, self.test_scores = Scores(), Scores(), Scores()
        trained = self.trained_stages()
        self.frozen_stages = [name for name in backbone.stage_names if name not in trained]
        self.first_trained = next(
            (i for i, name in enumerate(backbone.stage_names) if name in trained), len(backbone.stage_names)
        )
        for name, stage in backbone.stages.items():
            stage.requires_grad_(name in trained)
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plan = self._make_plan()
        self.test_logits: list[Tensor] = []
        self.samples_trained, self.seconds_trained = 0, 0.0
        self._epoch_samples, self._epoch_start, self._epoch_seconds = 0, 0.0, 0.0
        self._start: dict[str, Tensor] = {}
        self._whole = True  # whether checkpoints hold what is frozen, too

    def trained_stages(self) -> list[str]:
        """Names of the backbone's stages that are trained."""
        raise NotImplementedError

    # --- what is trained, and how fast

    def _make_plan(self) -> list[Group]:
        base = dict(getattr(self.make_optimizer, "keywords", {}))
        if "lr" not in base:
            raise ConfigError("optimizer.lr is not set: every strategy derives its learning rates from it.")
        start = self.backbone.weights.name if self.backbone.weights.name else "random"
        groups = []
        for name, frozen in (("backbone", False), ("frozen", True)):
            stages = {k: v for k, v in self.backbone.stages.items() if (k in self.frozen_stages) == frozen}
            if stages:
                rate = None if frozen else float(base["lr"]) * self.backbone_lr_factor
                decay = None if frozen else base.get("weight_decay", 0.0)
                groups.append(Group(name, stages, rate, decay, start))
        groups.append(Group("head", {"head": self.head}, float(base["lr"]), base.get("weight_decay", 0.0), "random"))
        check_partition(groups, self)
        return groups

    def configure_optimizers(self) -> Any:
        """One parameter group for each trained group of the plan, each with a learning rate of its own."""
        groups = [
            {
                "params": group.parameters,
                "lr": group.learning_rate,
                "weight_decay": group.weight_decay,
                "name": group.name,
            }
            for group in self.plan
            if not group.frozen and group.size
        ]
        optimizer = self.make_optimizer(groups)
        if self.make_scheduler is None:
            return optimizer
        scheduler = self.make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def train(self, mode: bool = True) -> "Strategy":
        """Frozen stages stay in eval mode, whoever calls this: their statistics are used and not moved."""
        super().train(mode)
        for name in self.frozen_stages:
            self.backbone.stages[name].eval()
        return self

    # --- forward

    def features(self, inputs: Tensor) -> Tensor:
        """Pictures uint8 (N, 3, S, S), or what leaves the frozen prefix, to features (N, D)."""
        if inputs.is_floating_point():
            return self._upper(inputs if self.channels_last else inputs.contiguous())
        return self._features(self.normalise(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Pictures uint8 (N, 3, S, S), or what leaves the frozen prefix, to logits (N, classes)."""
        return self.head(self.features(inputs))

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes to what the weights were learned on."""
        x = images.to(self.pixel_scale.dtype)
        x = x.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        return x * self.pixel_scale + self.pixel_shift

    def _features(self, x: Tensor) -> Tensor:
        with torch.no_grad():  # nothing below is trained, so no activation has to be kept
            x = self.backbone.forward_stages(x, 0, self.first_trained)
        if self.first_trained == len(self.backbone.stages):
            x = self.backbone.pool(x)
        return self._upper(x)

    def _upper(self, x: Tensor) -> Tensor:
        """From what leaves the frozen prefix: a map, or features where every stage is frozen."""
        if self.first_trained == len(self.backbone.stages):
            return x
        return self.backbone.pool(self.backbone.forward_stages(x, self.first_trained))

    # --- steps

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy on a batch, mixed first if asked."""
        inputs, targets, _ = batch
        if self.mixes:
            x = self.normalise(inputs)
            rng = generator("mix", self.noise_seed, self.current_epoch, batch_idx)
            targets = self.task.soft(targets)
            for mix in self.mixes:
                x, targets = mix(x, targets, rng)
            logits = self.head(self._features(x))
        else:
            logits = self(inputs)
        loss = self.task.loss(logits, targets, training=True)
        self.train_scores.update(logits, targets, loss)
        self._epoch_samples += len(inputs)
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of the validation split."""
        self._evaluate(batch, self.validation_scores)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of the test split and keep its logits."""
        self.test_logits.append(self._evaluate(batch, self.test_scores).float().cpu())

    def _evaluate(self, batch: Batch, scores: Scores) -> Tensor:
        inputs, targets, _ = batch
        logits = self(inputs)
        scores.update(logits, targets, self.task.loss(logits, targets))
        return logits

    # --- hooks

    def fit(self, trainer: pl.Trainer, data: pl.LightningDataModule) -> int:
        """Train on the data, go back to the best epoch on validation, and say which it was.

        A strategy without gradient steps on pictures does it in its own way.
        """
        trainer.fit(self, datamodule=data)
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if not best:
            raise RuntimeError("No epoch was kept: the trainer has no checkpoint of the best epoch.")
        content = torch.load(best, map_location="cpu", weights_only=True)
        self.load_state_dict(self.state_dict() | content["state_dict"])
        return int(content["epoch"])

    @contextmanager
    def saving_without_frozen(self) -> Iterator[None]:
        """Checkpoints written meanwhile leave out what cannot have changed."""
        self._whole = False
        try:
            yield
        finally:
            self._whole = True

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave out what is frozen, if asked to."""
        if self._whole:
            return
        frozen = {f"backbone.stages.{name}" for name in self.frozen_tensors()}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k not in frozen}

    def learning_rate_of(self, name: str) -> str:
        """What the printed plan says about the learning rate of a group."""
        rate = next(group.learning_rate for group in self.plan if group.name == name)
        return "–" if rate is None else f"{rate:g}"

    def frozen_tensors(self) -> dict[str, Tensor]:
        """Parameters and statistics of the frozen stages, by name."""
        return {
            f"{name}.{key}": tensor
            for name in self.frozen_stages
            for key, tensor in self.backbone.stages[name].state_dict().items()
        }

    def on_fit_start(self) -> None:
        """Remember the frozen tensors."""
        self._start = {name: tensor.detach().clone() for name, tensor in self.frozen_tensors().items()}

    def on_fit_end(self) -> None:
        """Hold every frozen tensor against its start, bit for bit."""
        self.check_frozen()

    def check_frozen(self) -> None:
        """Raise if a frozen tensor is not bit-equal to its start."""
        for name, tensor in self.frozen_tensors().items():
            if not torch.equal(tensor, self._start[name]):
                raise RuntimeError(f"The frozen tensor {name} has changed during training.")

    def on_train_epoch_start(self) -> None:
        """Set every mode, whatever ran before, start the noise of dropout from its seed, and start the clock."""
        self.train()
        torch.manual_seed(stream("noise", self.noise_seed, self.current_epoch))
        self._epoch_samples, self._epoch_start = 0, time.perf_counter()

    def on_validation_epoch_start(self) -> None:
        """Training of this epoch is over when its validation begins."""
        self._stop_clock()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training scores, speed and learning rates."""
        seconds = self._stop_clock()
        scores = self.train_scores.compute()
        if not torch.isfinite(scores["loss"]):
            raise HeadstartError(
                f"Training diverged: the loss of epoch {self.current_epoch + 1} is {float(scores['loss'])};"
                " try a lower optimizer.lr."
            )
        self.log_dict({f"train/{name}": value for name, value in scores.items()})
        self.log("samples_per_second", self._epoch_samples / max(seconds, 1e-9))
        self.samples_trained += self._epoch_samples
        self.seconds_trained += seconds
        self._epoch_start = 0.0
        for group in self.optimizers().param_groups:  # type: ignore[union-attr]
            self.log(f"learning_rate/{group['name']}", float(group["lr"]))

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores."""
        scores = self.validation_scores.compute()
        self.log_dict({f"validation/{name}": value for name, value in scores.items()})

    def on_test_epoch_start(self) -> None:
        """Forget the logits of an earlier pass."""
        self.test_logits = []

    def on_test_epoch_end(self) -> None:
        """Log the test scores."""
        self.log_dict({f"test/{name}": value for name, value in self.test_scores.compute().items()})

    def _stop_clock(self) -> float:
        if self._epoch_start > 0:
            if self.device.type == "cuda":
                torch.cuda.synchronize(self.device)
            self._epoch_seconds = time.perf_counter() - self._epoch_start
            self._epoch_start = 0.0
        return self._epoch_seconds
