"""SIGTERM and SIGINT end a run after its current step, with a checkpoint; a second one ends it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

QUEUE = signal.SIGUSR2  # what a cluster sends when a job's time is nearly up
STOPPING = (signal.SIGINT, signal.SIGTERM, QUEUE)


class Interrupted(KeyboardInterrupt):
    """The run was stopped from outside."""


class Stop:
    """What signals ask for. While ``waiting`` they only leave a note; otherwise they end the run at once."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.waiting = False
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Whether the run should end after this step."""
        return self.received is not None

    @property
    def reason(self) -> str:
        """For people."""
        return f"stopped by {signal.Signals(self.received or signal.SIGINT).name}"

    def end(self) -> None:
        """End the run: with what was asked for. Raises Interrupted."""
        self.waiting = False
        raise Interrupted(self.reason)

    def listen(self) -> None:
        """Handle the signals, which the main thread gets; again after others have put handlers of theirs over ours."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOPPING:
            before = signal.getsignal(number)
            if before == self._handle:
                continue
            self._before.setdefault(number, before)
            if number == QUEUE and not callable(self._before[number]):
                continue  # nobody here waits for it, so it keeps its meaning
            signal.signal(number, self._handle)

    def restore(self) -> None:
        """Put the earlier handlers back."""
        for number, handler in self._before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        self._before = {}

    def _handle(self, number: int, frame: FrameType | None) -> None:
        again, self.received = self.asked, number
        if again or not self.waiting:
            self.end()


_CURRENT = Stop()


def current() -> Stop:
    """What signals have asked of the run of this process."""
    return _CURRENT


@contextmanager
def listening() -> Iterator[Stop]:
    """Handle signals meanwhile.

    A signal of a cluster is handed on, once the run has ended, to whoever listened before: it puts the job back into
    the queue.
    """
    global _CURRENT
    stop = _CURRENT = Stop()
    stop.listen()
    try:
        yield stop
    finally:
        handed = stop._before.get(QUEUE) if stop.received == QUEUE else None
        stop.restore()
        if handed is not None:
            handed(QUEUE, None)
