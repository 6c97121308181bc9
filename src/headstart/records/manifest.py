"""Write and read run.json: the identity, results, cost and provenance of a run."""

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headstart.boundary.documents import expect_mapping, read_json
from headstart.files import write_atomically
from headstart.records.names import RUN_FILE

SCHEMA = 1
REPEATS = "repeats"
"""The entry by which a run of ``headstart reproduce`` names the run that it repeats."""


class Manifest:
    """The content of run.json. The file is replaced at every change, so it is always whole."""

    def __init__(self, directory: Path, content: dict[str, Any]) -> None:
        self.path = directory / RUN_FILE
        self.content: dict[str, Any] = {
            "schema": SCHEMA,
            "status": "running",
            **content,
            "metrics": {},
            "cost": {},
            "error": None,
            "started_at": _now(),
            "finished_at": None,
        }
        self.when_finished: list[Callable[[str], object]] = []  # called with the final status
        self.write()

    def update(self, **content: Any) -> None:
        """Change some entries and write the file."""
        self.content.update(content)
        self.write()

    def finish(self, status: str, error: BaseException | None = None) -> None:
        """Write the final status (finished, failed, interrupted or pruned) and the error that ended the run."""
        cause = None if error is None else {"type": type(error).__name__, "message": str(error)}
        self.update(status=status, error=cause, finished_at=_now())
        self.call_finished(status)

    def call_finished(self, status: str) -> None:
        """Call everything that waits for the end of the run."""
        for call in self.when_finished:
            call(status)

    def write(self) -> None:
        """Write the file. NaN and infinity become null, because JSON has no words for them."""
        text = json.dumps(_plain(self.content), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path, text + "\n")


class UnwrittenManifest(Manifest):
    """A manifest in memory only, for a process that trains beside the one that writes."""

    def write(self) -> None:
        """Do nothing."""


def read_manifest(directory: Path) -> dict[str, Any]:
    """Return the content of run.json of any schema. Raises DataError if it is missing, damaged or not an object."""
    return expect_mapping(read_json(directory, RUN_FILE), f"{RUN_FILE} does not hold a JSON object")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(name): _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int | bool) else str(value)
