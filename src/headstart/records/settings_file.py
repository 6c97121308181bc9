"""Read config.yaml: the settings of a run, as plain values or as a config to run again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from headstart.boundary.documents import checked_yaml, expect_mapping, parsed_yaml
from headstart.boundary.opening import MissingFileError, first_line
from headstart.errors import DataError
from headstart.files import expanded
from headstart.records.names import SETTINGS_FILE
from headstart.settings.effects import flatten, with_present_names

if TYPE_CHECKING:
    from omegaconf import DictConfig


def read_settings(directory: Path) -> dict[str, Any]:
    """Return the nested settings of config.yaml. Raises DataError if it is missing or damaged."""
    return _parsed(checked_yaml(directory, SETTINGS_FILE))


def read_config(directory: Path) -> DictConfig:
    """Return the settings of a run as a config, to repeat it or to rebuild its network.

    Classes that have moved since have their present names. Raises DataError if the file is missing or damaged, or holds
    a reference: it could stand for anything, and a run writes none.
    """
    from omegaconf import DictConfig, OmegaConf  # slow to load, and `headstart status` needs none of it

    from headstart.settings.configs import CONFIG_ERRORS
    from headstart.settings.early_checks import NEEDED, OPTIONAL

    file = directory / SETTINGS_FILE
    try:
        text = with_present_names(checked_yaml(directory, SETTINGS_FILE))
        settings = _parsed(text)
    except MissingFileError:
        raise DataError(f"'{file}' is missing, and without it the run cannot be repeated.") from None
    except DataError as error:
        raise DataError(f"'{file}'{str(error).removeprefix(SETTINGS_FILE)}.") from None
    for key, value in flatten(settings).items():
        if "${" in f"{key} {value}":
            raise DataError(f"'{file}' is not as a run writes it: {key}={value} refers to another setting.")
    try:
        config = OmegaConf.create(text)
    except (ValueError, OverflowError, yaml.YAMLError, RecursionError, *CONFIG_ERRORS) as error:
        raise DataError(f"'{file}' cannot be read ({first_line(error)}).") from None
    if not isinstance(config, DictConfig):
        raise DataError(f"'{file}' does not hold a mapping.")
    plain: Any = OmegaConf.to_container(config, resolve=False)
    for name in NEEDED:
        if not isinstance(plain.get(name), dict):
            raise DataError(f"'{file}' is damaged: it has no group '{name}'.")
    for name in OPTIONAL:
        if not isinstance(plain.get(name) or {}, dict):
            raise DataError(f"'{file}' is damaged: {name} is not a group.")
    if not _keys_are_names(plain):
        raise DataError(f"'{file}' is damaged: it has a key that is not a name.")
    return config


def _parsed(text: str) -> dict[str, Any]:
    """Return the settings in a text that ``checked_yaml`` has passed; none in an empty one."""
    content = parsed_yaml(text, SETTINGS_FILE)
    return expect_mapping({} if content is None else content, f"{SETTINGS_FILE} does not hold a mapping")


def _keys_are_names(content: Any) -> bool:
    if isinstance(content, dict):
        return all(isinstance(key, str) and _keys_are_names(value) for key, value in content.items())
    return not isinstance(content, list) or all(map(_keys_are_names, content))


def check_images_are_there(config: DictConfig) -> None:
    """Raise DataError if the images of a run have moved, and the data set cannot be downloaded."""
    root = config.dataset.get("root")
    there = root is None or os.path.exists(expanded(str(root)))  # noqa: PTH110  # unlike Path.exists, it never raises
    if not there and not config.dataset.get("download"):
        raise DataError(f"The images are no longer at '{root}'; give their folder with --root DIR.")
