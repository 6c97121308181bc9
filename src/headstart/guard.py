"""The guard around every command: whatever fails ends in one sentence, and no terminal makes a command fail."""

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
    """Carry out a command; its exit code, or that of the error that ended it, which is printed.

    1: the machine failed, or there is a bug, which shows its traceback; 2: the user can mend it; 130: interrupted;
    141: nobody reads standard output any more, as in ``headstart status runs | head -1``.
    """
    _settle_streams()
    threading.excepthook = _of_a_thread
    WRITTEN.clear()
    try:
        code = command()
    except KeyboardInterrupt:
        print("headstart: interrupted; every file that was written is whole.", file=sys.stderr)
        code = INTERRUPTED
    except Exception as error:
        code = tell(error)
    return code or _end_of_output()


def tell(error: BaseException) -> int:
    """Print an error as one sentence, a bug as its traceback; the exit code."""
    known = error if isinstance(error, HeadstartError) else system_error(error)
    if known is None:
        traceback.print_exception(error)
        return FAILED
    before = f" Written before: {', '.join(map(str, WRITTEN))}." if known is not error and WRITTEN else ""
    print(f"headstart: {printable(f'{known}{before}')}", file=sys.stderr)
    return FAILED if isinstance(known, CrashError) else WRONG


def _of_a_thread(told: threading.ExceptHookArgs) -> None:
    """Leave an error of the system to who waits for the thread; a bug shows its traceback."""
    if told.exc_value is None or system_error(told.exc_value) is None:
        threading.__excepthook__(told)


class Output(io.TextIOWrapper):
    """Standard output or error. The first error turns it off and is kept in ``failure``: the work matters more."""

    failure: OSError | None = None

    @classmethod
    def to(cls, number: int, encoding: str = "utf-8", unbuffered: bool = False) -> "Output":
        """Return the output to the open file of a number, in lines where that is a terminal, or standard error."""
        file = io.FileIO(number, "wb", closefd=False)
        buffer: Any = file if unbuffered else io.BufferedWriter(file)
        lines = number == 2 or os.isatty(number)
        return cls(buffer, encoding, "backslashreplace", line_buffering=lines, write_through=unbuffered)

    def write(self, text: str) -> int:
        """Write, as long as that works."""
        try:
            return super().write(text)
        except OSError as error:
            self._turn_off(error)
            return len(text)

    def flush(self) -> None:
        """Flush, as long as that works."""
        try:
            super().flush()
        except OSError as error:
            self._turn_off(error)

    def _turn_off(self, error: OSError) -> None:
        self.failure = self.failure or error
        with suppress(OSError):  # what is left in buffers goes nowhere, and so does what other libraries print
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())
            os.close(nowhere)
            super().flush()


def _settle_streams() -> None:
    """Let standard streams take every character, and every error; those that are closed lead nowhere."""
    while (number := os.open(os.devnull, os.O_RDWR)) < 3:  # or a file of ours would get the number of a closed one
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


def _end_of_output() -> int:
    """Flush standard output; the exit code of a command that went well: that of an error of it, else 0."""
    sys.stdout.flush()
    failure = getattr(sys.stdout, "failure", None)
    if failure is None:
        return DONE
    if isinstance(failure, BrokenPipeError):
        return BROKEN_PIPE
    failure.filename = "standard output"
    return tell(failure)
