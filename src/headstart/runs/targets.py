"""Which classes and functions a config file from elsewhere may name: a ``_target_`` is called with its settings."""

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from headstart.errors import ConfigError

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


# What Hydra itself is told to make: callbacks, launchers and sweepers, and what its logging consists of.
HYDRA_OWN = ("hydra_plugins", "hydra._internal.core_plugins", "hydra.experimental", "headstart.sweeps")
LOGGING = ("logging", "colorlog")
MAKING = ("callbacks", "launcher", "sweeper", "job_logging", "hydra_logging")
# What refers to another setting could stand for a whole mapping with a _target_; those of Hydra are all looked at.
_OURS = r"headstart\.(?:jobs|cores|gpus_a_job):"
_REFERENCES_HYDRA = re.compile(
    rf"(?:[^$]|\$(?!\{{)|\$\{{(?:hydra\.|now:|oc\.env:|ray_pkg_version:|{_OURS})[^${{}}]*\}})*"
)
REPRODUCE = "--trust {package}"


def check_targets(config: Any, trusted: Sequence[str] = (), remedy: str = REPRODUCE) -> None:
    """Refuse settings that name what no run of headstart's needs. Nothing is called, and foreign code not imported.

    ``trusted`` are packages whose classes and functions are taken as well; ``remedy`` is how the user says so. Raises
    ConfigError.
    """
    check_packages(config, trusted, remedy)
    for place, target in _named(config, "_target_"):
        if not _within(target, trusted):
            _check_found(place, target)


def check_packages(config: Any, trusted: Sequence[str] = (), remedy: str = REPRODUCE) -> None:
    """The part of ``check_targets`` that goes by the names alone, and so needs no torch."""
    for place, target in _named(config, "_target_"):
        if not isinstance(target, str) or not _within(target, (*PACKAGES, *trusted)):
            whose = str(target).partition(".")[0]
            raise ConfigError(
                f"{place}={target}: a config file may only name classes of {', '.join(PACKAGES)}; if you trust this"
                f" one, add {remedy.format(package=whose)}."
            )


def check_hydra(settings: Any) -> None:
    """The same for the settings of Hydra itself, not resolved: plugins, and nothing but Python's own logging."""
    for place, target in _named(settings, "_target_", "hydra"):
        if not isinstance(target, str) or not _within(target, HYDRA_OWN):
            raise ConfigError(f"{place}={target}: below hydra only its own plugins may be named.")
    factories = list(_named(settings, "()", "hydra"))
    for group in ("job_logging", "hydra_logging"):
        factories += _named(settings.get(group), "class", f"hydra.{group}")
    for place, target in factories:
        if not isinstance(target, str) or not _within(target, LOGGING):
            raise ConfigError(f"{place}={target}: only classes of {' and '.join(LOGGING)} may be named there.")
    for group in MAKING:
        for place, value in _values(settings.get(group), f"hydra.{group}"):
            if isinstance(value, str) and not _REFERENCES_HYDRA.fullmatch(value):
                raise ConfigError(f"{place}={value}: what Hydra makes may refer to settings of Hydra only.")


def _check_found(place: str, target: str) -> None:
    """What is found under the name counts, not the name: packages pass on what they import."""
    try:
        found = _located(target)
    except Exception as error:  # importing raises whatever the module does
        raise ConfigError(f"{place}={target} is not to be had here ({_first_line(error)}).") from error
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


def _named(config: Any, key: str, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of that key at any depth, with its dotted key."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            here = f"{place}.{name}" if place else str(name)
            if name == key:
                yield here, value
            yield from _named(value, key, here)
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            yield from _named(value, key, f"{place}[{number}]")


def _values(config: Any, place: str) -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping or list, with its dotted key."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            yield from _values(value, f"{place}.{name}")
    elif isinstance(config, list | tuple):
        for number, value in enumerate(config):
            yield from _values(value, f"{place}[{number}]")
    else:
        yield place, config


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _within(name: str, places: Sequence[str]) -> bool:
    return any(name == place or name.startswith(f"{place}.") for place in places)
