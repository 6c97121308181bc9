"""Limit what settings from other people may write, call and read when their run is repeated or inspected.

``targets.py`` checks the class that a ``_target_`` names; this module checks its arguments by the signature of the
class, at any depth and however an argument is given.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from headstart.errors import ConfigError
from headstart.files import expanded
from headstart.settings.effects import flatten
from headstart.settings.sources import source_of
from headstart.settings.targets import REPRODUCE, located, within
from headstart.tables import plain_text

OUTSIDE = "files"
"""Folder below the output for files that the run wrote elsewhere."""
PLACE = re.compile(r".*(dir|path|file|folder|directory|root|url)s?|.*filename|out|output", re.IGNORECASE)
"""Names of parameters that hold a place."""
OWN_PLACES = ("root", "dir")
"""Parameters of headstart's own classes that may hold any place."""
REPLACED = ("dirpath", "filename")
"""Parameters of Lightning's callbacks and profilers for the files that they write."""
SAFE_NAME = re.compile(r"(?:[\w=., -]|\{[\w/]*(?::[.\d]{0,4}[a-z]?)?\})+")
"""File names and patterns of file names, without parent folders and without very wide numbers."""
LEFT_OUT = {
    "hydra": "no run writes it",
    "trainer.default_root_dir": "output_dir says where files go",
    "trainer.model_registry": "it would send checkpoints elsewhere",
    "trainer.logger": "the group logger lists the loggers",
    "trainer.callbacks": "the group callbacks lists the callbacks",
}
TRACKERS = "headstart.trackers."  # loggers that send results elsewhere
READ_SETTINGS = ("dataset.root", "dataset.pictures", "backbone.weights", "backbone.name")


def keep_inside(config: DictConfig, output: Path | None, trusted: Sequence[str] = ()) -> list[str]:
    """Change, in place, settings that write outside ``output``; return a sentence for each change.

    ``output`` None forbids writing at all. Classes of the packages ``trusted`` are left unchanged. Raises ConfigError
    for an argument that is a place or a function and cannot be changed.
    """
    changes = []
    for key, why in LEFT_OUT.items():
        group, _, name = key.rpartition(".")
        home = config[group] if group else config
        if name in home:
            if home[name] is not None:
                changes.append(f"{key} is left out: {why}.")
            home.pop(name)
    for place, part in list(_parts(config)):
        target = str(part.get("_target_"))
        if within(target, trusted):
            continue
        called = located(target)
        group, _, name = place.partition(".")
        if group == "logger" and name in config.logger and called.__module__.startswith(TRACKERS):
            config.logger.pop(name)
            changes.append(f"{place} is left out: it would send the results elsewhere.")
        else:
            changes += _keep_part_inside(place, part, called, output)
    return changes + _without_downloads(config, output)


def places_read(config: DictConfig) -> list[str]:
    """Return the settings that name files, folders or networks of a hub that a run reads, as key=value."""
    flat = flatten(OmegaConf.to_container(config))  # type: ignore[arg-type]
    keys = [*READ_SETTINGS, *(key for key in flat if key.startswith("augmentation.") and key.endswith(".policy"))]
    found = {key: flat.get(key) for key in keys}
    if not source_of(found["backbone.name"]):
        found.pop("backbone.name")
    return [f"{key}={plain_text(str(value))}" for key, value in found.items() if value is not None]


def _parts(config: Any, place: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Yield every mapping that names a class, at any depth, with its dotted key."""
    if OmegaConf.is_dict(config):
        if "_target_" in config:
            yield place, config
        below = [(f"{place}.{name}" if place else str(name), config[name]) for name in config]
    elif OmegaConf.is_list(config):
        below = [(f"{place}[{number}]", entry) for number, entry in enumerate(config)]
    else:
        return
    for here, entry in below:
        yield from _parts(entry, here)


def _keep_part_inside(place: str, part: DictConfig, called: Callable[..., Any], output: Path | None) -> list[str]:
    own = str(getattr(called, "__module__", "")).startswith("headstart.")
    mend = f"if you trust these settings, add {REPRODUCE.format(package=str(part['_target_']).partition('.')[0])}"
    changes = []
    for name, key, value, annotation in _arguments(part, called):
        where = f"{place}.{key}"
        if "Callable" in annotation and _names_a_class(value):
            raise ConfigError(f"{where}: a run from elsewhere may not name code to call; {mend}.")
        if not _is_place(name, value, annotation) or (own and name in OWN_PLACES):
            continue
        if output is None or own or name not in REPLACED or key != name:
            raise ConfigError(f"{where}={value}: a run from elsewhere may not choose this path; {mend}.")
        if name == "dirpath":
            part[name] = str(output / OUTSIDE)
            changes.append(f"{where}={plain_text(str(value))} is changed to {part[name]}.")
        elif not SAFE_NAME.fullmatch(str(value)) or ".." in str(value):
            part.pop(name)
            changes.append(f"{where}={plain_text(str(value))} is left out: it is not a plain file name.")
    return changes


def _arguments(part: DictConfig, called: Callable[..., Any]) -> Iterator[tuple[str, str, Any, str]]:
    """Yield the parameter, the key in the settings, the value and the annotation (as text) of each argument."""
    try:
        parameters = inspect.signature(called).parameters
    except (TypeError, ValueError):  # written in C: only names are known
        parameters = {}  # type: ignore[assignment]
    positional = [
        name for name, one in parameters.items() if one.kind in (one.POSITIONAL_ONLY, one.POSITIONAL_OR_KEYWORD)
    ]
    settings: Any = OmegaConf.to_container(part)
    listed = settings.get("_args_") or []
    for number, value in enumerate(listed if isinstance(listed, list) else []):
        name = positional[number] if number < len(positional) else ""
        yield name, f"_args_[{number}]", value, _annotation(parameters, name)
    for name, value in settings.items():
        if name not in ("_target_", "_partial_", "_args_", "_recursive_", "_convert_"):
            yield name, name, value, _annotation(parameters, name)


def _annotation(parameters: Mapping[str, inspect.Parameter], name: str) -> str:
    return str(parameters[name].annotation) if name in parameters else ""


def _is_place(name: str, value: Any, annotation: str) -> bool:
    """Return whether an argument is a place: text, a list or a mapping, under the name or annotation of a place."""
    named = PLACE.fullmatch(name) is not None or "Path" in annotation or "_PATH" in annotation
    return named and isinstance(value, str | Mapping | list) and bool(value)


def _names_a_class(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(_names_a_class, value.values()))
    return isinstance(value, list) and any(map(_names_a_class, value))


def _without_downloads(config: DictConfig, output: Path | None) -> list[str]:
    """Change the settings, in place, so that data is downloaded only into ``output``; return a sentence if changed."""
    if not config.dataset.get("download"):
        return []
    root = config.dataset.get("root")
    if output is None or (root is not None and expanded(str(root)).exists()):
        config.dataset.download = False
        return []
    config.dataset.root = str(output / "data")
    return [f"dataset.root={plain_text(str(root))} is not here, so the images are downloaded to {config.dataset.root}."]
