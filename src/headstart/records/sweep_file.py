"""Write and read sweep.json: the command of a sweep, its settings, how many jobs it has, and its process."""

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headstart.boundary.documents import expect_mapping, read_json
from headstart.errors import DataError
from headstart.files import write_atomically
from headstart.records.names import SWEEP_FILE
from headstart.records.record import whole_number


@dataclass(frozen=True)
class SweepRecord:
    """What sweep.json says. Any entry may be missing or of a wrong type."""

    directory: Path
    content: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    """Why the file cannot be read."""

    @property
    def overrides(self) -> list[str] | None:
        """Return the settings that define the sweep, or None."""
        found = self.content.get("overrides")
        return [str(override) for override in found] if isinstance(found, list) else None

    @property
    def jobs(self) -> int | None:
        """Return how many jobs the sweep has, or None."""
        return whole_number(self.content.get("jobs"))

    @property
    def command(self) -> tuple[str, ...]:
        """Return the words of the command; none if they are not known."""
        found = self.content.get("command")
        return tuple(str(word) for word in found) if isinstance(found, list) else ()

    @property
    def process(self) -> int | None:
        """Return the number of the process that runs the sweep, if that is a process of this machine."""
        process = self.content.get("process")
        if not isinstance(process, dict) or process.get("host") != socket.gethostname():
            return None
        return whole_number(process.get("id"))


def sweep_record(folder: Path) -> SweepRecord:
    """Read sweep.json. A file that cannot be read gives a record with a ``problem``."""
    try:
        content = expect_mapping(read_json(folder, SWEEP_FILE), f"{SWEEP_FILE} does not hold a JSON object")
    except DataError as error:
        return SweepRecord(folder, problem=str(error))
    return SweepRecord(folder, content)


def write_sweep(folder: Path, overrides: Sequence[str], jobs: int | None) -> None:
    """Write sweep.json for the command and the process that runs now."""
    _write(folder, {
        "schema": 1,
        "command": sys.argv,
        "overrides": list(overrides),
        "jobs": jobs,
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "process": {"id": os.getpid(), "host": socket.gethostname()},
    })  # fmt: skip


def write_job_count(folder: Path, jobs: int) -> None:
    """Change the number of jobs in sweep.json. Raises DataError if there is no such file."""
    _write(folder, {**read_json(folder, SWEEP_FILE), "jobs": jobs})


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    write_atomically(folder / SWEEP_FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
