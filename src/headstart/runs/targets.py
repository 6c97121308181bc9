"""Which classes and functions a config file from elsewhere may name: a ``_target_`` is called with its settings."""

import inspect
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from headstart.errors import ConfigError
from headstart.reports.read import first_line

# Where settings may reach for classes and, of headstart, functions. The whole of a package would be too much: torch
# alone offers the operating system (torch.os), pickles (torch.load) and code from the network (torch.hub).
OWN = tuple(
    f"headstart.{place}"
    for place in (
        "augmentations", "backbones", "data", "features.settings", "strategies", "tasks",
        "runs.averaging", "runs.batch_pictures", "runs.curves", "runs.histograms", "runs.progress",
    )
)  # fmt: skip
OTHERS = (
    "pytorch_lightning.callbacks", "pytorch_lightning.plugins.precision", "pytorch_lightning.profilers",
    "pytorch_lightning.trainer", "timm.layers", "timm.loss", "timm.optim", "timm.scheduler", "torch.nn", "torch.optim",
    "torchvision.ops", "torchvision.transforms",
)  # fmt: skip
PACKAGES = ("headstart", "torch", "pytorch_lightning", "torchvision", "timm")


def check_targets(config: Any, trusted: Sequence[str] = ()) -> None:
    """Refuse settings that name what no run of headstart's needs. Nothing is called, and foreign code not imported.

    ``trusted`` are packages whose classes and functions are taken as well. Raises ConfigError.
    """
    targets = list(_targets(config))
    for place, target in targets:
        if not isinstance(target, str) or not _within(target, (*PACKAGES, *trusted)):
            whose = str(target).partition(".")[0]
            raise ConfigError(
                f"{place}={target}: a config file may only name classes of {', '.join(PACKAGES)}; if you trust this"
                f" one, add --trust {whose}."
            )
    for place, target in targets:
        if not _within(target, trusted):
            _check_found(place, target)


def _check_found(place: str, target: str) -> None:
    """What is found under the name counts, not the name: packages pass on what they import."""
    try:
        found = _located(target)
    except Exception as error:  # importing raises whatever the module does
        raise ConfigError(f"{place}={target} is not to be had here ({first_line(error)}).") from error
    home = getattr(found, "__module__", None) or ""
    own_function = inspect.isfunction(found) and "." not in found.__qualname__ and _within(home, OWN)
    if not own_function and not (inspect.isclass(found) and _within(home, (*OWN, *OTHERS))):
        raise ConfigError(
            f"{place}={target}: a config file may name headstart's own parts, and optimizers, schedulers, modules,"
            " callbacks and trainers of other packages, and this is none of them."
        )


def _located(name: str) -> Any:
    """What Hydra would find under a dotted name: attributes come before modules."""
    first, *parts = name.split(".")
    path, found = first, import_module(first)
    for part in parts:
        path = f"{path}.{part}"
        try:
            found = getattr(found, part)
        except AttributeError:
            found = import_module(path)
    return found


def _targets(config: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every ``_target_`` at any depth, with its dotted key."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            key = f"{place}.{name}" if place else str(name)
            if name == "_target_":
                yield key, value
            yield from _targets(value, key)
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            yield from _targets(value, f"{place}[{number}]")


def _within(name: str, places: Sequence[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
