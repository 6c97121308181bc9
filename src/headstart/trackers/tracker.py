"""Send the curves of a run to an experiment tracker, each number once, without any effect on the run."""

import json
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.boundary.documents import read_json
from headstart.boundary.opening import first_line
from headstart.errors import DataError
from headstart.files import expanded, write_atomically
from headstart.records.curves import CurveLogger, is_test, plain_settings
from headstart.records.names import TRACKER_FILE

log = logging.getLogger(__name__)
FINAL = "final"  # the entry of ``SentNumbers.once`` for the final scores


@dataclass
class SentNumbers:
    """The id of a run in a tracker, and the last numbers that were sent there. A file of the run directory holds it."""

    id: str
    epoch: int = -1  # the last one with numbers
    names: list[str] = field(default_factory=list)  # of the numbers of that epoch
    once: list[str] = field(default_factory=list)  # tags of images, and FINAL

    def __post_init__(self) -> None:
        listed = isinstance(self.names, list) and isinstance(self.once, list)
        if not (listed and isinstance(self.epoch, int) and re.fullmatch(r"[\w.+-]+", self.id)):
            raise TypeError(f"no numbers of a tracker: {self}")

    def holds(self, epoch: int, name: str) -> bool:
        """Return whether a number was sent."""
        return epoch < self.epoch or (epoch == self.epoch and name in self.names)

    def add(self, epoch: int, names: list[str]) -> None:
        """Note numbers of an epoch as sent."""
        if epoch > self.epoch:
            self.epoch, self.names = epoch, []
        self.names += names


class TrackerCurves(CurveLogger):
    """Opens a record in a tracker, sends numbers and images, and closes the record with the status of the run.

    A tracker does not delete numbers. A resumed run continues its record, and does not send again what the record has:
    a repeated epoch has the same numbers, bit for bit. A run that starts from the beginning gets a new record.

    An error of the tracker stops this logger, with one warning. The results of the run are in its directory.
    """

    keeps_images = True
    package = ""  # also the name of the logger in the settings

    def __init__(
        self, folder: Path | str, project: str = "headstart", group: str | None = None, dir: str | None = None
    ) -> None:
        super().__init__(folder)
        self.project = project
        self.group = group or self.folder.absolute().parent.name  # the folder of the sweep
        self.place = (expanded(dir) if dir else self.folder / self.package).absolute()
        self.sent: SentNumbers | None = None  # None: not open, or stopped
        self.before = SentNumbers("none")  # sent by earlier processes
        self.continues = False

    def open_record(self, record: str | None, settings: Mapping[str, bool | int | float | str]) -> str:
        """Open the record with this id, or a new one with these settings if it is None, and return its id."""
        raise NotImplementedError

    def send(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Send numbers of an epoch, counted from 0."""
        raise NotImplementedError

    def send_image(self, tag: str, image: NDArray[np.uint8]) -> None:
        """Send an image (H, W, 3)."""
        raise NotImplementedError

    def close_record(self, status: str) -> str:
        """Close the record with a status of run.json; return one line that says where it is and how to show it."""
        raise NotImplementedError

    def resume(self, state: Mapping[str, Any] | None) -> None:
        """Return to the rows of that state; its record is continued, and without a state a new one begins."""
        super().resume(state)
        self.continues = state is not None

    def begin(self, settings: Mapping[str, Any]) -> None:
        """Open the record and send the settings."""
        super().begin(settings)
        known = self._read() if self.continues else None
        self.before = known or SentNumbers("none")
        self._guarded(lambda: self._open(known.id if known else None))

    def write(self, epoch: int, fresh: Mapping[str, float]) -> None:
        """Send the numbers of an epoch that the record does not have, under the names of metrics.csv."""
        sent = self.sent
        numbers = {name: value for name, value in fresh.items() if not self.before.holds(epoch, name)}
        if sent is None or not numbers:
            return
        self._guarded(lambda: self.send(epoch, numbers))
        sent.add(epoch, list(numbers))
        self._write()

    def log_images(self, tag: str, images: NDArray[np.uint8]) -> None:
        """Send an image, unless the record has it."""
        if not self.muted:
            self._send_once(tag, lambda: self.send_image(tag, images))

    def finish(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Send the test scores at the chosen epoch, and all final scores as final/..., as in TensorBoard."""
        numbers = {name: value for name, value in metrics.items() if is_test(name)}
        numbers |= {f"final/{name.replace('/', '_')}": value for name, value in metrics.items()}
        self._send_once(FINAL, lambda: self.send(epoch, numbers))

    def end(self, status: str) -> None:
        """Close the record."""
        if self.sent is not None:
            self._guarded(lambda: log.info("%s", self.close_record(status)))
        self.sent = None

    def finalize(self, status: str) -> None:
        """Do nothing: Lightning calls this after each fit and test, but the record is open until the run ends."""

    def _open(self, record: str | None) -> None:
        opened = self.open_record(record, plain_settings(self.settings))
        self.sent = SentNumbers(**{**asdict(self.before), "id": opened})
        self._write()

    def _send_once(self, what: str, send: Callable[[], None]) -> None:
        if self.sent is not None and what not in self.sent.once:
            self.sent.once.append(what)
            self._guarded(send)
            self._write()

    def _guarded(self, call: Callable[[], None]) -> None:
        """Call the tracker; after an error, call it no more."""
        try:
            call()
        except Exception as error:  # a tracker raises whatever its network and its server do
            self.sent = None
            log.warning(
                "logger=%s has stopped: %s; the run continues, and its directory has all results",
                self.package, first_line(error).rstrip("."),
            )  # fmt: skip

    def _read(self) -> SentNumbers | None:
        try:
            return SentNumbers(**read_json(self.folder, TRACKER_FILE.format(self.package)))
        except (DataError, TypeError):  # none, or damaged: a new record begins
            return None

    def _write(self) -> None:
        if self.sent is not None:
            write_atomically(self.folder / TRACKER_FILE.format(self.package), json.dumps(asdict(self.sent)))
