"""Send curves to Weights & Biases, or record them offline for ``wandb sync``."""

import logging
import os
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from headstart.boundary.opening import first_line
from headstart.trackers.tracker import TrackerCurves

log = logging.getLogger(__name__)
PATIENCE = 20  # seconds for the server to answer, before a run is recorded offline
CREDENTIALS = ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE")


class WandbCurves(TrackerCurves):
    """Sends to the server if there is a key and the server answers; records offline in the run directory otherwise.

    The axis of all charts is ``epoch``. W&B accepts rising steps only, so a step is an epoch, and the final scores have
    a step of their own.
    """

    package = "wandb"
    run: Any = None

    def __init__(self, folder: Any, project: str = "headstart", group: str | None = None) -> None:
        super().__init__(folder, project, group)
        self.step = self.epoch = 0

    def open_record(self, record: str | None, settings: Mapping[str, Any]) -> str:
        """Open a run of W&B without any question on the terminal."""
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        arguments: dict[str, Any] = {
            "project": self.project,
            "group": self.group,
            "name": self.folder.absolute().name,
            "id": record or uuid4().hex[:12],
            "resume": "allow",
            "reinit": "create_new",  # a run that the user has open stays as it is
            "dir": str(self.folder),
            "config": dict(settings),
            "settings": wandb.Settings(
                console="off", silent=True, symlink=False, disable_git=True, disable_code=True, x_disable_stats=True,
                init_timeout=PATIENCE,
            ),
        }  # fmt: skip
        online = _has_key(wandb) or os.environ.get("WANDB_MODE") == "disabled"
        try:
            self.run = wandb.init(**arguments, mode=None if online else "offline")
        except Exception as error:
            if not online:
                raise
            log.warning("wandb cannot be reached (%s), so this run is recorded offline", first_line(error).rstrip("."))
            self.run = wandb.init(**arguments, mode="offline")
        self.run.define_metric("*", step_metric="epoch")
        self.step = self.epoch = max(0, self.before.epoch)
        return str(self.run.id)

    def send(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Log numbers with their epoch."""
        if epoch != self.epoch:
            self.step, self.epoch = max(self.step + 1, epoch), epoch
        self.run.log({"epoch": epoch, **numbers}, step=self.step)

    def send_image(self, tag: str, image: NDArray[np.uint8]) -> None:
        """Log an image."""
        import wandb

        self.run.log({tag: wandb.Image(image)}, step=self.step)

    def close_record(self, status: str) -> str:
        """Finish the run: W&B shows it as finished or failed, and its summary has our status."""
        self.run.summary["status"] = status
        self.run.finish(exit_code=0 if status in ("finished", "pruned") else 1)
        if self.run.offline:
            return f"wandb: recorded offline; to upload: wandb sync {self.folder / 'wandb'}/offline-run-*"
        return f"wandb: {self.run.url}"


def _has_key(wandb: Any) -> bool:
    """Return whether W&B finds a key in the environment or in netrc, so that it does not ask for one."""
    from requests.utils import get_netrc_auth

    return any(map(os.environ.get, CREDENTIALS)) or get_netrc_auth(wandb.setup().settings.base_url) is not None
