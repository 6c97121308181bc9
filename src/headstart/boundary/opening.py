"""Open regular files inside a run directory, up to a limit of size."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

from headstart.errors import DataError

MB, GB = 2**20, 2**30
FLAGS = os.O_RDONLY | sum(getattr(os, name, 0) for name in ("O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOCTTY"))
KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISLNK, "a link that leads nowhere"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class MissingFileError(DataError):
    """The run directory has no file of this name."""


def unreadable(name: str, why: object) -> DataError:
    """Return the error to raise for a file of a run directory that cannot be read."""
    return DataError(f"{name} cannot be read ({first_line(why)})")


def first_line(value: object, limit: int = 160) -> str:
    """Return the first non-empty line of a text, cut to ``limit`` characters, or else the name of its type."""
    lines = [line.strip() for line in str(value).splitlines() if line.strip()]
    line = lines[0] if lines else type(value).__name__
    return line if len(line) <= limit else line[: limit - 1] + "…"


def open_inside(directory: Path, name: str, most: int) -> BinaryIO:
    """Open the file ``name`` of a run directory for reading, if it has at most ``most`` bytes.

    The path of the directory may have links, but no link in it is followed out of it. Only regular files are opened.
    Raises MissingFileError if there is no such file, DataError for anything else.
    """
    try:
        home = os.path.realpath(directory)
        place = os.path.realpath(os.path.join(home, name))  # noqa: PTH118 - a Path would change unusual names
        if os.path.commonpath([home, place]) != home:
            raise unreadable(name, "it is a link that leads out of the run directory")
        _check_kind(name, os.lstat(place))  # before opening, because opening makes some devices act
        handle = os.open(place, FLAGS)
    except FileNotFoundError:
        if os.path.islink(Path(directory, name)):  # noqa: PTH114
            raise unreadable(name, "it is a link to nothing") from None
        raise MissingFileError(f"{name} is missing") from None
    except NotADirectoryError:
        raise MissingFileError(f"{name} is missing") from None
    except (OSError, ValueError) as error:
        raise unreadable(name, getattr(error, "strerror", None) or error) from None
    file = os.fdopen(handle, "rb")
    try:
        found = os.fstat(handle)
        _check_kind(name, found)
        if found.st_size > most:
            raise unreadable(name, f"it has {_size(found.st_size)}, and at most {_size(most)} are read")
    except BaseException:
        file.close()
        raise
    return file


def read_inside(directory: Path, name: str, most: int) -> bytes:
    """Return the content of the file ``name`` of a run directory. Raises as ``open_inside`` does."""
    with open_inside(directory, name, most) as file:
        try:
            content = file.read(most + 1)
        except OSError as error:
            raise unreadable(name, error.strerror or error) from None
    if len(content) > most:
        raise unreadable(name, f"it grew beyond {_size(most)} while it was read")
    return content


def read_text_inside(directory: Path, name: str, most: int) -> str:
    """Return the UTF-8 text of the file ``name`` of a run directory. Raises as ``open_inside`` does."""
    try:
        return read_inside(directory, name, most).decode("utf-8")
    except UnicodeDecodeError as error:
        raise unreadable(name, f"byte {error.start} is no UTF-8") from None


def is_inside(directory: Path, name: str) -> bool:
    """Return whether a run directory has a regular file of this name that can be opened."""
    try:
        open_inside(directory, name, 2**63).close()
    except DataError:
        return False
    return True


def check_stays_inside(home: Path, *names: str) -> None:
    """Raise DataError if one of these folders below ``home`` is a link out of it; call this before writing there."""
    for name in names:
        if not Path(os.path.realpath(home / name)).is_relative_to(os.path.realpath(home)):
            raise DataError(f"'{home / name}' is a link that leads out of '{home}', and nothing is written there.")


def _check_kind(name: str, found: os.stat_result) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((words for test, words in KINDS if test(found.st_mode)), "no file")
        raise unreadable(name, f"it is {kind}, expected a file")


def _size(count: int) -> str:
    for unit, words in ((GB, "GB"), (MB, "MB"), (2**10, "kB")):
        if count >= unit:
            return f"{count / unit:.4g} {words}"
    return f"{count} bytes"
