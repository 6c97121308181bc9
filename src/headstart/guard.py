"""Guard every command: print each error as one sentence, and survive any terminal or closed stream."""

import io
import os
import sys
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from headstart.errors import CrashError, HeadstartError
from headstart.files import WRITTEN, printable
from headstart.system_errors import system_error

DONE, FAILED, WRONG, INTERRUPTED, BROKEN_PIPE, TERMINATED = 0, 1, 2, 130, 141, 143  # exit codes


def guarded(command: Callable[[], int]) -> int:
    """Run a command, print the error that ends it, and return the exit code.

    Exit codes: 0 if done; 1 if the machine failed, or for a bug, shown with its traceback; 2 for an error that the user
    can correct; 130 if interrupted; 141 if standard output was closed, as by ``headstart status runs | head -1``.
    """
    _settle_streams()
    threading.excepthook = _print_thread_bug
    WRITTEN.clear()
    try:
        code = command()
    except KeyboardInterrupt:
        print("headstart: interrupted; every file that was written is complete.", file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:
        code = print_error(error)
    return code or _flush_output()


def print_error(error: BaseException) -> int:
    """Print an error as one sentence, or a bug as its traceback; return the exit code."""
    known = error if isinstance(error, HeadstartError) else system_error(error)
    if known is None:
        traceback.print_exception(error)
        return FAILED
    written = f" Written before: {', '.join(map(str, WRITTEN))}." if known is not error and WRITTEN else ""
    print(f"headstart: {printable(f'{known}{written}')}", file=sys.stderr)
    return FAILED if isinstance(known, CrashError) else WRONG


def _print_thread_bug(failed: threading.ExceptHookArgs) -> None:
    """Print a thread's traceback if it is a bug; the code that waits for the thread reports system errors."""
    if failed.exc_value is None or system_error(failed.exc_value) is None:
        threading.__excepthook__(failed)


class Output(io.TextIOWrapper):
    """Standard output or error. After its first error, kept in ``failure``, it discards all text."""

    failure: OSError | None = None

    @classmethod
    def to(cls, number: int, encoding: str = "utf-8", unbuffered: bool = False) -> "Output":
        """Return the output to a file descriptor; line-buffered for a terminal and for standard error."""
        file = io.FileIO(number, "wb", closefd=False)
        buffer: Any = file if unbuffered else io.BufferedWriter(file)
        lines = number == 2 or os.isatty(number)
        return cls(buffer, encoding, "backslashreplace", line_buffering=lines, write_through=unbuffered)

    def write(self, text: str) -> int:
        """Write the text; stop writing after the first error."""
        try:
            return super().write(text)
        except OSError as error:
            self._turn_off(error)
            return len(text)

    def flush(self) -> None:
        """Flush the buffer; stop writing after the first error."""
        try:
            super().flush()
        except OSError as error:
            self._turn_off(error)

    def _turn_off(self, error: OSError) -> None:
        self.failure = self.failure or error
        with suppress(OSError):  # discard the rest of the buffers, and what other libraries print
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            super().flush()


def _settle_streams() -> None:
    """Let standard streams accept every character and survive errors; send closed ones to the null device."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:  # else our next file would get a closed stream's number
        os.set_inheritable(number, True)
    os.close(number)
    for number, name in ((1, "stdout"), (2, "stderr")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Output.to(number))
        elif type(stream) is io.TextIOWrapper and stream.fileno() == number:
            stream.flush()
            setattr(sys, name, Output.to(number, stream.encoding, stream.write_through))
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _flush_output() -> int:
    """Flush standard output; return 0, or the exit code of an error in writing it."""
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is None:
        return DONE
    if isinstance(failure, BrokenPipeError):
        return BROKEN_PIPE
    failure.filename = "standard output"
    return print_error(failure)
