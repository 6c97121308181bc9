"""The base of all strategies: it owns loss, metrics, modes and learning rates; a subclass says what is trained."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import pytorch_lightning as pl
import torch
from pytorch_lightning.strategies import ModelParallelStrategy
from pytorch_lightning.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import ReduceLROnPlateau

from headstart import ranks
from headstart.augmentations.mixes import BatchMixing, Mix
from headstart.backbones import Backbone
from headstart.devices.shares import local, sharded
from headstart.errors import ConfigError, HeadstartError
from headstart.features.extract import extract
from headstart.precision import at_least_single
from headstart.progress import counted_batches
from headstart.seeds import generator, stream
from headstart.solvers.features import Features
from headstart.strategies import norms
from headstart.strategies.checks import above_zero, usable_rate
from headstart.strategies.divergence import Watch
from headstart.strategies.lr_finder import Clip, find_lr
from headstart.strategies.plan import PlanGroup, check_partition, optimizer_groups
from headstart.strategies.rates import stage_rates
from headstart.tasks import Classification, EpochScores
from headstart.tasks.consistency import jensen_shannon, log_mean
from headstart.tasks.heads import start_from_class_means

log = logging.getLogger(__name__)
RANDOM = "random"
# uint8 images (N, 3, S, S), or (V * N, ...) with V views of each, the first of all of them first; or floats that
# leave the frozen prefix; in training also what ``done()`` turns into images; labels (N,); positions (N,)
Batch = tuple[Any, Tensor, Tensor]


@runtime_checkable
class StepLogger(Protocol):
    """A logger that takes numbers of single steps."""

    def log_steps(self, what: str, steps: Sequence[tuple[int, dict[str, float]]]) -> None:
        """The numbers by name, for each step, counted from 0 over all epochs."""


class GoesOn(Protocol):
    """Where training was stopped and goes on."""

    @property
    def path(self) -> Path:
        """Lightning's checkpoint."""

    @property
    def epoch(self) -> int:
        """Of the next batch, counted from 0."""

    @property
    def batches(self) -> int:
        """How many of that epoch are done."""

    @property
    def complete(self) -> bool:
        """Whether nothing is left to train."""

    @property
    def best(self) -> str:
        """The checkpoint of the best epoch so far."""

    @property
    def strategy(self) -> Mapping[str, Any]:
        """What the strategy said of its progress."""


