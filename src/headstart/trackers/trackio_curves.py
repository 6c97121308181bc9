"""Send curves to Trackio, which keeps them in a local folder."""

import io
import os
from collections.abc import Mapping
from contextlib import redirect_stdout
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from headstart.trackers.tracker import TrackerCurves


class TrackioCurves(TrackerCurves):
    """Writes to TRACKIO_DIR if it is set, and to ``dir`` otherwise. Trackio has one folder for each process.

    Trackio finds a run by its name, so the name ends with an id. It has no status: a run that does not finish gets an
    alert.
    """

    package = "trackio"
    run: Any = None

    def open_record(self, record: str | None, settings: Mapping[str, Any]) -> str:
        """Start a run of Trackio, or continue an earlier one."""
        os.environ.setdefault("TRACKIO_DIR", str(self.place))
        import trackio

        name = record or f"{self.folder.absolute().name}-{uuid4().hex[:6]}"
        with redirect_stdout(io.StringIO()):  # it prints a dozen lines
            self.run = trackio.init(
                self.project, name=name, group=self.group, config=dict(settings), embed=False,
                resume="allow" if record else "never", auto_log_cpu=False, auto_log_gpu=False,
            )  # fmt: skip
        return name

    def send(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Log numbers at the step ``epoch``."""
        self.run.log(dict(numbers), step=epoch)

    def send_image(self, tag: str, image: NDArray[np.uint8]) -> None:
        """Log an image."""
        import trackio

        self.run.log({tag: trackio.Image(image)}, step=max(0, self.before.epoch))

    def close_record(self, status: str) -> str:
        """Wait until all numbers are written."""
        import trackio

        with redirect_stdout(io.StringIO()):
            if status != "finished":
                self.run.alert(f"the run is {status}", level=trackio.AlertLevel.ERROR)
            trackio.finish()  # of the only run that is open
        return (
            f"trackio: to show all runs: TRACKIO_DIR={os.environ['TRACKIO_DIR']} trackio show --project {self.project}"
        )
