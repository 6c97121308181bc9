"""End a process when its parent process ends. Loads no torch."""

import os
import signal
import threading
import time

EVERY = 1.0  # seconds between two checks
LAST_STEP = 4.0  # seconds in which a run may finish its step and write a checkpoint
_WATCHED: list[int] = []


def end_with(parent: int | None, last_step: float = LAST_STEP) -> None:
    """End this process when its parent ends: SIGTERM at once, SIGKILL after ``last_step`` seconds.

    Does nothing if ``parent`` is not the process id of the parent, or is watched already.
    """
    if parent is None or parent != os.getppid() or parent in _WATCHED:
        return
    _WATCHED[:] = [parent]
    threading.Thread(target=_watch, args=(parent, last_step), daemon=True).start()


def _watch(parent: int, last_step: float) -> None:
    while os.getppid() == parent:
        time.sleep(EVERY)
    if last_step:
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(last_step)
    os.kill(os.getpid(), signal.SIGKILL)
