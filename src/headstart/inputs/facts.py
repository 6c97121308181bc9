"""Cached facts about images, so that they need not be read again."""

import contextlib
import os
from pathlib import Path

from headstart.files import write_atomically


class Facts:
    """A folder with one small file per fact, named by a key of hex digits; without a folder, a dict in this process.

    This is only a cache, so a folder that cannot be read or written raises no error.
    """

    _remembered: dict[str, str] = {}

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: str) -> str | None:
        """Return the fact stored under a key, or None."""
        if self.folder is None:
            return self._remembered.get(key)
        with contextlib.suppress(OSError, ValueError):
            return (self.folder / key[:32]).read_text().strip() or None
        return None

    def put(self, key: str, fact: str) -> None:
        """Store a fact under a key."""
        if self.folder is None:
            self._remembered[key] = fact
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / key[:32], fact + "\n")


def file_state(path: str | Path) -> str:
    """Return a text that changes whenever the file changes: it has the time of change, which users cannot set."""
    try:
        state = os.stat(path)  # noqa: PTH116  # faster than Path.stat, for 50,000 files
    except (OSError, ValueError):
        return "unreadable"
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
