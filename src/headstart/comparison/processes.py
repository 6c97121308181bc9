"""Share work between two processes, if processes can be forked and there are two cores."""

import multiprocessing
import os
import sys
from collections.abc import Callable
from typing import Any, TypeVar

from threadpoolctl import threadpool_limits

from headstart.progress import counted

Result = TypeVar("Result")
_WORK: Callable[[int], Any] | None = None  # forked processes find it here, as closures cannot be pickled


def shared(work: Callable[[int], Result], count: int, what: str, unit: str, chunk: int = 1) -> list[Result]:
    """Return ``work`` of 0, 1, ... count - 1, in order; results are pickled. ``what`` names it on the progress line."""
    global _WORK
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else 1
    if min(cores, count) < 2:
        return [work(number) for number in counted(range(count), what, count, unit)]
    _WORK = work
    try:
        with multiprocessing.get_context("fork").Pool(2, _one_thread) as pool:
            return list(counted(pool.imap(_call_work, range(count), chunksize=chunk), what, count, unit))
    finally:
        _WORK = None


def _one_thread() -> None:
    """Use one thread, as the arrays are small and threads would wait for each other."""
    threadpool_limits(1)


def _call_work(number: int) -> Any:
    """Call the work with a number; every OSError is raised as a plain one."""
    assert _WORK is not None
    try:
        return _WORK(number)
    except OSError as error:  # subclasses of libraries may fail to unpickle, and the pool would hang
        if error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, None if error.filename is None else str(error.filename)) from None
