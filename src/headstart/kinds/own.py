"""Find kinds of targets that other packages define: the name of such a kind is the dotted path of its class."""

import re
from collections.abc import Iterator

from headstart.errors import ConfigError
from headstart.kinds.kind import Kind
from headstart.settings.packages import is_there, trusted_places
from headstart.settings.targets import import_problem, located, missing_module, within

PATH = re.compile(r"[A-Za-z_]\w{0,99}(\.[A-Za-z_]\w{0,99}){1,9}")
_LOADED: dict[str, Kind] = {}


def loaded_kinds() -> Iterator[Kind]:
    """Yield the kinds of other packages that this process has used."""
    yield from _LOADED.values()


def own_kind(name: str) -> Kind:
    """Import and return the kind that a trusted task names. Raises ConfigError."""
    if name not in _LOADED:
        try:
            found = located(name)
        except Exception as error:  # an import runs the module, which may raise anything
            raise ConfigError(f"The kind of target {name}{import_problem(name, error)}") from error
        if not isinstance(found, type) or getattr(found, "name", None) != name:
            raise ConfigError(f"The kind of target {name}: expected a class whose attribute 'name' is '{name}'.")
        kind: Kind = found()
        _LOADED[name] = kind
    return _LOADED[name]


def recorded_kind(name: str) -> Kind | None:
    """Return the kind that a run names, or None for a name that is no dotted path.

    A run may come from anybody, so only installed or trusted packages are imported. Raises ConfigError for other
    packages, and if the import fails.
    """
    if name in _LOADED:
        return _LOADED[name]
    if not PATH.fullmatch(name):
        return None
    package = name.partition(".")[0]
    if not within(name, trusted_places()):
        raise ConfigError(
            f"no installed package has its kind of target, {name}; install the package, or add --trust {package}."
        )
    if not is_there(package):
        raise ConfigError(f"its kind of target is {name}, and {missing_module(package)}")
    return own_kind(name)
