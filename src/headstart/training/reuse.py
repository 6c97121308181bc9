"""Cache the output of a run's frozen prefix, which is the same in every epoch."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from headstart import ranks
from headstart.data import ImageData, ImageSplit
from headstart.errors import ConfigError
from headstart.features.frozen_data import FrozenData
from headstart.features.keeping import Keeper
from headstart.features.prefix import FrozenPrefix
from headstart.features.settings import FeatureSettings
from headstart.features.store import Store
from headstart.strategies import Strategy

log = logging.getLogger(__name__)
AUTOCAST = {"32-true": None, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
LIMITS = ("limit_train_batches", "limit_val_batches", "limit_test_batches")


def check_views(
    settings: FeatureSettings,
    strategy: Strategy,
    trainer: pl.Trainer,
    train: ImageSplit,
    test_views: str | None = None,
) -> None:
    """Raise ConfigError if requested views cannot be cached, as the run would differ without them."""
    if train.branches > 1 and (strategy.averaged_views is not None or settings.views is not None):
        asked = "strategy" if strategy.averaged_views is not None else "features"
        raise ConfigError(
            f"{asked}.views caches one view of an image at a time, but the augmentation gives {train.branches}"
            " (crop_resize.copies, augmix.jsd): leave one of the two out."
        )
    if strategy.averaged_views is not None and test_views:
        raise ConfigError(
            f"test_views={test_views}: strategy.views already averages views in every split; leave one out."
        )
    if strategy.averaged_views is not None:
        reason = hindrance(trainer) if settings.enabled else "as features.enabled is false"
        if reason is None and strategy.plan.prefix_end < len(strategy.backbone.stages):
            reason = f"as strategy.batch_norm is {strategy.batch_norm}"
        if reason:
            raise ConfigError(
                f"strategy.views={strategy.averaged_views} averages cached features, but none are cached, {reason}."
            )
        if settings.views is not None:
            raise ConfigError(
                "strategy.views averages views, features.views uses one per epoch: leave one of them out."
            )
    if settings.views is None or not strategy.plan.prefix_end or not strategy.augmented:
        return
    if strategy.mixes:
        names = ", ".join(type(mix).__name__.lower() for mix in strategy.mixes)
        raise ConfigError(
            f"features.views={settings.views} caches views of single images, but {names} mixes batches of them: leave"
            " one of the two out."
        )
    if reason := hindrance(trainer):
        raise ConfigError(f"features.views={settings.views} cannot be cached, {reason}; use features.views=null.")


def hindrance(trainer: pl.Trainer) -> str | None:
    """Return why this trainer cannot use features in place of images; None if it can."""
    limits = [getattr(trainer, name) for name in LIMITS]
    if any(isinstance(limit, int) or limit != 1.0 for limit in limits):  # 1 is one batch, 1.0 is all
        return "as the trainer's limit_..._batches leaves images out"
    if str(trainer.precision) not in AUTOCAST:
        return f"as trainer.precision is {trainer.precision}"
    device: Any = trainer.strategy.root_device
    return f"as the device is {device.type}" if device.type not in ("cpu", "cuda") else None


def frozen_data(
    settings: FeatureSettings,
    folder: Path,
    strategy: Strategy,
    data: ImageData,
    trainer: pl.Trainer,
    whole: bool = False,
) -> FrozenData | None:
    """Return the data with features in place of images; None without a frozen prefix, or if caching is off.

    With ``whole``, return features of the whole current network, even if it will be trained.
    """
    stop = len(strategy.backbone.stages) if whole else strategy.plan.prefix_end
    if not settings.enabled or not stop or (whole and strategy.batch_norm == "batch"):
        return None
    if reason := hindrance(trainer):
        log.info("features are not cached, %s", reason)
        return None
    prefix = FrozenPrefix(strategy.backbone, stop, strategy.pixel_scale, strategy.pixel_shift, strategy.channels_last)
    everything = len(data.train) + len(data.validation) + len(data.test)
    store = Store(folder, settings.max_bytes())
    device: Any = trainer.strategy.root_device
    autocast = AUTOCAST[str(trainer.precision)]
    with ranks.leader_first():  # the leader times the engines, and the others use its choice
        keeper = Keeper(prefix, settings, store, device, autocast, data.train.without_views(), everything)
    views = settings.views if data.train.views and not strategy.mixes else None
    if views is not None:
        views = min(views, trainer.max_epochs or views)
        log.info("features.views=%d: views of the first %d epochs are cached and repeated", settings.views, views)
    return FrozenData(data, keeper, views, mixes_follow=bool(strategy.mixes), averaged=strategy.averaged_views)
