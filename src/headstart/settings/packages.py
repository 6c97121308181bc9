"""Find packages that add parts: installed packages with an entry point, and packages that the user trusts."""

import functools
import hashlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

GROUP = "headstart"
"""Group of entry points: ``my_package = "my_package.parts"`` adds the classes and functions defined there."""
CONFIG_FOLDER = "conf"
"""Folder of config files in a package with such an entry point."""
_TRUSTED: set[str] = set()


@dataclass(frozen=True)
class PartsPackage:
    """An installed package that adds parts."""

    place: str
    """The module or package whose classes and functions settings may name."""

    @property
    def config_folder(self) -> Path | None:
        """Return the folder of its config files, or None if it has none. Nothing is imported."""
        for folder in package_folders(self.place.partition(".")[0]):
            if (folder / CONFIG_FOLDER).is_dir():
                return folder / CONFIG_FOLDER
        return None


def installed_packages() -> tuple[PartsPackage, ...]:
    """Return the installed packages with an entry point for headstart, sorted by name. Nothing is imported."""
    return _installed(tuple(sys.path))


@functools.cache
def _installed(path: tuple[str, ...]) -> tuple[PartsPackage, ...]:
    found = {point.name: point.module for point in importlib.metadata.entry_points(group=GROUP)}
    return tuple(PartsPackage(found[name]) for name in sorted(found))


def installed_places() -> tuple[str, ...]:
    """Return the modules of installed packages whose classes and functions settings may name."""
    return tuple(one.place for one in installed_packages())


def trust(package: str) -> str:
    """Trust a package until the process ends, so that runs may use its kinds of target; return its name."""
    _TRUSTED.add(package)
    return package


def trusted_places() -> tuple[str, ...]:
    """Return the modules whose classes may be imported if a run names them."""
    return (*installed_places(), *sorted(_TRUSTED))


def is_there(module: str) -> bool:
    """Return whether a top-level module can be found. Nothing is imported."""
    try:
        return module in sys.modules or find_spec(module) is not None
    except ValueError:  # its spec is not set
        return False


def package_folders(module: str) -> Iterator[Path]:
    """Yield the folders of a top-level package. Nothing is imported."""
    spec = find_spec(module) if is_there(module) else None
    yield from map(Path, (spec.submodule_search_locations if spec else None) or ())


def source_files(module: str) -> list[Path]:
    """Return the Python files of a top-level package or module, sorted; none if it has none."""
    try:
        spec = find_spec(module)
    except ValueError:
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations is None:
        return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []
    return sorted(path for folder in spec.submodule_search_locations for path in Path(folder).rglob("*.py"))


def own_code(packages: Iterable[str]) -> dict[str, str]:
    """Return the hash of the Python files of each top-level package or module, by name."""
    return {package: _code_of(package) for package in sorted(set(packages))}


@functools.cache  # once: later edits do not change the code that this process has loaded
def _code_of(package: str) -> str:
    digest = hashlib.sha256()
    for path in source_files(package):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
