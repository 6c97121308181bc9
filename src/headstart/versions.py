"""Return the versions of code and packages that results depend on."""

import functools
import hashlib
import importlib.metadata
from pathlib import Path

import headstart


@functools.cache
def code_version(*places: str) -> str:
    """Return the hash of headstart's own source in these files and folders."""
    root = Path(headstart.__file__).parent
    digest = hashlib.sha256()
    for name in places:
        place = root / name
        for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
            digest.update(str(path.relative_to(root)).encode() + path.read_bytes())
    return digest.hexdigest()


@functools.cache
def package_version(package: str) -> str | None:
    """Return the version of a package, or None if it is not installed under this name."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
