"""The processes that load images: how they begin, and why they failed. It loads no torch.

A process that cannot hand an image on would leave the run waiting for ever. It ends itself instead, and its exit code
says what it lacked.
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

GRACE = 20  # seconds that such a process goes on after SIGTERM
PATIENCE = 600  # seconds until a batch has to be there
CODES = 100  # an exit code above this is an errno and this
LACKS = {
    errno.EMFILE: ("too many files are open", "allow more, as with 'ulimit -n 4096'"),
    errno.ENFILE: ("too many files are open on this machine", "end other programs"),
    errno.ENOSPC: (
        "the memory that processes share is full",
        "make /dev/shm larger, as with 'docker --shm-size=2g'",
    ),
    errno.EAGAIN: ("no more processes can be started", "raise the limit, which 'ulimit -u' shows"),
    errno.ENOMEM: ("the memory is used up", "use a smaller dataset.batch_size"),
}
PLACES = ("/multiprocessing/", "/torch/utils/data/")  # code that starts such processes, and talks to them


# Where joblib has started this process, the usual context is joblib's, which cannot start those of torch.
CONTEXT = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def rehearse(workers: int) -> None:
    """Make what so many processes need to talk to this one, and let go of it. Raises CrashError where that fails."""
    try:
        needed = [CONTEXT.Event(), *(CONTEXT.Queue() for _ in range(workers + 2))]
        del needed
    except OSError as error:
        raise _failure(error.errno or 0) from error


def begin(worker: int) -> None:
    """Let a process outlast the step, and end it for whatever it cannot hand on.

    A signal to the whole group of processes ends the run after its step, which may still need what is loaded here.
    Ctrl-C is for the run alone. SIGTERM, which is also how Python ends its workers, takes effect a little later.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "alarm"):
        signal.signal(signal.SIGTERM, lambda *_: signal.alarm(GRACE))  # SIGALRM then ends the process
    if (parent := multiprocessing.parent_process()) is not None:
        end_with(parent.pid, last_step=0)
    # Both are called by threads that send to the run: it would wait for what they have lost.
    queue: Any = multiprocessing.queues.Queue
    queue._on_queue_feeder_error = staticmethod(lambda error, item: _end(error))
    sys.excepthook = lambda kind, error, trace: _end(error)


def end_all() -> None:
    """End the processes that a failed run leaves, which would wait for it; nobody is to hear of their death."""
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # torch raises an error for each
    try:
        for process in multiprocessing.active_children():
            process.kill()
            process.join()
    finally:
        signal.signal(signal.SIGCHLD, before or signal.SIG_DFL)


def _end(error: BaseException) -> None:
    if number := _lacked(error):
        os._exit(CODES + number)
    traceback.print_exception(error)
    os._exit(1)


def causes(error: BaseException) -> list[BaseException]:
    """Return what led to an error, the first cause first, and the error itself."""

    def back(one: BaseException | None) -> Iterator[BaseException]:
        while one is not None:
            yield one
            one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)

    return list(back(error))[::-1]


def failure_of(error: BaseException) -> CrashError | None:
    """Return the sentence for an error of the processes that load images; None for any other error.

    The first cause counts: what comes after it, such as a loader that was not finished, says nothing.
    """
    for cause in causes(error):
        if number := _lacked(cause):
            return _failure(number)
    text = str(error)
    if isinstance(error, RuntimeError) and "DataLoader timed out" in text:
        return CrashError(
            f"No image came within {PATIENCE // 60} minutes from the processes that load them; check the disk that they"
            " read, or use dataset.num_workers=0."
        )
    if isinstance(error, RuntimeError) and "DataLoader worker" in text:
        return CrashError(
            "A process that loads images has died, perhaps for want of memory; use a smaller dataset.num_workers."
        )
    return None


def as_raised(error: BaseException) -> BaseException:
    """Return an error as it was raised, where torch has put it into a traceback, or Lightning raised another one.

    Lightning clears up after a loader that failed, and fails at that as well.
    """
    text = str(error)
    if "iter(combined_loader)" in text and error.__context__ is not None:
        return as_raised(error.__context__)
    if not isinstance(error, HeadstartError) or not text.startswith("Caught "):
        return error
    return type(error)(text.strip().splitlines()[-1].partition(": ")[2])


def _failure(number: int) -> CrashError:
    why, mend = LACKS.get(number, (os.strerror(number), "use fewer of them"))
    return CrashError(
        f"The processes that load images cannot work, as {why}; {mend}, or use none with dataset.num_workers=0.",
        lasting=True,
    )


def _lacked(error: BaseException) -> int:
    """Return the errno of what a process that loads images lacked, by whichever side noticed; 0 for other errors."""
    text, number = str(error), 0
    if isinstance(error, OSError) and error.errno is not None:
        frames = traceback.extract_tb(error.__traceback__)
        number = error.errno if any(place in frame.filename for frame in frames for place in PLACES) else 0
    elif "DataLoader worker" in text:
        if found := re.search(r"exit code (\d+)|\[Errno (\d+)\]", text):
            number = int(found[1]) - CODES if found[1] else int(found[2])
        elif "Bus error" in text:
            number = errno.ENOSPC
    elif isinstance(error, RuntimeError):
        if "Too many open files" in text or "ancdata" in text:  # a message that came without its file
            number = errno.EMFILE
        elif found := re.search(r"shared memory.*\((\d+)\)", text):
            number = int(found[1])
    return number if number in LACKS else 0


def usable_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # Linux only
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1
