"""Write the log of a run to the terminal and to its file."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart import progress

LOUD = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric", "lightning")
# Warnings of Lightning about intended behaviour: small data needs no workers, frozen stages stay in eval mode.
INTENDED = (
    ".*custom batch sampler.*for prediction.*",  # it returns every image
    ".*does not have many workers.*",
    ".*in eval mode at the start of training.*",
    ".*smaller than the logging interval.*",
    ".*command is available on your system but is not used.*",  # Slurm exists, but a run does not need it
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*your dataloader is not resumable.*",  # its order depends on the epoch and the batch
    ".*recommended to use .self.log.*sync_dist=True.*",  # all processes log the same
    ".*LeafSpec.*",
    ".*treespec.*",
)


class _Terminal(logging.Handler):
    """A handler that prints lines above any progress bar, marks warnings, and omits tracebacks."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            return
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # it may lack letters of a name
        line = (mark + record.getMessage()).encode(encoding, "backslashreplace").decode(encoding)
        progress.write(line)


class _File(logging.FileHandler):
    """The log file. It ignores errors of the disk, because other files of the run report them."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of logging
        """Omit the line after an error of the disk; still show a bug in a message."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, even if its end cannot be written."""
        with suppress(OSError):
            super().close()


@contextmanager
def show_log(file: Path | None = None) -> Iterator[None]:
    """Send headstart's log to the terminal and, with the time of day, to the file, if any."""
    logger = logging.getLogger("headstart")
    handlers: list[logging.Handler] = [_Terminal()]
    if file is not None:
        to_file = _File(file, encoding="utf-8", errors="backslashreplace")
        to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(to_file)
    level, propagate = logger.level, logger.propagate
    logger.setLevel(logging.INFO)
    logger.propagate = False
    for handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    finally:
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = propagate


def silence_lightning() -> None:
    """Silence Lightning's messages about itself; other warnings still show."""
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in INTENDED:
        warnings.filterwarnings("ignore", message)


@contextmanager
def errors_only(name: str) -> Iterator[None]:
    """Hide the information and the warnings of the loggers below ``name`` inside this context."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
