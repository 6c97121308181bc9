"""Small facts about images that were read before, so that they need not be read again."""

import contextlib
from pathlib import Path

from headstart.files import write_atomically


class Facts:
    """A folder with one small file a fact, under a key of hex digits.

    Nothing breaks without it, so a folder that cannot be read or written is no error. This process remembers its own.
    """

    _remembered: dict[str, str] = {}

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def get(self, key: str) -> str | None:
        """Return what was noted under a key; None where nothing was."""
        if key in self._remembered:
            return self._remembered[key]
        with contextlib.suppress(OSError, ValueError):
            if self.folder is not None:
                return (self.folder / key[:32]).read_text().strip() or None
        return None

    def put(self, key: str, fact: str) -> None:
        """Note a fact."""
        self._remembered[key] = fact
        with contextlib.suppress(OSError):
            if self.folder is not None:
                self.folder.mkdir(parents=True, exist_ok=True)
                write_atomically(self.folder / key[:32], fact + "\n")
