"""Limit the classes and functions that a config file may name, because Hydra calls each ``_target_``."""

import inspect
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from typing import Any

from headstart.errors import ConfigError, nearest
from headstart.settings.packages import installed_places, is_there, source_files

# Modules whose classes, and for headstart also functions, settings may name. Whole packages would allow too much: torch
# gives access to the operating system (torch.os), pickles (torch.load) and code from the network (torch.hub).
OWN = tuple(
    f"headstart.{place}"
    for place in (
        "augmentations", "backbones", "data", "features.settings", "masks", "optimization.schedules", "pretraining",
        "strategies", "tasks", "training.averaging", "training.batch_images", "records.curves", "training.histograms",
        "training.progress", "trackers",
    )
)  # fmt: skip
OTHERS = (
    "pytorch_lightning.callbacks", "pytorch_lightning.plugins.precision", "pytorch_lightning.profilers",
    "pytorch_lightning.trainer", "timm.layers", "timm.loss", "timm.optim", "timm.scheduler", "torch.nn", "torch.optim",
    "torchvision.ops", "torchvision.transforms",
)  # fmt: skip
PACKAGES = ("headstart", "torch", "pytorch_lightning", "torchvision", "timm")
# Classes that Hydra itself may create. Launchers and sweepers have to be Hydra's plugins.
CALLBACKS = (
    "headstart.sweeps.beginning.BeginSweep",
    "hydra.experimental.callbacks.LogJobReturnCallback",
    "hydra.experimental.callbacks.PickleJobInfoCallback",
)
PLUGINS = ("hydra_plugins", "hydra._internal.core_plugins")
CREATED_GROUPS = ("callbacks", "launcher", "sweeper")
LOG_GROUPS = ("job_logging", "hydra_logging")
LOG_CLASSES = (
    "logging.StreamHandler", "logging.FileHandler", "logging.NullHandler", "logging.Formatter",
    "colorlog.ColoredFormatter",
)  # fmt: skip
LOG_FILE = "${hydra.runtime.output_dir}/${hydra.job.name}.log"
STREAMS = ("ext://sys.stdout", "ext://sys.stderr")
# Environment variables and shell commands are code, so only a command may set them, not a file.
TYPED_ONLY = re.compile(
    r"hydra\.(job\.env_set|launcher\.(setup|additional_parameters(?!\.requeue$)|ray\..*\bruntime_env))\b.*"
)
# A reference could resolve to a mapping with a _target_. Only references to Hydra's settings are safe, because all of
# Hydra's settings are checked.
_OURS = r"headstart\.(?:jobs|cores|gpus_a_job):"
_REFERENCES_HYDRA = re.compile(
    rf"(?:[^$]|\$(?!\{{)|\$\{{(?:hydra\.|now:|oc\.env:|ray_pkg_version:|{_OURS})[^${{}}]*\}})*"
)
REPRODUCE = "--trust {package}"


def check_targets(config: Any, trusted: Sequence[str] = (), remedy: str = REPRODUCE) -> None:
    """Raise ConfigError for settings that name classes or functions that no run of headstart needs.

    Nothing is called, and only headstart, its libraries, installed parts and the packages ``trusted`` are imported.
    Anything in ``trusted`` is allowed; ``remedy`` is the argument by which a user trusts a package.
    """
    check_packages(config, trusted, remedy)
    for place, target in _named(config, "_target_"):
        _check_found(place, target, within(target, trusted))


def check_packages(config: Any, trusted: Sequence[str] = (), remedy: str = REPRODUCE) -> None:
    """Do the part of ``check_targets`` that checks only the names of packages and needs no torch."""
    installed = installed_places()
    for place, target in _named(config, "_target_"):
        package = str(target).partition(".")[0]
        if not isinstance(target, str) or not within(target, (*PACKAGES, *installed, *trusted)):
            known = dict.fromkeys((*PACKAGES, *installed))
            raise ConfigError(
                f"{place}={target}: a config file may only name classes of {', '.join(known)}; if you trust this"
                f" one, add {remedy.format(package=package)}."
            )
        if package not in PACKAGES and not is_there(package):
            raise ConfigError(f"{place}={target}: {missing_module(package)}")


def missing_module(package: str) -> str:
    """Return a sentence on a top-level module that cannot be found."""
    return (
        f"there is no module '{package}'; if it is in the working directory, put PYTHONPATH=. before the command, as in"
        " PYTHONPATH=. headstart train ...; otherwise install it."
    )


def own_packages(config: Any) -> list[str]:
    """Return the top-level packages that settings name besides headstart and its libraries, sorted."""
    named = {str(target).partition(".")[0] for _, target in _named(config, "_target_")}
    return sorted(named - set(PACKAGES))


def check_hydra(settings: Any, typed: Sequence[str] | None = None) -> None:
    """Raise ConfigError for unresolved settings of Hydra itself that name more than its plugins and Python's logging.

    ``typed`` are the arguments of the command; with None nothing counts as typed, and Hydra's record of the arguments
    is not checked.
    """
    for place, target in _named(settings, "_target_", "hydra"):
        if not isinstance(target, str) or not _hydra_makes(place, target):
            raise ConfigError(f"{place}={target}: below hydra only its own plugins may be named.")
    for group in CREATED_GROUPS:
        for place, value in _values(settings.get(group), f"hydra.{group}"):
            if isinstance(value, str) and not _REFERENCES_HYDRA.fullmatch(value):
                raise ConfigError(f"{place}={value}: this setting may refer only to settings of Hydra.")
    for group in LOG_GROUPS:
        _check_logging(settings.get(group), f"hydra.{group}", typed or ())
    _check_typed(settings, typed)


