"""Describe the augmentation of training images, step by step."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from headstart.augmentations import Augmentation

STEP_COLUMNS = ("step", "augmentation", "done", "parameters")
LOADER, DEVICE, MIXED = "by the loader", "on the device, in batches", "to whole batches, on the device"


def augmentation_steps(config: DictConfig, augmentation: Augmentation, on_device: bool) -> list[list[str]]:
    """Return a row of the training plan for each view, then for each mix. Without augmentation there are no rows."""
    settings: Any = OmegaConf.to_container(config.augmentation)
    views = len(augmentation.views)
    batch_from = augmentation.views.batch_from if on_device else views
    where = [LOADER] * batch_from + [DEVICE] * (views - batch_from) + [MIXED] * len(augmentation.mixes)
    return [
        [str(number), name, place, parameters(settings[name])]
        for number, (name, place) in enumerate(zip(augmentation.names, where, strict=True), 1)
    ]


def parameters(settings: Mapping[str, Any]) -> str:
    """Return settings as text, e.g. "scale=[0.35, 1.0] flip=0.5"."""
    return " ".join(f"{name}={_short(value)}" for name, value in settings.items() if not name.startswith("_")) or "–"


def _short(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(_short(one) for one in value)}]"
    return f"{value:g}" if isinstance(value, float) else "null" if value is None else str(value)
