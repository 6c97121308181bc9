"""Writing files so that a reader never sees half of one, and names so that every reader can take them."""

import os
import tempfile
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write beside the target, then rename: the old content stays until the new is whole."""
    with atomic_file(path) as file:
        # A name of bytes that are no UTF-8 holds what cannot be encoded; as \udce9 JSON and YAML read it back.
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def expanded(path: str | os.PathLike[str]) -> Path:
    """A path with ~ and ~name replaced by the home folder; unlike ``Path.expanduser`` it leaves an unknown name."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


@contextmanager
def atomic_file(path: Path, durable: bool = False) -> Iterator[IO[bytes]]:
    """A file that takes the place of ``path`` once it was written without an error.

    ``durable``: only when the disk has it, so that even a power cut leaves the old one or the new one.
    """
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        Path(temporary).chmod(0o666 & ~umask)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def printable(name: str) -> str:
    """The name of a file as it can be written anywhere: undecodable bytes and control characters as \\xe9, \\x0a."""
    if name.isprintable():
        return name
    return "".join(f"\\x{ord(c) & 0xFF:02x}" if unicodedata.category(c) in ("Cc", "Cs") else c for c in name)
