"""What a run says: on the terminal and in its log."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from headstart import progress

LOUD = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning", "lightning_fabric", "lightning")
# Said by Lightning, and meant so here: small data needs no workers, frozen stages stay in eval mode.
MEANT = (
    ".*custom batch sampler.*for prediction.*",  # it returns every image
    ".*does not have many workers.*",
    ".*in eval mode at the start of training.*",
    ".*smaller than the logging interval.*",
    ".*command is available on your system but is not used.*",  # Slurm is there, and a run needs none
    ".*Checkpoint directory .* exists and is not empty.*",
    ".*your dataloader is not resumable.*",  # its order is drawn from the place where training goes on
    ".*recommended to use .self.log.*sync_dist=True.*",  # what is logged is the same everywhere
    ".*LeafSpec.*",
    ".*treespec.*",
)


class _Terminal(logging.Handler):
    """Lines to standard output, above any progress bar; warnings are marked, tracebacks are for the file alone."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info:
            return
        mark = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"  # which may lack some of a name's letters
        told = (mark + record.getMessage()).encode(encoding, "backslashreplace").decode(encoding)
        progress.write(told)


class _File(logging.FileHandler):
    """The log. A disk that takes no more of it shows in what else is written, and is no news here."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - of logging
        """Leave the line out where the disk is at fault; a bug in a message still shows."""
        if not isinstance(sys.exception(), OSError):
            super().handleError(record)

    def close(self) -> None:
        """Close the file, whether its end can be written or not."""
        with suppress(OSError):
            super().close()


@contextmanager
def talking(file: Path | None = None) -> Iterator[None]:
    """What headstart logs goes to the terminal, and with the time of day to the file, if there is one."""
    logger = logging.getLogger("headstart")
    handlers: list[logging.Handler] = [_Terminal()]
    if file is not None:
        written = _File(file, encoding="utf-8", errors="backslashreplace")
        written.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        handlers.append(written)
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


def quieten() -> None:
    """Silence what Lightning says of itself; warnings that are news still show."""
    for name in LOUD:
        logging.getLogger(name).setLevel(logging.ERROR)
    for message in MEANT:
        warnings.filterwarnings("ignore", message)
