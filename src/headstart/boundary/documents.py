"""Read JSON and YAML files of a run directory as plain, printable values of limited size, depth and number."""

import json
import math
import re
from pathlib import Path
from typing import Any

import yaml

from headstart.boundary.opening import MB, read_text_inside, unreadable
from headstart.errors import DataError
from headstart.tables import plain_text

MOST_JSON, MOST_YAML = 8 * MB, MB
DEPTH = 64  # nested lists and mappings; a run writes ten at most
VALUES = 400_000  # in a JSON file; a list of 100,000 skipped images has fewer
EVENTS, SCALAR = 100_000, 4096  # parser events of a YAML file, and characters of one of its scalars
WHOLE = 2**64  # whole numbers from here on become floats, because no array of integers holds them
YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_json(directory: Path, name: str, most: int = MOST_JSON) -> Any:
    """Return the content of a JSON file of a run directory: printable text, whole numbers of at most 64 bits.

    Raises MissingFileError if there is no such file, DataError for anything else.
    """
    text = read_text_inside(directory, name, most)
    if text.count(",") > VALUES:
        raise unreadable(name, f"it holds more than {VALUES:,} values")
    try:
        content = json.loads(text, parse_int=_whole)
    except (ValueError, RecursionError) as error:
        raise unreadable(name, error) from None
    return _plain(content, name)


def parsed_yaml(text: str, name: str) -> Any:
    """Return the plain content of a YAML text that ``checked_yaml`` has returned. Raises DataError."""
    try:
        content = yaml.load(text, Loader=YAML_LOADER)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise unreadable(name, error) from None
    return _plain(content, name)


def checked_yaml(directory: Path, name: str) -> str:
    """Return the text of a YAML file of a run directory. Any YAML loader can read it safely.

    Aliases, tags, directives and deep nesting are refused: no run writes them, and they can make a loader crash, hang
    or use much memory (libyaml's composer is recursive). Raises DataError.
    """
    text = read_text_inside(directory, name, MOST_YAML)
    if re.search("^%", text, re.MULTILINE):
        raise unreadable(name, "it holds a directive, which no run writes")
    depth = 0
    try:
        for number, event in enumerate(yaml.parse(text, Loader=YAML_LOADER)):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > DEPTH:
                raise unreadable(name, f"it is nested more than {DEPTH} deep")
            if number > EVENTS:
                raise unreadable(name, f"it holds more than {EVENTS:,} values")
            if isinstance(event, yaml.AliasEvent):
                raise unreadable(name, "it holds an alias, which no run writes")
            if tag := getattr(event, "tag", None):
                raise unreadable(name, f"it holds the tag {tag}, which no run writes")
            if isinstance(event, yaml.ScalarEvent) and len(event.value) > SCALAR:
                raise unreadable(
                    name, f"it holds a text of {len(event.value):,} characters, at most {SCALAR:,} are read"
                )
    except (yaml.YAMLError, ValueError) as error:
        raise unreadable(name, error) from None
    return text


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= 20 and abs(int(digits)) < WHOLE else float(digits)


def _plain(value: Any, name: str, depth: int = 0) -> Any:
    if depth > DEPTH:
        raise unreadable(name, f"it is nested more than {DEPTH} deep")
    if isinstance(value, dict):
        return {_key(key): _plain(entry, name, depth + 1) for key, entry in value.items()}
    if isinstance(value, list):
        return [_plain(entry, name, depth + 1) for entry in value]
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, int) and abs(value) >= WHOLE:
        return float(value) if value.bit_length() < 1000 else math.inf if value > 0 else -math.inf
    return value if value is None or isinstance(value, bool | int | float) else str(value)


def _key(key: Any) -> str:
    return plain_text(str(_plain(key, "")))


def expect_mapping(content: Any, sentence: str) -> dict[str, Any]:
    """Return a mapping unchanged. Raises DataError with the sentence for anything else."""
    if not isinstance(content, dict):
        raise DataError(sentence)
    return content
