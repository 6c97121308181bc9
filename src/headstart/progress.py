"""Show the progress of work: a bar on a terminal, a line every 30 seconds elsewhere, nothing for the first 2 seconds.

A thread reads the count. So counting costs one addition, and the time is shown even during a step of minutes.
"""

import atexit
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

if TYPE_CHECKING:
    from tqdm import tqdm

T = TypeVar("T")
PATIENCE = 2.0  # seconds until work is shown
BETWEEN_BARS, BETWEEN_LINES = 0.5, 30.0  # seconds between updates, on a terminal and elsewhere
_LOCK = threading.RLock()
_OPEN: list["ProgressLine"] = []  # the last one is shown
_LABELS: list[str] = []  # the names of the enclosing work, outermost first
_LAST_LINE = [-BETWEEN_LINES]  # the time of this process's last line
_ONLY_LINES = [False]


class ProgressLine:
    """A context manager that counts and shows work.

    ``total`` is the amount in ``unit``, or None if unknown. ``done`` of it was done before and does not count for the
    speed. ``note`` may be set at any time. Nested work hides the work around it.
    """

    def __init__(self, what: str, total: int | None = None, unit: str = "images", done: int = 0) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.before = self.done = done
        self.note = ""
        self.start = 0.0
        self._bar: tqdm[Any] | None = None
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        if _is_silent():
            return self
        self.start = time.monotonic()
        with _LOCK:
            if _OPEN:
                _OPEN[-1]._hide()
            _OPEN.append(self)
        threading.Thread(target=self._watch, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self._ended.set()
        with _LOCK:
            self._hide()
            if self in _OPEN:
                _OPEN.remove(self)

    def advance(self, count: int = 1) -> None:
        """Add ``count`` to the work done."""
        self.done += count

    def line(self, now: float) -> str:
        """Return "training: 640 of 50,000 images (1 %), 213 images/s, 3:51 left"; ``now`` is ``time.monotonic()``."""
        seconds, new = now - self.start, self.done - self.before
        parts = []
        if self.total:
            parts.append(f"{self.done:,} of {self.total:,} {self.unit} ({100 * self.done // self.total} %)")
        elif self.done:
            parts.append(f"{self.done:,} {self.unit}")
        parts.append(self._speed(now))
        if self.total and new and seconds > 0:
            parts.append(f"{duration((self.total - self.done) * seconds / new)} left")
        else:
            parts.append(f"{duration(seconds)} so far")
        return f"{self._title()}: {', '.join(filter(None, [*parts, self.note]))}"

    def show(self, now: float) -> float:
        """Show the progress if this is the innermost work; return the seconds until the next update."""
        bars = _is_terminal()
        with _LOCK, suppress(OSError, ValueError):  # standard error may be full or closed
            if not self._ended.is_set() and _OPEN and _OPEN[-1] is self:
                if bars:
                    self._draw(now)
                elif now - _LAST_LINE[0] >= BETWEEN_LINES:
                    _LAST_LINE[0] = now
                    print(self.line(now), file=sys.stderr, flush=True)
        return BETWEEN_BARS if bars else max(0.1, min(BETWEEN_LINES, _LAST_LINE[0] + BETWEEN_LINES - now))

    def _watch(self) -> None:
        wait = PATIENCE
        while not self._ended.wait(wait):
            wait = self.show(time.monotonic())

    def _title(self) -> str:
        return ", ".join([*_LABELS, self.what])

    def _speed(self, now: float) -> str:
        seconds, new = now - self.start, self.done - self.before
        if not new or seconds <= 0:
            return ""
        return f"{_short(new / seconds)} {self.unit}/s" if new >= seconds else f"{_short(seconds / new)} s each"

    def _draw(self, now: float) -> None:
        if self._bar is None:
            from tqdm import tqdm  # imported here, because most work ends before its bar is shown

            amount = "{percentage:3.0f} % |{bar}| {n_fmt}/{total_fmt}" if self.total else "{n_fmt}"
            amount = amount if self.unit else ""
            left = "<{remaining}" if self.total else ""
            self._bar = tqdm(
                total=self.total, initial=self.before, leave=False, dynamic_ncols=True,
                bar_format=f"{{desc}}: {amount} [{{elapsed}}{left}{{postfix}}]",
                file=sys.stderr, delay=1e-9, disable=False,
            )  # fmt: skip
            self._bar.start_t -= now - self.start
        self._bar.desc, self._bar.n = self._title(), self.done
        self._bar.set_postfix_str(", ".join(filter(None, [self._speed(now), self.note])), refresh=False)
        self._bar.refresh()

    def _hide(self) -> None:
        if self._bar is not None:
            with suppress(OSError, ValueError):
                self._bar.close()
            self._bar = None


def counted(items: Iterable[T], what: str, total: int | None = None, unit: str = "images") -> Iterator[T]:
    """Yield the items and count them."""
    with ProgressLine(what, total, unit) as progress:
        for item in items:
            yield item
            progress.advance()


def counted_batches(loader: Iterable[Any], what: str) -> Iterator[Any]:
    """Yield the batches of a loader and count their images."""
    with ProgressLine(what, images_of(loader)) as progress:
        for batch in loader:
            yield batch
            progress.advance(len(batch.positions))


def images_of(loader: Any) -> int | None:
    """Return the number of images in one pass of a loader, or None if unknown."""
    return len(loader.dataset) if hasattr(loader, "dataset") else None


@contextmanager
def within(label: str, only_lines: bool = False) -> Iterator[None]:
    """Prefix the name of all work inside with ``label``; ``only_lines`` if other processes share the terminal."""
    before = _ONLY_LINES[0]
    _LABELS.append(label)
    _ONLY_LINES[0] = before or only_lines
    try:
        yield
    finally:
        _LABELS.pop()
        _ONLY_LINES[0] = before


def write(line: str) -> None:
    """Print a line to standard output, above the bar if one is shown."""
    with _LOCK:
        bar = _OPEN[-1]._bar if _OPEN else None
        if bar is None:
            print(line)
            return
        bar.clear()
        print(line, flush=True)
        bar.refresh()


def duration(seconds: float) -> str:
    """Return "0:07", "12:30" or "1:02:05"."""
    minutes, rest = divmod(round(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _short(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _is_silent() -> bool:
    """Return whether another process shows the progress, or the environment (TQDM_DISABLE) forbids it."""
    follows = any(os.environ.get(name, "0").strip() not in ("", "0") for name in ("RANK", "SLURM_PROCID"))
    return follows or sys.stderr is None or os.environ.get("TQDM_DISABLE", "").lower() not in ("", "0", "false")


def _is_terminal() -> bool:
    """Return whether standard error is a terminal that can overwrite a line and no other process uses."""
    return not sys.stderr.closed and sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not _ONLY_LINES[0]


@atexit.register
def _close_all() -> None:
    """Close every bar before the interpreter ends."""
    for progress in list(_OPEN):
        progress.__exit__()
