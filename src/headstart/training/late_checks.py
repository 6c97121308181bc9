"""Check, before training, what can be checked only with the data, the network and the trainer."""

import logging
from collections.abc import Sequence

import pytorch_lightning as pl
import torch
from omegaconf import DictConfig
from pytorch_lightning.strategies import Strategy as LightningStrategy
from torch import Tensor, nn

from headstart.data import ImageData
from headstart.devices.sharding import INSTEAD, Sharded
from headstart.errors import ConfigError, DataError, nearest
from headstart.pretraining.monitor import watched
from headstart.settings.leaf_table import LOGGED
from headstart.strategies import Strategy
from headstart.strategies.modes import batch_norms
from headstart.tasks.several import Several

log = logging.getLogger(__name__)


def check_monitors(callbacks: Sequence[pl.Callback], strategy: Strategy, data: ImageData) -> None:
    """Raise ConfigError for a callback that watches a number which no epoch of this strategy logs."""
    if not strategy.by_gradient:  # no callback is called
        return
    rates = [f"learning_rate/{group.name}" for group in strategy.plan.groups if not group.frozen]
    task, primary = strategy.task, strategy.task.primary
    names = [primary, *(task.metric_names if isinstance(task, Several) else [])]
    of_embeddings = watched(torch.from_numpy(data.validation.targets)) if getattr(strategy, "monitor", None) else []
    logged = [
        *(f"{split}/{name}" for name in names for split in ("validation", "train")),
        *(f"validation/{name}" for name in of_embeddings),
        *LOGGED,
        *rates,
        *(["train/jsd"] if strategy.consistency else []),
    ]
    for callback in callbacks:
        monitor = getattr(callback, "monitor", None)
        if not isinstance(monitor, str):
            continue
        name = type(callback).__name__
        if monitor not in logged:
            raise ConfigError(
                f"{name}.monitor={monitor}: this run logs no such number, only {', '.join(logged)}."
                f"{hint if (hint := nearest(monitor, logged)).startswith(' Did') else ''}"
            )
        early = [getattr(callback, f"_{what}_on_train_epoch_end", None) is False for what in ("check", "save")]
        if any(early) and not monitor.startswith("validation/"):
            raise ConfigError(
                f"{name}.monitor={monitor} is known only at the end of an epoch: leave its ..._on_train_epoch_end at"
                f" null, or watch validation/{primary}."
            )


def check_limits(trainer: pl.Trainer, data: ImageData) -> None:
    """Raise ConfigError if a fraction of the batches is less than one batch."""
    for name, split in (("train", data.train), ("val", data.validation), ("test", data.test), ("predict", data.test)):
        share, batches = getattr(trainer, f"limit_{name}_batches"), -(-len(split) // data.batch_size)
        if isinstance(share, float) and not int(share * batches):
            raise ConfigError(
                f"trainer.limit_{name}_batches={share} is less than one of {batches} batches; expected at least"
                f" {1 / batches:.3g}, or a number of batches."
            )


def check_statistics(strategy: Strategy, data: ImageData, world: int, parts: int = 1) -> None:
    """Raise ConfigError if batch norm would compute statistics from one value per channel.

    That happens in a pass of one image with a map of one pixel. ``world`` processes share a batch, and each share
    passes through the network in ``parts`` parts.
    """
    by_mode = {mode: [s for s, m in strategy.plan.statistics.items() if m == mode] for mode in ("update", "batch")}
    passes = {
        "update": _fewest(len(data.train), data.batch_size, world * parts) * data.train.branches,
        "batch": min(
            _fewest(len(split), data.batch_size, world * parts) for split in (data.train, data.validation, data.test)
        ),
    }
    for mode, stages in by_mode.items():
        if passes[mode] > 1 or not stages:
            continue
        for stage in _of_one_pixel(strategy, stages):
            raise ConfigError(
                f"dataset.batch_size={data.batch_size} leads to a pass of one image, which gives batch norm of {stage}"
                " one value per channel and no statistics: expected a larger dataset.batch_size, or"
                " strategy.batch_norm=frozen."
            )


def _fewest(images: int, batch_size: int, shares: int) -> int:
    """Return the number of images of the smallest pass; batches differ by at most one image."""
    batches = -(-images // batch_size)
    return max(1, images // batches // shares)


@torch.no_grad()
def _of_one_pixel(strategy: Strategy, stages: Sequence[str]) -> list[str]:
    """Return the stages in which a batch norm gets a map of one pixel."""
    found: list[str] = []
    handles = []
    for stage in stages:

        def look(module: nn.Module, inputs: tuple[Tensor, ...], stage: str = stage) -> None:
            if inputs[0].numel() == inputs[0].shape[1] and stage not in found:
                found.append(stage)

        handles += [layer.register_forward_pre_hook(look) for layer in batch_norms(strategy.backbone.stages[stage])]
    size, training = strategy.backbone.preprocessing.image_size, strategy.training
    try:
        strategy.backbone.eval()(strategy.normalise(strategy.backbone.signature.example(1, size)))
    finally:
        for handle in handles:
            handle.remove()
        strategy.train(training)
    return found


def check_shares(data: ImageData, strategy: Strategy, world: int) -> None:
    """Raise an error unless the work can be shared, with an image of every batch and split for every process."""
    if world == 1:
        return
    if not strategy.by_gradient:
        raise ConfigError(
            f"strategy={strategy.config_name()} computes its head in one process, so {world} processes have nothing to"
            " share: use trainer.devices=1."
        )
    batches = -(-len(data.train) // data.batch_size)
    smallest = len(data.train) // batches
    if smallest < world:
        raise ConfigError(
            f"dataset.batch_size={data.batch_size} makes batches of {smallest}, too few for {world} processes to share:"
            f" expected at least {world}, or fewer trainer.devices."
        )
    for name in ("validation", "test"):
        if (count := len(getattr(data, name))) < world:
            raise DataError(
                f"The {name} split holds {count} images, too few for {world} processes; use trainer.devices={count}."
            )


def check_sharding(strategy: Strategy, lightning: LightningStrategy, world: int) -> None:
    """Raise ConfigError unless the trained weights can be sharded."""
    if not isinstance(lightning, Sharded) or world == 1:
        return
    if type(strategy).penalty is not Strategy.penalty:
        raise ConfigError(
            f"trainer=fsdp: the penalty of {type(strategy).__name__} needs the weights of all stages at once, and no"
            f" process holds them all; {INSTEAD}."
        )
    trained = [stage for name, stage in strategy.backbone.stages.items() if name not in strategy.plan.frozen_stages]
    single = [name for part in (*trained, strategy.head) for name, p in part.named_parameters() if not p.ndim]
    if single:
        raise ConfigError(
            f"trainer=fsdp cannot shard {single[0]}, a single number"
            f"{' (of head=cosine)' if single[0] == 'scale' else ''}; {INSTEAD}."
        )


def warn_of_corners(config: DictConfig, data: ImageData) -> None:
    """Warn if test views of corners have no margin."""
    if config.get("test_views") in ("five_crop", "ten_crop") and data.test.images.decoder.short_side == data.test.size:
        log.warning(
            "test_views=%s: the centre crop covers the whole short side, so corners differ only along the long side;"
            " dataset.crop_fraction=0.875 gives them a margin",
            config.test_views,
        )
