"""Write files atomically, check folders before the work, and make file names printable."""

import os
import tempfile
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from headstart.errors import CrashError, HeadstartError, nearest
from headstart.system_errors import reason_of, system_error

WRITTEN: deque[Path] = deque(maxlen=8)
"""The files that this command wrote last; the message of an error that ends it names them."""
PROBE = b"\0" * 4096  # not empty, because a full disk may still take an empty file


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write to a temporary file, then rename it: the old content stays until the new content is complete."""
    with atomic_file(path) as file:
        # A file name that is not UTF-8 holds surrogates. Written as \udce9, JSON and YAML can read them back.
        file.write(content.encode(errors="backslashreplace") if isinstance(content, str) else content)


def hint_beside(path: Path, fits: Callable[[Path], bool] = Path.exists) -> str:
    """Return a hint for a missing path: of the paths that fit in its folder, the one with the most similar name."""
    try:
        beside = path.parent.iterdir() if path.parent.is_dir() else ()
        names = [entry.name for entry in beside if not entry.name.startswith(".") and fits(entry)]
    except OSError:
        return ""
    hint = nearest(path.name, names)  # of whole paths, all in one folder would be close
    return hint if hint.startswith(" Did") else ""


def expanded(path: str | os.PathLike[str]) -> Path:
    """Return the path with ~ and ~name replaced by the home folder; unlike ``Path.expanduser``, keep unknown names."""
    return Path(os.path.expanduser(path))  # noqa: PTH111


@contextmanager
def atomic_file(path: Path, durable: bool = False) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces ``path`` if it is written without an error.

    ``durable`` waits for the disk first, so that a power cut leaves the old file or the new one.
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
    """Replace the temporary file's name in errors by ``path``."""
    try:
        yield
    except OSError as error:
        known = error.errno is not None  # otherwise the file name would replace the error's own message
        if known and (error.filename is None or Path(os.fsdecode(error.filename)).parent == path.parent):
            error.filename = str(path)
        raise


def check_writable(folder: Path, mend: str, names: Iterable[str] = ()) -> None:
    """Raise HeadstartError if nothing can be written to the folder, or CrashError if the machine is at fault.

    Creates a file there, and the folder if it is missing, and removes both. ``mend`` says what to do, as in "choose
    another --out". ``names`` are the files that will be written: none of them may be a folder.
    """
    for path in (folder / name for name in names):
        if path.is_dir():
            raise HeadstartError(f"'{path}' cannot be written because it is a folder; {mend}.")
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
            with suppress(OSError):  # another process has written a file there
                path.rmdir()


def printable(name: str) -> str:
    """Return a file name with undecodable bytes and control characters written as \\xe9, \\x0a."""
    if name.isprintable():
        return name
    return "".join(f"\\x{ord(c) & 0xFF:02x}" if unicodedata.category(c) in ("Cc", "Cs") else c for c in name)
