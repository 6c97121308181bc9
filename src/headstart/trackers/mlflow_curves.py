"""Send curves to MLflow: a local database, or the server in MLFLOW_TRACKING_URI."""

import logging
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from headstart.trackers.tracker import TrackerCurves

MOST_PARAMETERS = 100  # in one request
STATUS = {"finished": "FINISHED", "pruned": "KILLED", "interrupted": "KILLED"}  # all others FAILED
# A server that does not answer must not hold up a run; MLflow's own limits are minutes.
LIMITS = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}


class MlflowCurves(TrackerCurves):
    """Sends to MLFLOW_TRACKING_URI if it is set, and to the database ``dir``/mlflow.db otherwise."""

    package = "mlflow"
    client: Any = None
    record = ""  # the id that MLflow gave the run

    def open_record(self, record: str | None, settings: Mapping[str, Any]) -> str:
        """Create a run of the experiment ``project`` with the settings as parameters, or open an earlier one."""
        for name, value in LIMITS.items():
            os.environ.setdefault(name, value)
        from mlflow.entities import Param
        from mlflow.tracking import MlflowClient

        logging.getLogger("mlflow").setLevel(logging.WARNING)
        logging.getLogger("alembic").setLevel(logging.WARNING)
        self.uri, artifacts = os.environ.get("MLFLOW_TRACKING_URI"), None
        if not self.uri:
            self.place.mkdir(parents=True, exist_ok=True)
            self.uri, artifacts = f"sqlite:///{self.place / 'mlflow.db'}", (self.place / "artifacts").as_uri()
        self.client = MlflowClient(self.uri)
        if record is not None:
            self.client.update_run(record, status="RUNNING")
            self.record = record
            return record
        tags = {"group": self.group, "directory": str(self.folder.absolute()), "mlflow.source.name": "headstart"}
        created = self.client.create_run(self._experiment(artifacts), run_name=self.folder.absolute().name, tags=tags)
        self.record = str(created.info.run_id)
        parameters = [Param(_key(name), str(value)) for name, value in settings.items()]
        for first in range(0, len(parameters), MOST_PARAMETERS):
            self.client.log_batch(self.record, params=parameters[first : first + MOST_PARAMETERS])
        return self.record

    def _experiment(self, artifacts: str | None) -> str:
        """Return the id of the experiment, created if it is new. Another process may create it at the same time."""
        found = self.client.get_experiment_by_name(self.project)
        if found is None:
            with suppress(Exception):
                return str(self.client.create_experiment(self.project, artifact_location=artifacts))
            found = self.client.get_experiment_by_name(self.project)
        return str(found.experiment_id)

    def send(self, epoch: int, numbers: Mapping[str, float]) -> None:
        """Log numbers at the step ``epoch``."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        metrics = [Metric(_key(name), value, now, epoch) for name, value in numbers.items()]
        self.client.log_batch(self.record, metrics=metrics)

    def send_image(self, tag: str, image: NDArray[np.uint8]) -> None:
        """Store an image as an artifact."""
        self.client.log_image(self.record, image, artifact_file=f"{tag}.png")

    def close_record(self, status: str) -> str:
        """Set the status, and ours as a tag."""
        self.client.set_tag(self.record, "status", status)
        self.client.set_terminated(self.record, STATUS.get(status, "FAILED"))
        return f"mlflow: to show all runs: mlflow ui --backend-store-uri {self.uri}"


def _key(name: str) -> str:
    """Return a name with the characters that MLflow accepts."""
    return re.sub(r"[^\w\-./ ]", "_", name)
