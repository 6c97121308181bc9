"""Keep freed memory in the process, so that large tensors do not cost page faults at every step. Imports no torch.

The C library (glibc) returns a large block to the system as soon as it is freed, and the next batch gets fresh pages,
which the system clears one by one. During training this happens for every activation of every step.
"""

import ctypes
import sys

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # the numbers of these options in glibc's malloc.h
NEVER = -1  # as a size: more than any memory
KEPT = {TRIM_THRESHOLD: NEVER, MMAP_MAX: 0}
DEFAULT = {TRIM_THRESHOLD: 128 * 1024, MMAP_MAX: 65536}


def keep_freed_memory(wanted: bool) -> bool:
    """Keep freed memory for later tensors, or return it to the system as usual; return whether this had an effect.

    What is free at the call is returned, so that a run does not hold the memory of an earlier one. It works on Linux
    with glibc; elsewhere nothing changes.
    """
    library = _glibc()
    if library is None:
        return False
    done = [library.mallopt(option, value) for option, value in (KEPT if wanted else DEFAULT).items()]
    library.malloc_trim(0)
    return all(done)


def _glibc() -> ctypes.CDLL | None:
    """Return the C library of this process if it is glibc."""
    if sys.platform != "linux":
        return None
    library = ctypes.CDLL(None)
    return library if hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt") else None
