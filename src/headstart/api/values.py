"""Write Python values as the settings of a command line, key=value, quoted as Hydra's grammar needs it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException

from headstart.errors import ConfigError

KEY = re.compile(r"(\+\+?|~)?[\w/@:][\w/@:.-]*")


def settings_words(settings: Sequence[str | Mapping[str, Any]], values: Mapping[str, Any], swept: bool) -> list[str]:
    """Return the arguments key=value of a command from texts, mappings and keywords, in this order.

    A mapping under a plain name sets single settings of a group: ``dataset={"root": "images"}`` is dataset.root=images.
    With ``swept``, a keyword that is a list names the values to try; every other list is one value. Raises ConfigError
    for a key or a value that cannot be a setting.
    """
    words: list[str] = []
    for one in settings:
        words += [_checked(one, swept)] if isinstance(one, str) else _of_mapping(one)
    return [*words, *_of_mapping(values, swept)]


def value_text(value: Any, key: str) -> str:
    """Return a value as Hydra's grammar writes it, so that it is read back unchanged.

    ``key`` names the setting in messages. A text with ``${...}`` refers to another setting, as in a config file.
    """
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", None) == 0 else value
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | PurePath):
        return _text(str(value), key)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_name(name, key)}:{value_text(of, key)}" for name, of in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(value_text(one, key) for one in value) + "]"
    raise ConfigError(
        f"{key} is of type {type(value).__name__}, which no setting can be; expected a number, text, True, False,"
        " None, a list or a mapping."
    )


def _of_mapping(settings: Mapping[str, Any], swept: bool = False) -> Iterator[str]:
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{settings!r} is not a setting; expected 'key=value' or a mapping of keys to values.")
    for key, value in settings.items():
        if not isinstance(key, str) or not KEY.fullmatch(key):
            raise ConfigError(f"{key!r} is not the name of a setting; expected one as 'optimizer.lr'.")
        if isinstance(value, Mapping) and re.fullmatch(r"\w+", key):
            yield from _of_mapping({f"{key}.{name}": of for name, of in value.items()})
        elif swept and isinstance(value, list | tuple | range):
            if not value:
                raise ConfigError(f"{key} has no value to try.")
            yield f"{key}={','.join(value_text(one, key) for one in value)}"
        else:
            yield f"{key}={value_text(value, key)}"


def _text(text: str, key: str) -> str:
    """Return a text as it is where the grammar reads it back as the same text, and quoted elsewhere."""
    if "\0" in text or any("\ud800" <= letter <= "\udfff" for letter in text):
        raise ConfigError(f"{key} is {text!r}, which holds a character that no setting can hold.")
    try:
        found = OverridesParser.create().parse_override(f"key=[{text}]").value()
    except HydraException:
        found = None
    plain = found == [text] and not re.search(r"[^\w./+-]", text)
    return text if plain else QuotedString(text, Quote.single).with_quotes()


def _name(name: Any, key: str) -> str:
    """Return the key of a mapping, which Hydra's grammar cannot quote."""
    text = re.sub(r"([\\()\[\]{}:=,\s])", r"\\\1", str(name))
    try:
        found = OverridesParser.create().parse_override(f"key={{{text}:1}}").value()
    except HydraException:
        found = None
    if not isinstance(found, dict) or list(map(str, found)) != [str(name)]:
        raise ConfigError(f"{key} has the key {name!r}, which no setting can hold; write it into a config file.")
    return text


def _checked(word: str, swept: bool) -> str:
    """Return a text that is one setting. Raises ConfigError for any other."""
    if word.startswith("-") or not ("=" in word or word.startswith("~")):
        raise ConfigError(f"'{word}' is not a setting; expected key=value, as in strategy=linear_probe.")
    try:
        several = OverridesParser.create().parse_override(word).is_sweep_override()
    except HydraException:
        raise ConfigError(
            f"'{word}' cannot be read as a setting; expected key=value, as in optimizer.lr=0.01."
        ) from None
    if several and not swept:
        raise ConfigError(f"'{word}' names several values; headstart.sweep runs each of them.")
    return word
