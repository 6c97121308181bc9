"""run.json and config.yaml of a run directory: the one place that reads them."""

from pathlib import Path
from typing import Any

from headstart.records.documents import checked_yaml, expect_mapping, parsed_yaml, read_json

MANIFEST, SETTINGS = "run.json", "config.yaml"


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return what run.json holds, whatever its schema. Raises DataError where it is missing, damaged or no object."""
    return expect_mapping(read_json(directory, MANIFEST), f"{MANIFEST} does not hold a JSON object")


def read_settings(directory: Path) -> dict[str, Any]:
    """Return the settings of config.yaml as they are nested. Raises DataError where it is missing or damaged."""
    return settings_in(checked_yaml(directory, SETTINGS))


def settings_in(text: str) -> dict[str, Any]:
    """Return the settings in the text of a config.yaml that ``checked_yaml`` has passed; none in an empty one."""
    content = parsed_yaml(text, SETTINGS)
    return expect_mapping({} if content is None else content, f"{SETTINGS} does not hold a mapping")
