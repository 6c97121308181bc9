"""End a run after its current step, with a checkpoint, on SIGTERM or SIGINT; a second signal ends it at once."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

QUEUE = signal.SIGUSR2  # a cluster's signal shortly before a job's time limit
STOPPING = (signal.SIGINT, signal.SIGTERM, QUEUE)


class Interrupted(KeyboardInterrupt):
    """The run was stopped from outside."""


class StopSignals:
    """The signals that a run has received. While ``waiting`` they are only recorded; otherwise they end the run."""

    def __init__(self) -> None:
        self.received: int | None = None
        self.waiting = False
        self._before: dict[int, Any] = {}

    @property
    def asked(self) -> bool:
        """Return whether the run should end after this step."""
        return self.received is not None

    @property
    def reason(self) -> str:
        """Return the reason of the end, for display."""
        return f"stopped by {signal.Signals(self.received or signal.SIGINT).name}"

    def end(self) -> None:
        """End the run by raising Interrupted."""
        self.waiting = False
        raise Interrupted(self.reason)

    def listen(self) -> None:
        """Handle the signals in the main thread; call this again after other code has replaced the handlers."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in STOPPING:
            before = signal.getsignal(number)
            if before == self._handle:
                continue
            self._before.setdefault(number, before)
            if number == QUEUE and not callable(self._before[number]):
                continue  # no other handler expects it, so its default stays
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


_CURRENT = StopSignals()


def current() -> StopSignals:
    """Return the signals that the run of this process has received."""
    return _CURRENT


@contextmanager
def listening() -> Iterator[StopSignals]:
    """Handle signals inside this context.

    After the run, a cluster's signal is passed to the earlier handler, which puts the job back into the queue.
    """
    global _CURRENT
    stop = _CURRENT = StopSignals()
    stop.listen()
    try:
        yield stop
    finally:
        requeue = stop._before.get(QUEUE) if stop.received == QUEUE else None
        stop.restore()
        if requeue is not None:
            requeue(QUEUE, None)
