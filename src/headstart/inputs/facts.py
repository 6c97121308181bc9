"""Small facts about images that were read before, so that they need not be read again."""

import contextlib
import os
from pathlib import Path

from headstart.files import write_atomically


class Facts:
    """A folder with one small file a fact, under a key of hex digits; without a folder, this process remembers.

    Nothing breaks without it, so a folder that cannot be read or written is no error.
    """

    _remembered: dict[str, str] = {}

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: str) -> str | None:
        """Return what was noted under a key; None where nothing was."""
        if self.folder is None:
            return self._remembered.get(key)
        with contextlib.suppress(OSError, ValueError):
            return (self.folder / key[:32]).read_text().strip() or None
        return None

    def put(self, key: str, fact: str) -> None:
        """Note a fact."""
        if self.folder is None:
            self._remembered[key] = fact
            return
        with contextlib.suppress(OSError):
            self.folder.mkdir(parents=True, exist_ok=True)
            write_atomically(self.folder / key[:32], fact + "\n")


def file_state(path: str | Path) -> str:
    """Return what changes whenever a file does: nobody can set the time of change (ctime) by hand."""
    try:
        state = os.stat(path)  # noqa: PTH116  # faster than Path's, for 50,000 files
    except (OSError, ValueError):
        return "unreadable"
    return f"{state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {state.st_ino}"
