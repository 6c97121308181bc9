"""Turn errors of the operating system into one sentence: what failed, why, and what helps."""

import errno
import os
from pathlib import Path

from headstart.errors import CrashError, HeadstartError

_ROOM, _ELSEWHERE, _PATH = "make room, or write elsewhere", "write elsewhere", "choose another path"
_RIGHTS = ("permission is denied", "choose a path that you may use, or change its rights")
# Why nothing can be written, and what helps.
UNWRITABLE = {
    errno.ENOSPC: ("the disk is full", _ROOM),
    errno.EDQUOT: ("the disk quota is used up", _ROOM),
    errno.EFBIG: ("a file may not be that large", "raise the limit that 'ulimit -f' shows, or write elsewhere"),
    errno.EROFS: ("the disk is read-only", _ELSEWHERE),
}
# Why a file or folder cannot be used at all.
UNUSABLE = {
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EIO: ("the disk failed", "check the disk"),
    errno.ESTALE: ("the network disk no longer has it", "mount that disk again"),
    errno.ENOTDIR: ("a part of its path is a file", _PATH),
    errno.EISDIR: ("it is a folder", _PATH),
    errno.ENOTEMPTY: ("a folder of that name exists", _PATH),
    errno.EEXIST: ("a file of that name exists", _PATH),
    errno.ELOOP: ("its links form a circle", _PATH),
    errno.ENAMETOOLONG: ("its name is too long", "choose a shorter path"),
    errno.EMFILE: ("too many files are open", "allow more, as with 'ulimit -n 4096'"),
    errno.ENFILE: ("too many files are open on this machine", "end other programs"),
}
_OF_THE_MACHINE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE}
_MEMORY = "The memory is used up; end other programs, or raise the limit that 'ulimit -v' shows."
_PROCESSES = "No more processes or threads can be started; end others, or raise the limit that 'ulimit -u' shows."


def system_error(error: BaseException) -> HeadstartError | None:
    """Return the sentence for an error of the operating system or a lack of memory, or None for any other error.

    It is a CrashError if the machine failed, or a plain HeadstartError if other settings help.
    """
    words = str(error)
    no_memory = isinstance(error, ImportError) and ("allocate memory" in words or "map segment" in words)
    if isinstance(error, MemoryError) or no_memory or getattr(error, "errno", None) == errno.ENOMEM:
        return CrashError(_MEMORY)
    if isinstance(error, BlockingIOError) or (isinstance(error, RuntimeError) and "start new thread" in words):
        return CrashError(_PROCESSES)
    if not isinstance(error, OSError):
        return None
    kind = CrashError if error.errno in _OF_THE_MACHINE else HeadstartError
    is_path = isinstance(error.filename, str | bytes | os.PathLike)
    name = repr(os.fsdecode(error.filename)) if is_path else ""
    if error.errno in UNWRITABLE:
        why, mend = UNWRITABLE[error.errno]
        return kind(f"Nothing can be written because {why}{name and f' ({name})'}; {mend}.")
    if error.errno == errno.ENOENT:
        if not _has_working_directory():
            return HeadstartError("The working directory was removed; change to another one, as with 'cd ~'.")
        return HeadstartError(f"{name or 'A file'} does not exist; check its path.")
    if error.errno in UNUSABLE:
        why, mend = UNUSABLE[error.errno]
        return kind(f"{name or 'A file'} cannot be used because {why}; {mend}.")
    reason = " ".join((error.strerror or words or type(error).__name__).split()).rstrip(".")
    return CrashError(f"The operating system refused{name and f' to use {name}'}: {reason}.")


def reason_of(error: OSError) -> str:
    """Return in a few words why the operating system refused."""
    known = (UNWRITABLE | UNUSABLE).get(error.errno or 0)
    return known[0] if known else error.strerror or str(error)


def _has_working_directory() -> bool:
    try:
        return bool(Path.cwd())
    except OSError:
        return False
