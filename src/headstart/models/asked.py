"""Find the images that a command names: files, folders, and lists of files."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.data.table import read_table
from headstart.errors import DataError, nearest
from headstart.files import printable
from headstart.inputs.found import files_by_suffix, walk

LISTS = (".csv", ".tsv", ".txt")
COLUMNS = ("path", "image", "file", "filename", "id")  # of the paths in a list, the first one that it has
MOST_LISTED = 2**28  # bytes of a list


def asked_images(given: Sequence[Path]) -> tuple[list[Path], list[str]]:
    """Return the images in the order of the arguments, each file once, and sentences on what is left out.

    A folder gives all images below it, by name. A list gives its files in order: a CSV file with a column ``path``, or
    a text file with a path a line; relative paths are relative to the list. Raises DataError if there is nothing.
    """
    notes: list[str] = []
    found = [path for place in given for path in _of(place, notes)]
    once = {os.path.abspath(path): path for path in reversed(found)}  # noqa: PTH100 - links are not followed
    unique = list(reversed(once.values()))
    if twice := len(found) - len(unique):
        notes.append(f"{twice} {'path was' if twice == 1 else 'paths were'} named again and count once.")
    if not unique:
        raise DataError(f"No image was found in {', '.join(repr(str(place)) for place in given)}.")
    return unique, notes


def _of(place: Path, notes: list[str]) -> Iterator[Path]:
    if place.is_dir():
        folder = walk(place)
        images = folder.every_image()
        others = [name for one in folder.below() for name in one.others]
        dead = sum(len(one.dead) for one in folder.below())
        if not images:
            held = f"; it holds {files_by_suffix(others)}" if others else ""
            raise DataError(f"The folder '{printable(str(place))}' holds no image{held}.")
        if dead:
            notes.append(f"'{printable(str(place))}' holds {dead} broken links, which are left out.")
        yield from images
    elif place.suffix.lower() in LISTS and place.is_file():
        yield from _listed(place)
    elif place.exists():
        yield place
    else:
        near = [str(entry) for entry in place.parent.iterdir()] if place.parent.is_dir() else []
        hint = nearest(str(place), near)
        raise DataError(
            f"There is no image, folder or list '{printable(str(place))}'.{hint if hint.startswith(' Did') else ''}"
        )


def _listed(file: Path) -> Iterator[Path]:
    if file.stat().st_size > MOST_LISTED:
        raise DataError(f"'{file}' has more than {MOST_LISTED:,} bytes; give a shorter list.")
    if file.suffix.lower() == ".txt":
        try:
            names = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
        except UnicodeDecodeError as error:
            raise DataError(f"'{file}' is no text in UTF-8 (byte {error.start}).") from None
    else:
        table = read_table(file)
        places = [place for name in COLUMNS if (place := table.find("path", name)) is not None]
        if not places:
            raise DataError(f"'{file}' has no column 'path'; its header reads '{', '.join(table.header)}'.")
        names = [row[places[0]] for _, row in table.rows]
    names = [name for name in names if name]
    if not names:
        raise DataError(f"The list '{file}' names no image.")
    yield from (file.parent / name for name in names)
