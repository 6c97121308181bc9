"""Writing files so that a reader never sees half of one, and names so that every reader can take them."""

import os
import tempfile
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from headstart.errors import CrashError, HeadstartError
from headstart.system_errors import reason_of, system_error

WRITTEN: deque[Path] = deque(maxlen=8)
"""The files that this command has written, the latest ones: what an error that ends it may name."""
PROBE = b"\0" * 4096  # bytes; a full disk may still take an empty file


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
    with _errors_name(path):
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    try:
        with _errors_name(path), os.fdopen(handle, "wb") as file:
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        umask = os.umask(0)
        os.umask(umask)
        with _errors_name(path):
            Path(temporary).chmod(0o666 & ~umask)
            Path(temporary).replace(path)
    except BaseException:
        with suppress(OSError):
            Path(temporary).unlink()
        raise
    if path not in WRITTEN:
        WRITTEN.append(path)


@contextmanager
def _errors_name(path: Path) -> Iterator[None]:
    """Let errors name the file that is written, not the temporary one, or none."""
    try:
        yield
    except OSError as error:
        known = error.errno is not None  # else the error has words of its own, which a file name would replace
        if known and (error.filename is None or Path(os.fsdecode(error.filename)).parent == path.parent):
            error.filename = str(path)
        raise


def check_writable(folder: Path, mend: str, names: Iterable[str] = ()) -> None:
    """Refuse a folder into which nothing can be written, before the work: a file is made there and removed.

    A folder that is missing is made, and removed as well. ``mend`` says what to do, as in "choose another --out".
    ``names`` are those of the files that will be written there: none may be a folder.
    Raises a HeadstartError, a CrashError where the machine is at fault.
    """
    for path in (folder / name for name in names):
        if path.is_dir():
            raise HeadstartError(f"'{path}' cannot be written, as it is a folder; {mend}.")
    made: list[Path] = []
    try:
        for path in (*reversed(folder.parents), folder):
            if not path.is_dir():
                path.mkdir(exist_ok=True)
                made.append(path)
        handle, name = tempfile.mkstemp(dir=folder, prefix=".headstart-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(PROBE)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        kind = CrashError if isinstance(system_error(error), CrashError) else HeadstartError
        raise kind(f"Nothing can be written below '{folder}' ({reason_of(error)}); {mend}.") from error
    finally:
        for path in reversed(made):
            with suppress(OSError):  # another process has put something there
                path.rmdir()


def printable(name: str) -> str:
    """The name of a file as it can be written anywhere: undecodable bytes and control characters as \\xe9, \\x0a."""
    if name.isprintable():
        return name
    return "".join(f"\\x{ord(c) & 0xFF:02x}" if unicodedata.category(c) in ("Cc", "Cs") else c for c in name)
