"""Find the files that a list names, also if the names have backslashes or lack the suffix."""

import contextlib
import functools
import os
from collections import defaultdict
from collections.abc import Collection
from pathlib import Path

from headstart.errors import DataError, nearest
from headstart.files import printable
from headstart.inputs.found import image_suffixes, real_path, walk
from headstart.settings.rules import is_file


class ListedFiles:
    """The files below a folder that a list of images may name."""

    def __init__(self, base: Path) -> None:
        self.base, self.inside = base, real_path(base)

    def file_of(self, name: str) -> str | None:
        """Return the name of the file that ``name`` means, or None if there is none or more than one."""
        for one in (name, name.replace("\\", "/")):
            if is_file(self.base / one):
                return one
        found = self._with_suffix(name)
        return found[0] if len(found) == 1 else None

    def hint(self, name: str) -> str:
        """Return a hint that follows "there is no such file" in a message."""
        found = self._with_suffix(name)
        if len(found) > 1:
            return f" It may be '{found[0]}' or '{found[1]}'; write the suffix."
        last = name.replace("\\", "/").rsplit("/", 1)[-1]
        elsewhere = self._by_name.get(last)
        if elsewhere:
            return (
                f" There is '{elsewhere[0]}' below '{printable(str(self.base))}': write paths from there, or name"
                " another folder with dataset.pictures."
            )
        folder = name.replace("\\", "/").rpartition("/")[0]
        close = nearest(name, [one for one in self._names if one.rpartition("/")[0] == folder])
        return close if "Did" in close else " Paths start from the list's folder, or from dataset.pictures."

    def _with_suffix(self, name: str) -> list[str]:
        """Return the images that have this name without their suffix."""
        if Path(name).is_absolute() or ".." in name or "\0" in name:
            return []
        return self._by_stem.get(os.path.normpath(name.replace("\\", "/")), [])

    @functools.cached_property
    def _names(self) -> list[str]:
        """Return every image below the folder. The folder is searched once, and only if a listed file is missing."""
        try:
            return [path.relative_to(self.base).as_posix() for path in walk(self.base).every_image()]
        except DataError:  # an unreadable folder, which the list may not need
            return []

    @functools.cached_property
    def _by_stem(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self._names:
            found[_without_suffix(name)].append(name)
        return found

    @functools.cached_property
    def _by_name(self) -> dict[str, list[str]]:
        found = defaultdict(list)
        for name in self._names:
            last = name.rsplit("/", 1)[-1]
            found[last].append(name)
            found[_without_suffix(last)].append(name)
        return found


def count_beside(files: Collection[Path]) -> int:
    """Return the number of other files with an image's suffix in the folders of these files."""
    folders: dict[str, set[str]] = defaultdict(set)
    for path in files:
        folders[str(path.parent)].add(path.name)
    count = 0
    for folder, names in folders.items():
        with contextlib.suppress(OSError):
            suffixes = tuple(image_suffixes())
            count += sum(
                one.lower().endswith(suffixes) and one[0] != "."
                for one in {path.name for path in Path(folder).iterdir()} - names
            )
    return count


def _without_suffix(name: str) -> str:
    return os.path.splitext(name)[0]  # noqa: PTH122  # ten times faster than Path.with_suffix
