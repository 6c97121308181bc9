"""Start the processes that load images, and explain why they failed. Imports no torch.

A process that cannot send an image would let the run wait for ever. So it ends itself; its exit code gives the reason.
"""

import errno
import multiprocessing
import multiprocessing.queues
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from headstart.errors import CrashError, HeadstartError
from headstart.orphans import end_with

GRACE = 20  # seconds that a process lives after SIGTERM
PATIENCE = 600  # seconds in which a batch must arrive
EXIT_BASE = 100  # the exit code is this plus the errno
SHORTAGES = {
    errno.EMFILE: ("too many files are open", "allow more, as with 'ulimit -n 4096'"),
    errno.ENFILE: ("too many files are open on this machine", "end other programs"),
    errno.ENOSPC: (
        "the memory that processes share is full",
        "make /dev/shm larger, as with 'docker --shm-size=2g'",
    ),
    errno.EAGAIN: ("no more processes can be started", "raise the limit that 'ulimit -u' shows"),
    errno.ENOMEM: ("the memory is used up", "use a smaller dataset.batch_size"),
}
WORKER_CODE = ("/multiprocessing/", "/torch/utils/data/")  # code that starts these processes or sends their data
# In a process that joblib started, the default context is joblib's, which cannot start torch's workers.
CONTEXT = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def rehearse(workers: int) -> None:
    """Create the queues that this many processes need, and release them. Raises CrashError if that fails."""
    try:
        needed = [CONTEXT.Event(), *(CONTEXT.Queue() for _ in range(workers + 2))]
        del needed
    except OSError as error:
        raise _failure(error.errno or 0) from error


def begin(worker: int) -> None:
    """Prepare a process: ignore Ctrl-C, delay SIGTERM, and end it at the first error in sending an image.

    A signal reaches all processes of a run. The run finishes its step first, and still needs the images of that step.
    Python, too, ends its workers with SIGTERM.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))  # SIGALRM then ends the process
    if (parent := multiprocessing.parent_process()) is not None:
        end_with(parent.pid, last_step=0)
    # Threads that send images to the run call both on an error. Without them the run would wait for those images.
    queue: Any = multiprocessing.queues.Queue
    queue._on_queue_feeder_error = staticmethod(lambda error, item: _end(error))
    sys.excepthook = lambda kind, error, trace: _end(error)


def end_all() -> None:
    """End the processes that a failed run leaves behind, without an error message."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # else torch raises an error for each process
    try:
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def _end(error: BaseException) -> None:
    if number := _shortage(error):
        os._exit(EXIT_BASE + number)
    traceback.print_exception(error)
    os._exit(1)


def causes(error: BaseException) -> list[BaseException]:
    """Return the causes of an error, first cause first, and then the error itself."""

    def back(one: BaseException | None) -> Iterator[BaseException]:
        while one is not None:
            yield one
            one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)

    return list(back(error))[::-1]


def failure_of(error: BaseException) -> CrashError | None:
    """Return a CrashError for an error of the processes that load images, or None for any other error.

    The first cause counts; later errors, such as "iter(combined_loader)", only follow from it.
    """
    for cause in causes(error):
        if number := _shortage(cause):
            return _failure(number)
    text = str(error)
    if isinstance(error, RuntimeError) and "DataLoader timed out" in text:
        return CrashError(
            f"The processes that load images sent none within {PATIENCE // 60} minutes; check the disk, or use"
            " dataset.num_workers=0."
        )
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        return CrashError(
            "A process that loads images has died, perhaps because of too little memory; use a smaller"
            " dataset.num_workers."
        )
    return None


def as_raised(error: BaseException) -> BaseException:
    """Return the original of an error that torch put into a traceback, or that Lightning hid behind its own.

    Lightning fails again when it closes a loader that failed.
    """
    text = str(error)
    if "iter(combined_loader)" in text and error.__context__ is not None:
        return as_raised(error.__context__)
    if not isinstance(error, HeadstartError) or not text.startswith("Caught "):
        return error
    return type(error)(text.strip().splitlines()[-1].partition(": ")[2])


def _failure(number: int) -> CrashError:
    reason, remedy = SHORTAGES.get(number, (os.strerror(number), "use fewer of them"))
    return CrashError(
        f"The processes that load images cannot work because {reason}; {remedy}, or use dataset.num_workers=0.",
        lasting=True,
    )


def _shortage(error: BaseException) -> int:
    """Return the errno in ``SHORTAGES`` that caused an error, of a process that loads images or of the run; else 0."""
    text, number = str(error), 0
    if isinstance(error, OSError) and error.errno is not None:
        frames = traceback.extract_tb(error.__traceback__)
        number = error.errno if any(place in frame.filename for frame in frames for place in WORKER_CODE) else 0
    elif "DataLoader worker" in text:
        if found := re.search(r"exit code (\d+)|\[Errno (\d+)\]", text):
            number = int(found[1]) - EXIT_BASE if found[1] else int(found[2])
        elif "Bus error" in text:
            number = errno.ENOSPC
    elif isinstance(error, RuntimeError):
        if "Too many open files" in text or "ancdata" in text:  # a message arrived without its file
            number = errno.EMFILE
        elif found := re.search(r"shared memory.*\((\d+)\)", text):
            number = int(found[1])
    return number if number in SHORTAGES else 0


def core_numbers() -> set[int]:
    """Return the numbers of the cores that this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return set(affinity(0)) if affinity is not None else set(range(os.cpu_count() or 1))


def usable_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(core_numbers())
