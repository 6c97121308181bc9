"""Read the settings of a run, to repeat it or to rebuild its network."""

from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from headstart.errors import DataError
from headstart.records.documents import checked_yaml
from headstart.records.manifest import SETTINGS, settings_in
from headstart.records.opening import MissingFileError, first_line
from headstart.settings.configs import CONFIG_ERRORS
from headstart.settings.early_checks import NEEDED, OPTIONAL
from headstart.settings.effects import flatten, with_todays_places


def read_config(directory: Path) -> DictConfig:
    """The settings as the run wrote them, nothing open. Raises DataError for a file that is missing or damaged."""
    file = directory / SETTINGS
    try:
        text = with_todays_places(checked_yaml(directory, SETTINGS))
        settings = settings_in(text)
    except MissingFileError:
        raise DataError(f"'{file}' is missing, and without it the run cannot be repeated.") from None
    except DataError as error:
        raise DataError(f"'{file}'{str(error).removeprefix(SETTINGS)}.") from None
    for key, value in flatten(settings).items():
        if "${" in f"{key} {value}":  # a reference could stand for anything, and a run writes none
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
            raise DataError(f"'{file}' is damaged: {name} is no group.")
    if not _keys_are_names(plain):
        raise DataError(f"'{file}' is damaged: a key of it is no name.")
    return config


def _keys_are_names(content: Any) -> bool:
    if isinstance(content, dict):
        return all(isinstance(key, str) and _keys_are_names(value) for key, value in content.items())
    return not isinstance(content, list) or all(map(_keys_are_names, content))
