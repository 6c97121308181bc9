"""What of a run's work is the same in every epoch: its frozen prefix, done once."""

import logging
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from headstart.data import PictureData
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


def check_views(settings: FeatureSettings, strategy: Strategy) -> None:
    """A mix of whole batches leaves no view of a picture that could be kept."""
    if settings.enabled and settings.views is not None and strategy.first_trained and strategy.mixes:
        names = ", ".join(type(mix).__name__.lower() for mix in strategy.mixes)
        raise ConfigError(
            f"features.views={settings.views} keeps views of single pictures, {names} mixes batches of them: leave one"
            " of the two out."
        )


def frozen_data(
    settings: FeatureSettings, folder: Path, strategy: Strategy, data: PictureData, trainer: pl.Trainer
) -> FrozenData | None:
    """The data with features in place of pictures; None where nothing is frozen from below, or it is turned off."""
    if not settings.enabled or not strategy.first_trained:
        return None
    limits = [getattr(trainer, name) for name in LIMITS]
    if any(isinstance(limit, int) or limit != 1.0 for limit in limits):  # 1 is a batch, 1.0 all of them
        log.info("features are not kept, as the trainer's limit_..._batches leaves pictures out")
        return None
    precision = str(trainer.precision)
    if precision not in AUTOCAST:
        log.info("features are not kept at trainer.precision=%s", precision)
        return None
    device: Any = trainer.strategy.root_device
    if device.type == "mps":
        log.info("features are not kept on this device")
        return None
    prefix = FrozenPrefix(
        strategy.backbone, strategy.first_trained, strategy.pixel_scale, strategy.pixel_shift, strategy.channels_last
    )
    everything = len(data.train) + len(data.validation) + len(data.test)
    store = Store(folder, settings.max_bytes())
    sample = data.train.without_views()
    keeper = Keeper(prefix, settings, store, device, AUTOCAST[precision], sample, everything)
    if data.train.views and not strategy.mixes and settings.views is not None:
        log.info("features.views=%d: views of the first %d epochs are kept and take turns", *[settings.views] * 2)
    return FrozenData(data, keeper, settings.views, mixed=bool(strategy.mixes))