class Strategy(pl.LightningModule):
    """Backbone and new head, trained as the subclass says.

    ``optimizer`` takes parameter groups, ``scheduler`` an optimizer and ``total_steps``; ``augmented`` says whether
    the training images are augmented in any way. Where several views come of each image, all have its label; with
    a ``consistency`` above 0 only the first has, and the views' probabilities are pulled together by a Jensen-Shannon
    loss of this weight.

    ``lr`` is the head's learning rate: a number, None for the optimizer's own, or "auto" for one found by a range
    test. The backbone's is ``lr / head_lr_multiplier``, falling by ``layer_decay`` a stage from the top downward;
    ``stage_lr`` sets single stages. The head's biases get ``head_bias_lr_multiplier`` times the backbone's rate, if
    that is given. Biases and normalisation have no weight decay unless ``decay_norm_bias``.

    ``batch_norm`` is "frozen" (stored statistics), "update" (moving), "adapt" (estimated anew on at most
    ``batch_norm_images`` training images, in passes of ``norms.PASS`` whatever the batch size is, then stored), "batch"
    (always those of the batch), or "auto": update in stages that are trained from random weights, frozen elsewhere, as
    statistics that fit the weights are worth more than those of a few batches.

    The stages below ``prefix_end`` are the frozen prefix. Every step takes images, uint8, or what leaves that
    prefix, floating: the same, computed earlier.
    """

    pixel_scale: Tensor
    pixel_shift: Tensor
    pretrained = True  # whether the backbone starts from weights learned elsewhere
    in_phases = False  # whether some of what is trained rests in some epochs
    by_stage = False  # whether each stage is a group of its own, whatever its rate
    averaged_views: int | None = None  # features are means over so many views of an image

    def __init__(
        self,
        backbone: Backbone,
        task: Classification,
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
        decay_norm_bias: bool = False,
        batch_norm: str = "auto",
        batch_norm_images: int = 4096,
        channels_last: bool = True,
        head_seed: int = 0,
        noise_seed: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone = task.head.read(backbone)
        self.task = task
        self.head = task.make_head(backbone.feature_dim, head_seed)
        self.make_optimizer, self.make_scheduler = optimizer, scheduler
        self.mixes, self.augmented, self.noise_seed = list(mixes), augmented, noise_seed
        self.consistency = consistency
        self.channels_last = channels_last
        self._take_rates(lr, head_lr_multiplier, head_bias_lr_multiplier, layer_decay, stage_lr)
        self.decay_norm_bias = decay_norm_bias
        norms.check_mode(batch_norm, backbone, backbone.name)
        self.batch_norm, self.batch_norm_images = batch_norm, batch_norm_images
        mean, std = (
            torch.tensor(v).view(1, 3, 1, 1) * 255 for v in (backbone.preprocessing.mean, backbone.preprocessing.std)
        )
        self.register_buffer("pixel_scale", 1 / std, persistent=False)
        self.register_buffer("pixel_shift", -mean / std, persistent=False)
        self.train_scores, self.validation_scores, self.test_scores = EpochScores(), EpochScores(), EpochScores()
        self.change_layers()
        self._choose_trained()
        if channels_last:
            self.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.plan = self._make_plan()
        self.test_logits = torch.empty(0)
        self._test_batches: list[tuple[Tensor, Tensor]] = []
        self.selected: dict[str, Any] = {}  # what was chosen besides the epoch, for the record
        self.samples_trained, self.seconds_trained = 0, 0.0
        self._epoch_samples, self._epoch_start, self._epoch_seconds = 0, 0.0, 0.0
        self._start: dict[str, Tensor] = {}
        self._rates: list[tuple[int, dict[str, float]]] = []
        self._begun = False
        self._put_by: tuple[Backbone, nn.Module] | None = None  # backbone and head, while copies are shared out
        self._whole = True  # whether checkpoints hold what is frozen, too
        self._apart: list[tuple[Tensor, int]] = []  # how far apart views of so many images are said to be, in nats
        self.batch_parts = 1  # through how many passes a training batch goes, for want of memory
        self.watch = Watch(self)

    # --- what a subclass says

    def trained_stages(self) -> list[str]:
        """Names of the backbone's stages that are trained, or of which something is."""
        raise NotImplementedError

    def trains(self, layer: nn.Module, name: str) -> bool:
        """Whether a layer's own parameter of this name is trained, where its stage is."""
        return True

    def change_layers(self) -> None:
        """Put in layers of the strategy's own, before it is settled what is trained."""

    def started_from(self, stage: str) -> str:
        """Where the weights of a stage come from."""
        return (self.backbone.weights.name if self.pretrained else None) or RANDOM

    def head_started_from(self) -> str:
        """Where the weights of the head come from."""
        init = self.task.head.init
        return "random" if init == "default" else init.replace("_", " ")

    def decay(self) -> float:
        """The weight decay of all that is trained."""
        return self.weight_decay

    def trained_since(self, stage: str) -> int:
        """The epoch, counted from 1, from which a stage is trained if it is."""
        return 1

    def frozen_now(self) -> list[str]:
        """The stages that are frozen in this epoch."""
        return self.frozen_stages

    def open_phase(self) -> None:
        """Settle what is trained in this epoch, where that changes."""

    def penalty(self) -> Tensor | None:
        """What is added to the loss in training."""
        return None

    @property
    def wants_start_features(self) -> bool:
        """Whether the head starts from features of the training images."""
        return self.task.head.init == "class_means"

    def start_head(self, train: Features, validation: Callable[[], Features]) -> None:
        """Put weights into the head, from features of the network as it starts."""
        start_from_class_means(self.head, train.values, train.targets)

    def finish(self, trainer: pl.Trainer, data: pl.LightningDataModule) -> None:
        """What is left to do once the best epoch is back."""

    def refit(self) -> None:
        """Make the network that is tested of the one that was validated, where they differ."""

    def describe_choice(self, number: int, row: dict[str, float], tried: int) -> str:
        """Which of ``tried`` rows of scores was chosen, for people."""
        return f"epoch {number + 1} of {tried}, the best on validation"

    def choices(self, tried: int) -> dict[str, int]:
        """Return everything that validation chose, with the number of candidates; ``tried`` rows of scores are one."""
        return {"epoch": tried}

    # --- what is trained, and how fast

    def _take_rates(
        self,
        lr: float | str | None,
        head_lr_multiplier: float,
        head_bias_lr_multiplier: float | None,
        layer_decay: float,
        stage_lr: Mapping[str, float] | None,
    ) -> None:
        own = dict(getattr(self.make_optimizer, "keywords", {}))
        if "lr" not in own:
            raise ConfigError("optimizer.lr is not set: every strategy derives its learning rates from it.")
        self.weight_decay = own.get("weight_decay", 0.0)
        self.lr_wanted = lr == "auto"
        if self.lr_wanted and stage_lr:
            raise ConfigError("strategy.stage_lr sets rates as numbers, so strategy.lr cannot be auto.")
        if isinstance(lr, str) and not self.lr_wanted:
            raise ConfigError(f"strategy.lr={lr}: expected a number above 0, auto, or null for optimizer.lr.")
        self.lr = 1.0 if self.lr_wanted else above_zero("strategy.lr", own["lr"] if lr is None else lr)
        self.head_lr_multiplier = above_zero("strategy.head_lr_multiplier", head_lr_multiplier)
        self.head_bias_lr_multiplier = (
            None
            if head_bias_lr_multiplier is None
            else above_zero("strategy.head_bias_lr_multiplier", head_bias_lr_multiplier)
        )
        self.layer_decay = above_zero("strategy.layer_decay", layer_decay)
        if self.layer_decay > 1:
            raise ConfigError(f"strategy.layer_decay={layer_decay}: expected a number above 0 and at most 1.")
        self.stage_lr = stage_lr

    def _choose_trained(self) -> None:
        """Settle which stages are frozen, what of the others is trained, and where the frozen prefix ends."""
        backbone, trained = self.backbone, self.trained_stages()
        for name, stage in backbone.stages.items():
            for layer in stage.modules():
                for key, parameter in layer.named_parameters(recurse=False):
                    parameter.requires_grad_(name in trained and self.trains(layer, key))
        self.frozen_stages = [
            name for name, stage in backbone.stages.items() if not any(p.requires_grad for p in stage.parameters())
        ]
        self.statistics = {
            name: self._own_statistics(name) if self.batch_norm == "auto" else self.batch_norm
            for name, stage in backbone.stages.items()
            if norms.batch_norms(stage)
        }
        moving = [
            number
            for number, name in enumerate(backbone.stage_names)
            if name not in self.frozen_stages or self.statistics.get(name) in ("update", "batch")
        ]
        self.prefix_end = min([*moving, backbone.taps[0] + 1]) if moving else len(backbone.stages)

    def _own_statistics(self, stage: str) -> str:
        """The mode of batch norm that suits a stage."""
        return "update" if stage not in self.frozen_stages and self.started_from(stage) == RANDOM else "frozen"

    def _make_plan(self) -> list[PlanGroup]:
        backbone = self.backbone
        trained = [name for name in backbone.stage_names if name not in self.frozen_stages]
        rates = stage_rates(
            backbone.stage_names, trained, self.lr / self.head_lr_multiplier, self.layer_decay, self.stage_lr,
            backbone.name,
        )  # fmt: skip
        apart = self.by_stage or len(set(rates.values())) > 1
        grouped: dict[tuple[Any, ...], list[str]] = {}
        for name in backbone.stage_names:
            label = (name if apart else "backbone") if name in rates else "frozen"
            key = (label, rates.get(name), self.started_from(name))
            grouped.setdefault(key, []).append(name)
        groups = []
        for (label, rate, start), stages in grouped.items():
            alike = sum(key[0] == label for key in grouped) > 1  # as where some stages start from elsewhere
            parameters = [p for name in stages for p in backbone.stages[name].parameters()]
            groups.append(
                PlanGroup(
                    f"{label} {'+'.join(stages)}" if alike else label,
                    ", ".join(stages),
                    parameters,
                    rate,
                    None if rate is None else self.decay(),
                    start,
                    [p for p in parameters if p.requires_grad],
                    ", ".join(dict.fromkeys(self.statistics[n] for n in stages if n in self.statistics)) or None,
                    self.trained_since(stages[0]),
                )
            )
        groups += self._head_groups()
        check_partition(groups, self)
        return groups

    def _head_groups(self) -> list[PlanGroup]:
        named = dict(self.head.named_parameters())
        biases = [p for name, p in named.items() if name.rpartition(".")[2] == "bias"]
        start = self.head_started_from()
        where = type(self.head).__name__ if len(list(self.head.children())) == 0 else self.task.head.kind
        if self.head_bias_lr_multiplier is not None and not biases:
            raise ConfigError(
                f"strategy.head_bias_lr_multiplier={self.head_bias_lr_multiplier:g}: the {self.task.head.kind} head has"
                " no biases; leave it null."
            )
        if self.head_bias_lr_multiplier is None:
            everything = list(named.values())
            return [PlanGroup("head", where, everything, self.lr, self.decay(), start, everything)]
        weights = [p for p in named.values() if not any(p is bias for bias in biases)]
        bias_rate = usable_rate("the head's biases", self.lr / self.head_lr_multiplier * self.head_bias_lr_multiplier)
        return [
            PlanGroup("head", where, weights, self.lr, self.decay(), start, weights),
            PlanGroup("head bias", where, biases, bias_rate, self.decay(), start, biases),
        ]

    def configure_optimizers(self) -> Any:
        """Parameter groups with a learning rate of their own for each trained group of the plan."""
        optimizer = self.make_optimizer(optimizer_groups(self.plan, self.decay_norm_bias))
        if self.make_scheduler is None:
            return optimizer
        made = self.make_scheduler(optimizer, total_steps=int(self.trainer.estimated_stepping_batches))
        told = [
            {"scheduler": scheduler, "interval": "epoch", "monitor": "validation/loss"}
            if isinstance(scheduler, ReduceLROnPlateau)
            else {"scheduler": scheduler, "interval": "step"}
            for scheduler in (made if isinstance(made, tuple) else (made,))
        ]
        return [optimizer], told

    def train(self, mode: bool = True) -> "Strategy":
        """Frozen stages stay in eval mode, whoever calls this; batch norm goes by its own mode."""
        super().train(mode)
        for name in self.frozen_now():
            self.backbone.stages[name].eval()
        for name, statistics in self.statistics.items():
            if self.batch_norm == "auto" and name in self.frozen_now():
                statistics = "frozen"
            norms.set_statistics(norms.batch_norms(self.backbone.stages[name]), statistics, mode)
        return self

    # --- forward

    def features(self, inputs: Tensor) -> Tensor:
        """Images uint8 (N, 3, S, S), or what leaves the frozen prefix, to features (N, D)."""
        if inputs.is_floating_point():
            return self._upper(inputs if self.channels_last else inputs.contiguous())
        return self._features(self.normalise(inputs))

    def forward(self, inputs: Tensor) -> Tensor:
        """Images uint8 (N, 3, S, S), or what leaves the frozen prefix, to logits (N, classes)."""
        return self.head(self.features(inputs))

    def normalise(self, images: Tensor) -> Tensor:
        """Bytes to what the weights were learned on."""
        x = images.to(self.pixel_scale.dtype)
        x = x.contiguous(memory_format=torch.channels_last if self.channels_last else torch.contiguous_format)
        return x * self.pixel_scale + self.pixel_shift

    def _features(self, x: Tensor) -> Tensor:
        with torch.no_grad():  # nothing below is trained, so no activation has to be kept
            if self.prefix_end == len(self.backbone.stages):
                return self.backbone(x)
            x = self.backbone.forward_stages(x, 0, self.prefix_end)
        return self._upper(x)

    def _upper(self, x: Tensor) -> Tensor:
        """From what leaves the frozen prefix: a map, or features where every stage is frozen."""
        if self.prefix_end == len(self.backbone.stages):
            return x
        return self.backbone(x, self.prefix_end)

    # --- weights that are shared out

    def configure_model(self) -> None:
        """Train copies of which each process holds a share, where the trainer asks for it (trainer=fsdp)."""
        lightning = self.trainer.strategy
        if not isinstance(lightning, ModelParallelStrategy) or lightning.world_size == 1:
            return
        if self.trainer.state.fn != TrainerFn.FITTING:  # no gradients, so there is room for all of it
            return
        self.to("cpu")
        self._put_by = (self.backbone, self.head)
        assert self.device_mesh is not None
        mesh = self.device_mesh["data_parallel"]
        self.backbone, self.head = sharded(self.backbone, self.head, self.frozen_stages, mesh)
        self.plan = self._make_plan()

    def _put_together(self, trainer: pl.Trainer) -> None:
        """Go back to the network that every process has; it is as it was before the fit."""
        if self._put_by is None:
            return
        (self.backbone, self.head), self._put_by = self._put_by, None
        self.plan = self._make_plan()
        trainer.strategy.optimizers = []  # they hold on to the copies
        self.to(trainer.strategy.root_device)

    def _share_statistics(self) -> None:
        """Moving statistics are those of the first process, as with DDP, which sees to it itself."""
        layers = [
            layer
            for name, mode in self.statistics.items()
            if mode == "update"
            for layer in norms.batch_norms(self.backbone.stages[name])
        ]
        ranks.take_from_leader([b for layer in layers for b in layer.buffers() if b.is_floating_point()])

    # --- steps

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Cross-entropy on a batch, mixed first if asked, the views' consistency and the strategy's penalty."""
        targets, count = batch[1], len(batch[1])
        inputs = finished(batch[0])
        if len(inputs) > count and not self.consistency:
            targets = targets.repeat(len(inputs) // count)
        if self.mixes:
            x, targets, within = self._mixed(inputs, targets, batch_idx)
            with self._mixing(within):
                loss = self._loss(lambda part: self.head(self._features(part)), x, targets, batch_idx)
        else:
            loss = self._loss(self, inputs, targets, batch_idx)
        self._epoch_samples += count
        penalty = self.penalty()
        # Lightning averages gradients over processes, whose shares of a batch may differ by an image.
        loss = loss * ranks.weight(count, loss.device)
        return loss if penalty is None else loss + penalty

    def mixings(self, count: int, shape: tuple[int, int], epoch: int, batch_idx: int) -> list[BatchMixing]:
        """How the images of a batch are mixed, one way after the other."""
        rng = generator("mix", self.noise_seed, epoch, batch_idx, *ranks.key())
        return [mix.draw(rng, count, shape) for mix in self.mixes]

    def _mixed(self, inputs: Tensor, targets: Tensor, batch_idx: int) -> tuple[Tensor, Tensor, BatchMixing | None]:
        """Images as the network takes them, and soft targets, both mixed; and what is left to mix within."""
        x, targets, within = self.normalise(inputs), self.task.soft(targets), None
        for mixing in self.mixings(len(x), (x.shape[-2], x.shape[-1]), self.current_epoch, batch_idx):
            if mixing.stage is None:
                x = mixing.inputs(x)
            else:
                within = mixing
            targets = mixing.targets(targets)
        return x, targets, within

    @contextmanager
    def _mixing(self, within: BatchMixing | None) -> Iterator[None]:
        """Mix what leaves a stage, in every pass meanwhile."""
        if within is None or within.stage is None:
            yield
            return
        stage = self.backbone.stages[within.stage]
        handle = stage.register_forward_hook(lambda module, inputs, output: within.inputs(output))
        try:
            yield
        finally:
            handle.remove()

    def _loss(self, network: Callable[[Tensor], Tensor], inputs: Tensor, targets: Tensor, batch_idx: int) -> Tensor:
        """The mean loss of a batch; of one in parts, what of it the last part still has to pass backward."""
        if self.batch_parts > 1 and batch_idx % self.trainer.accumulate_grad_batches == 0:
            self.optimizers().zero_grad()  # type: ignore[union-attr]  # Lightning would do it between our passes
        parts = _in_parts(inputs, targets, self.batch_parts)
        for number, (part, labels) in enumerate(parts, 1):
            logits = network(part)
            told = logits[: len(labels)]  # of several views the first
            loss = self.task.loss(told, labels, training=True)
            self.train_scores.update(told, labels, loss)
            if self.consistency:
                apart = jensen_shannon(logits.unflatten(0, (-1, len(labels))))
                self._apart.append((apart.detach(), len(labels)))
                loss = loss + self.consistency * apart
            self.watch.see(loss, self.global_step)
            loss = loss if len(parts) == 1 else loss * (len(labels) / len(targets))
            if number < len(parts):
                self.trainer.strategy.backward(loss / self.trainer.accumulate_grad_batches, None)
        return loss

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Not here for a batch in parts: its first ones have left gradients by now."""
        if self.batch_parts == 1:
            optimizer.zero_grad()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of the validation split."""
        self._evaluate(batch, self.validation_scores)

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Score a batch of the test split and keep its logits."""
        logits = self._evaluate(batch, self.test_scores)
        self._test_batches.append((at_least_single(logits).cpu(), batch[2].cpu()))

    def predict_step(self, batch: Batch, batch_idx: int = 0) -> tuple[Tensor, Tensor]:
        """Logits of a batch, and the positions of its images."""
        return at_least_single(self.over_views(batch[0], len(batch[2]))).cpu(), batch[2].cpu()

    def _evaluate(self, batch: Batch, scores: EpochScores) -> Tensor:
        inputs, targets, _ = batch
        logits = self.over_views(inputs, len(targets))
        scores.update(logits, targets, self.task.loss(logits, targets))
        return logits

    def over_views(self, inputs: Tensor, count: int) -> Tensor:
        """Logits of ``count`` images; where several views of each come in, logarithms of their mean probabilities."""
        if len(inputs) == count:
            return self(inputs)
        # One view of all images at a time, which takes no more memory than one view alone; where the batch matters,
        # all of them make it.
        parts = [inputs] if self.batch_norm == "batch" else inputs.split(count)
        return mean_over_views(torch.cat([self(part) for part in parts]), count)

    # --- hooks

    def begin(self, data: Any, device: torch.device) -> None:
        """What comes before anything is computed: statistics of batch norm are estimated anew, if asked for."""
        if self._begun:
            return
        self._begun = True
        data.mixed_evaluation = self.batch_norm == "batch"
        if self.batch_norm == "adapt":
            self.to(device)
            with ranks.alone():  # the same everywhere, up to rounding, which is the leader's
                passes = data.mixed_dataloader(self.batch_norm_images, norms.PASS)
                pixels = (
                    self.normalise(batch[0].to(device)) for batch in counted_batches(passes, "statistics of batch norm")
                )
                norms.estimate_statistics(self.backbone, norms.batch_norms(self.backbone), pixels)
            ranks.copy_from_leader(self.backbone)
            images = min(len(data.train), self.batch_norm_images)
            log.info("batch norm: statistics estimated anew on %d training images", images)

    def fit(self, trainer: pl.Trainer, data: Any, start: Any = None, progress: GoesOn | None = None) -> int:
        """Train on the data, go back to the best epoch on validation, and say which it was.

        ``start`` gives the features of the network as it starts, if they are wanted and kept. With ``progress`` the
        start is made again, as everything later refers to it, and training goes on from there. A strategy without
        gradient steps on images does it in its own way.
        """
        device: Any = trainer.strategy.root_device
        self.begin(data, device)
        self.to(device)
        with trainer.precision_plugin.forward_context():
            if self.wants_start_features:
                train, validation = self.start_features(start or data, device, whole=start is not None)
                self.start_head(train, validation)
                ranks.copy_from_leader(self.head)
            if self.lr_wanted:
                clip = Clip(trainer.gradient_clip_val, str(trainer.gradient_clip_algorithm or "norm"))
                with ranks.alone():
                    batches = data.train_dataloader()
                    found = find_lr(self, batches, device, trainer.loggers, clip) if ranks.leads() else self.lr
                self.lr = ranks.from_leader(found)
                self.lr_wanted = False
                self.selected["lr"] = self.lr
                self.plan = self._make_plan()
        if progress is None:
            trainer.fit(self, datamodule=data)
        elif not progress.complete:
            data.goes_on_at = (progress.epoch, progress.batches)
            trainer.fit(self, datamodule=data, ckpt_path=str(progress.path), weights_only=True)
        else:
            self.take_up(progress.strategy)
        self._put_together(trainer)
        best = getattr(trainer.checkpoint_callback, "best_model_path", "") or (progress and progress.best)
        if not best:
            raise HeadstartError(
                "No epoch came to its end, so no network is kept; use a longer trainer.max_time, or none, and a trainer"
                " that keeps the best epoch."
            )
        content = ranks.from_leader(
            torch.load(best, map_location="cpu", weights_only=True) if ranks.leads() else {}  # one machine may have it
        )
        self.load_state_dict(self.state_dict() | content["state_dict"])
        self.finish(trainer, data)
        return int(content["epoch"])

    def start_features(
        self, data: Any, device: torch.device, whole: bool = False
    ) -> tuple[Features, Callable[[], Features]]:
        """Features of the training images, and how to get those of validation.

        ``whole``: what is floating in ``data`` has passed the whole network, and not only the frozen prefix.
        """
        self.eval()

        def network(inputs: Tensor) -> Tensor:
            return inputs if whole and inputs.is_floating_point() else self.features(inputs)

        def passed(loader: Callable[[], Any], what: str) -> Features:
            with ranks.alone():
                return extract(network, loader(), device, what)

        train = passed(data.train_eval_dataloader, "train features")
        return train, lambda: passed(data.val_dataloader, "validation features")

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

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """What is frozen may be left out: it is what it was."""
        frozen = {f"backbone.stages.{name}": tensor for name, tensor in self.frozen_tensors().items()}
        checkpoint["state_dict"] = {**frozen, **checkpoint["state_dict"]}

    def progress(self) -> dict[str, Any]:
        """What ``take_up`` needs beside weights and optimizer: plain values and tensors."""
        return {
            "scores": ranks.gathered([self.train_scores.state()]),  # of each process
            "rates": self._rates,
            "apart": ranks.gathered([(float(value), images) for value, images in self._apart]),
            "samples": (self.samples_trained, int(ranks.total(self._epoch_samples))),
            "seconds": (self.seconds_trained, self.running_seconds()),
        }

    def take_up(self, progress: Mapping[str, Any], mid_epoch: bool = False) -> None:
        """Go on from there; within an epoch, its modes are set and its clock is started here."""
        self.samples_trained, samples = progress["samples"]
        self._epoch_samples = samples if ranks.leads() else 0
        self.seconds_trained, so_far = progress["seconds"]
        if not mid_epoch:
            return
        for scores in progress["scores"][ranks.rank() :: ranks.world()]:
            self.train_scores.take_up(scores, self.device)
        self._rates = [(step, dict(rates)) for step, rates in progress["rates"]]
        if ranks.leads():
            self._apart = [(torch.tensor(value), images) for value, images in progress["apart"]]
        self.open_phase()
        self.train()
        self._epoch_start = time.perf_counter() - so_far

    def learning_rate_of(self, name: str) -> str:
        """What the printed plan says about the learning rate of a group."""
        rate = next(group.learning_rate for group in self.plan if group.name == name)
        if rate is None:
            return "–"
        return f"auto x {rate:g}" if self.lr_wanted else f"{rate:g}"

    def frozen_tensors(self) -> dict[str, Tensor]:
        """Parameters that are not trained and statistics that do not move, by name."""
        free = {id(parameter) for group in self.plan for parameter in group.trained}
        for name, mode in self.statistics.items():
            if mode == "update":
                free |= {id(b) for layer in norms.batch_norms(self.backbone.stages[name]) for b in layer.buffers()}
        return {
            f"{name}.{key}": tensor
            for name, stage in self.backbone.stages.items()
            for key, tensor in stage.state_dict(keep_vars=True).items()
            if id(tensor) not in free
        }

    def on_fit_start(self) -> None:
        """Remember the frozen tensors."""
        self._start = {name: local(tensor).clone() for name, tensor in self.frozen_tensors().items()}

    def on_fit_end(self) -> None:
        """Hold every frozen tensor against its start, bit for bit."""
        self.check_frozen()

    def check_frozen(self) -> None:
        """Raise if a frozen tensor is not bit-equal to its start."""
        for name, tensor in self.frozen_tensors().items():
            if not torch.equal(local(tensor), self._start[name]):
                raise RuntimeError(f"The frozen tensor {name} has changed during training.")

    def on_train_epoch_start(self) -> None:
        """Set every mode, whatever ran before, and start the clock."""
        self.open_phase()
        self.train()
        self._epoch_samples, self._epoch_start = 0, time.perf_counter()
        self._apart = []

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """The noise of dropout is of this step, whatever was drawn before."""
        torch.manual_seed(stream("noise", self.noise_seed, self.current_epoch, batch_idx, *ranks.key()))

    def on_validation_epoch_start(self) -> None:
        """Training of this epoch is over when its validation begins."""
        self.stop_clock()

    def on_train_epoch_end(self) -> None:
        """Log the epoch's training scores, speed and learning rates."""
        seconds = self.stop_clock()
        self.watch.check()
        scores = self.train_scores.compute()
        self.log_dict({f"train/{name}": value for name, value in scores.items()})
        if self.consistency:
            apart = ranks.total(sum(float(value) * images for value, images in self._apart))
            self.log("train/jsd", apart / max(1, ranks.total(sum(images for _, images in self._apart))))
        samples = ranks.total(self._epoch_samples)
        self.log("samples_per_second", samples / max(seconds, 1e-9))
        self.samples_trained += int(samples)
        self.seconds_trained += seconds
        self._epoch_start = 0.0
        for name, rate in self.learning_rates(self.optimizers()).items():
            self.log(f"learning_rate/{name}", rate)
        for logger in self.loggers:
            if isinstance(logger, StepLogger):
                logger.log_steps("learning_rate", self._rates)
        self._rates = []

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Note with which learning rates this step is made; the pass is over, so statistics may be changed."""
        if self._put_by is not None:
            self._share_statistics()
        self._rates.append((self.global_step, self.learning_rates(optimizer)))

    def learning_rates(self, optimizer: Any) -> dict[str, float]:
        """The rate of each trained group of the plan at this moment; 0 for what is frozen in this epoch."""
        return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}

    def on_validation_epoch_end(self) -> None:
        """Log the validation scores."""
        scores = self.validation_scores.compute()
        self.watch.see_validation(scores["loss"])
        self.log_dict({f"validation/{name}": value for name, value in scores.items()})

    def on_test_epoch_start(self) -> None:
        """Forget the logits of an earlier pass."""
        self._test_batches = []

    def on_test_epoch_end(self) -> None:
        """Log the test scores, and put the logits into the order of the images."""
        self.test_logits = in_order(ranks.gathered(self._test_batches))
        self.log_dict({f"test/{name}": value for name, value in self.test_scores.compute().items()})

    def stop_clock(self) -> float:
        """The steps of an epoch are made; the seconds that they took, whoever asks again."""
        if self._epoch_start > 0:
            self._epoch_seconds = self.running_seconds()
            self._epoch_start = 0.0
        return self._epoch_seconds

    def running_seconds(self) -> float:
        """How long the steps of this epoch have taken so far; 0 between epochs."""
        if self._epoch_start <= 0:
            return 0.0
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - self._epoch_start


def mean_over_views(logits: Tensor, count: int) -> Tensor:
    """Logits (V * count, classes), V views of each, to the logarithms of mean probabilities (count, classes)."""
    return log_mean(at_least_single(logits).log_softmax(dim=1).unflatten(0, (-1, count)))


def finished(inputs: Any) -> Tensor:
    """Images whose last views the loader left to the device, seen through them; others as they are."""
    return inputs if isinstance(inputs, Tensor) else inputs.done()  # type: ignore[no-any-return]


def _in_parts(inputs: Tensor, targets: Tensor, parts: int) -> list[tuple[Tensor, Tensor]]:
    """A batch in so many parts, none empty; the views of an image stay together."""
    if parts == 1:
        return [(inputs, targets)]
    views = inputs.unflatten(0, (-1, len(targets))).tensor_split(parts, dim=1)
    pairs = zip(views, targets.tensor_split(parts), strict=True)
    return [(part.flatten(0, 1), labels) for part, labels in pairs if len(labels)]


def in_order(batches: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Logits (N, classes) in the order of the images, from batches of logits and positions."""
    logits, positions = (torch.cat(parts) for parts in zip(*batches, strict=True))
    return logits[positions.argsort()]
