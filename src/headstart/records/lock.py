"""Lock a directory while a process works in it. The lock ends with the process, even if that is killed."""

import errno
import fcntl
import os
import struct
import sys
import warnings
from pathlib import Path
from typing import IO, Any

from headstart.records.names import LOCK_FILE

FLOCK_FORMAT = "hhqqi"  # Linux's struct flock: type, whence, start, length, process
# A POSIX lock belongs to a process, not to its forks: workers that live longer than a killed run do not hold it. But
# closing the file anywhere in the process releases it, so the locks of this process are kept here and not opened again.
_HELD: dict[str, tuple[int, Any]] = {}


class RunLock:
    """The lock of a directory, held until it is released or the process ends."""

    def __init__(self, directory: Path, name: str = LOCK_FILE) -> None:
        self.path = directory.resolve() / name

    def acquire(self) -> bool:
        """Take the lock without waiting. Return False if a process holds it, even this one."""
        if _is_held_here(self.path):
            return False
        file = self.path.open("a")
        if _take_fails(file) or not _is_still_named(file, self.path):
            file.close()  # another process holds it, or has just removed it
            return False
        _HELD[str(self.path)] = (os.getpid(), file)
        return True

    def release(self) -> None:
        """Release the lock and remove its file."""
        entry = _HELD.pop(str(self.path), None)
        if entry is not None:
            self.path.unlink(missing_ok=True)
            entry[1].close()

    def __enter__(self) -> "RunLock":
        if not self.acquire():
            raise BlockingIOError(f"'{self.path.parent}' is in use by another process.")
        return self

    def __exit__(self, *stopped: object) -> None:
        self.release()


def is_locked(directory: Path) -> bool:
    """Return whether a process holds the lock of a directory, without taking it."""
    path = directory.resolve() / LOCK_FILE
    if _is_held_here(path):
        return True
    try:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK), "r+b", buffering=0)
    except OSError:  # never locked, or not readable
        return False
    with file:
        return _is_taken(file)


def _is_taken(file: IO[Any]) -> bool:
    """Return whether another process holds the lock of an open file. Only Linux answers without taking it."""
    if sys.platform != "linux":
        return _take_fails(file)
    try:
        answer = fcntl.fcntl(file, fcntl.F_GETLK, struct.pack(FLOCK_FORMAT, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError:
        return False
    return bool(struct.unpack(FLOCK_FORMAT, answer)[0] != fcntl.F_UNLCK)


def _take_fails(file: IO[Any]) -> bool:
    """Take the lock of an open file; return True if another process holds it."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return True
        warnings.warn(
            f"'{file.name}' is on a file system without locks: make sure that no run starts twice", stacklevel=3
        )
    return False


def _is_still_named(file: IO[str], path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _is_held_here(path: Path) -> bool:
    owner, _ = _HELD.get(str(path), (None, None))
    return owner == os.getpid()
