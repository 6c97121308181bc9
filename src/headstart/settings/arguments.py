"""Check arguments of other libraries' classes by their annotations."""

import types
import typing
from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, signature
from typing import Any, Literal, Union, get_args, get_origin

from headstart.errors import ConfigError
from headstart.settings.leaves import is_list

WORDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", type(None): "null"}


def check_arguments(group: str, called: Callable[..., Any], settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for a setting whose type the annotations of a class or function do not allow.

    Parameters without an annotation are not checked. Nor are mappings, because Hydra may create objects from them.
    """
    function = called.__init__ if isinstance(called, type) else called  # type: ignore[misc]
    try:
        hints, parameters = typing.get_type_hints(function), signature(function).parameters
    except (NameError, TypeError, ValueError):
        return
    for name, value in settings.items():
        if name not in hints or parameters[name].kind is Parameter.VAR_KEYWORD:
            continue
        if not _fits(value, hints[name]):
            raise ConfigError(f"{group}.{name}={value}: expected {_words(hints[name])}.")


def _fits(value: Any, hint: Any) -> bool:
    """Return whether a value of a YAML file fits an annotation; True for annotations that are not known here."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if isinstance(value, Mapping) or hint in (Any, object):
        return True
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return any(type(value) is type(part) and value == part for part in parts)
    if origin is float:
        return type(value) in (int, float)
    if origin in WORDS or not isinstance(origin, type):
        return type(value) is origin or origin not in WORDS
    if not issubclass(origin, Iterable) or issubclass(origin, Mapping):
        return False  # a tensor, a time span or a logger: no YAML value is one
    alike = origin is not tuple or parts[1:] == (...,)
    wanted = parts[:1] * len(value) if alike and is_list(value) else parts
    return is_list(value) and (not wanted or len(value) == len(wanted)) and all(map(_fits, value, wanted))


def _words(hint: Any) -> str:
    """Return the values that fit an annotation, in words."""
    origin, parts = get_origin(hint) or hint, get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_words(part) for part in parts))
    if origin is Literal:
        return " or ".join(map(str, parts))
    if origin in WORDS or not isinstance(origin, type):
        return WORDS.get(origin, str(origin))
    if issubclass(origin, Mapping):
        return "a mapping"
    return "a list" if issubclass(origin, Iterable) else origin.__name__