def _hydra_makes(place: str, target: str) -> bool:
    if re.fullmatch(r"hydra\.callbacks\.[^.\[]+\._target_", place):
        return target in CALLBACKS
    return place in ("hydra.launcher._target_", "hydra.sweeper._target_") and within(target, PLUGINS)


def _check_logging(settings: Any, group: str, typed: Sequence[str]) -> None:
    """Raise ConfigError for logging beyond the terminal and Hydra's own file, as logging can call anything."""
    for key in ("()", "class"):
        for place, target in _named(settings, key, group):
            if target not in LOG_CLASSES:
                raise ConfigError(f"{place}={target}: only {', '.join(LOG_CLASSES)} may be named there.")
    for place, value in _values(settings, group):
        if not isinstance(value, str) or value in (LOG_FILE, *STREAMS):
            continue
        refers = "${" in value or value.startswith(("ext://", "cfg://"))
        if refers or (place.endswith(".filename") and not _is_typed(place, typed)):
            raise ConfigError(f"{place}={value}: Hydra logs to {LOG_FILE}; type another file in the command.")


def _check_typed(settings: Any, typed: Sequence[str] | None) -> None:
    """Raise ConfigError for settings in a file that only a command may contain."""
    job = settings.get("job") or {}
    copied = {f"hydra.job.env_set.{name}" for name in job.get("env_copy") or []}  # set by Hydra itself
    for place, value in _values(settings, "hydra"):
        if (
            TYPED_ONLY.fullmatch(place)
            and value is not None
            and place not in copied
            and not _is_typed(place, typed or ())
        ):
            raise ConfigError(f"{place}={value} stands in a config file; if you trust it, type it in the command.")
    for name in (settings.get("sweeper") or {}).get("params") or {}:
        key = str(name).lstrip("+~").partition("@")[0].split(".")[0]
        if key in ("hydra", "allow_targets"):
            raise ConfigError(f"hydra.sweeper.params: {name} cannot be swept; type it in the command.")
    if typed is None:
        return
    for kind in ("task", "hydra"):
        for override in (settings.get("overrides") or {}).get(kind) or []:
            if override not in typed:
                raise ConfigError(f"hydra.overrides.{kind}: '{override}' was not typed; only Hydra may set it.")


def _is_typed(place: str, typed: Sequence[str]) -> bool:
    keys = (override.partition("=")[0].lstrip("+") for override in typed)
    return any(re.fullmatch(rf"{re.escape(key)}([.\[].*)?", place) for key in keys)


def _check_found(place: str, target: str, trusted: bool) -> None:
    """Raise ConfigError for a class or function that settings may not name.

    The object is checked, not its name, because packages re-export objects that they import.
    """
    try:
        found = located(target)
    except Exception as error:  # importing a module may raise any error
        raise ConfigError(f"{place}={target}{import_problem(target, error)}") from error
    if trusted:
        return
    home = getattr(found, "__module__", None) or ""
    own = (*OWN, *installed_places())
    own_function = inspect.isfunction(found) and "." not in found.__qualname__ and within(home, own)
    if not own_function and not (inspect.isclass(found) and within(home, (*own, *OTHERS))):
        raise ConfigError(
            f"{place}={target}: a config file may name headstart's own parts, and optimizers, schedulers, modules,"
            " callbacks and trainers of other packages, and this is none of them."
        )


def import_problem(target: str, error: Exception) -> str:
    """Return the end of a sentence on why a dotted name cannot be imported, with the line that raised the error."""
    package = target.partition(".")[0]
    if package in PACKAGES:
        return f" cannot be imported ({_first_line(error)})."
    missing = error.name if isinstance(error, ModuleNotFoundError) else None
    if missing == package:
        return f": {missing_module(package)}"
    if missing and within(target, [missing]):
        module, _, name = missing.rpartition(".")
        return f": {module} has no '{name}'.{nearest(name, _public(module))}"
    message = str(error.msg) if isinstance(error, SyntaxError) else _first_line(error)
    return f" cannot be imported: {type(error).__name__}: {message}{line_of(error, package)}"


def line_of(error: BaseException, package: str) -> str:
    """Return the line of a package or module that raised an error, in brackets; "" if the error is from elsewhere."""
    files = {str(path) for path in source_files(package)}
    if isinstance(error, SyntaxError) and error.filename in files:
        return f" (line {error.lineno} of {error.filename}: {(error.text or '').strip()})"
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename in files]
    return f" (line {lines[-1].lineno} of {lines[-1].filename}: {lines[-1].line})" if lines else ""


def _public(name: str) -> list[str]:
    """Return the classes and functions that an importable module, or class, defines."""
    found = located(name)
    home = getattr(found, "__name__", "")
    return [
        key for key, value in vars(found).items()
        if (inspect.isclass(value) or inspect.isfunction(value)) and within(value.__module__, [home])
    ]  # fmt: skip


def located(name: str) -> Any:
    """Return the object that Hydra finds under a dotted name: attributes come before modules."""
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
    """Yield every value of a key at any depth, with its dotted key."""
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
    """Yield every value that is neither mapping nor list, with its dotted key."""
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


def within(name: str, places: Sequence[str]) -> bool:
    """Return whether a dotted name is one of these places or below one."""
    return any(name == place or name.startswith(f"{place}.") for place in places)
