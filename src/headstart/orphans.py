"""No process outlives the one that it works for, however that one ends. It loads no torch."""

import os
import signal
import threading
import time

EVERY = 1.0  # seconds between two looks
LAST_STEP = 4.0  # seconds for a run to end after its step, with a checkpoint
_WATCHED: list[int] = []


def end_with(parent: int | None, last_step: float = LAST_STEP) -> None:
    """Let this process end soon after its parent of that number: after its step, if that takes no longer.

    Nothing is done where the parent is another process, or is being watched.
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
