"""Describe failures of the machine in one sentence each."""

import sys
import traceback
from pathlib import Path

from headstart.errors import CrashError, HeadstartError
from headstart.system_errors import system_error
from headstart.workers import failure_of

NO_MEMORY = ("not enough memory", "can't allocate memory", "cannot allocate memory", "out of memory", "bad_alloc")


def crash_of(error: BaseException) -> CrashError | None:
    """Return an error with one sentence for a failure of the machine; None for other errors, which may be bugs."""
    if (failure := failure_of(error)) is not None:
        return failure
    if is_out_of_memory(error):
        return CrashError(
            "The memory is used up; use a smaller dataset.batch_size or dataset.image_size, or trainer.auto_batch=true,"
            " which passes each batch through the network in parts."
        )
    if not isinstance(error, FileNotFoundError) and (known := system_error(error)) is not None:
        return CrashError(f"{str(known).rstrip('.')}; finished results are kept.")
    return None


def happens_again(error: BaseException) -> bool:
    """Return whether the same settings would end in the same error.

    That is true for wrong settings or data, and for errors while ``prepare`` makes the parts of a run from
    them. It is false if the machine, its disk or its network failed.
    """
    crash = error if isinstance(error, CrashError) else crash_of(error)
    if crash is not None or isinstance(error, OSError):
        return crash is not None and crash.lasting
    frames = traceback.extract_tb(error.__traceback__)
    making = any(
        frame.name == "prepare" and Path(frame.filename).parts[-2:] == ("training", "prepare.py") for frame in frames
    )
    return making or isinstance(error, HeadstartError)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether the machine or its device had not enough memory."""
    torch = sys.modules.get("torch")  # if it is not loaded, it has not run out of memory
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in message for words in NO_MEMORY)
