"""run.json: what a run is, what came out, what it cost, and what it was made with."""

import json
import math
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from headstart.files import write_atomically

SCHEMA = 1


class Manifest:
    """The content of run.json, written whole at every change of status."""

    def __init__(self, directory: Path, content: dict[str, Any]) -> None:
        self.path = directory / "run.json"
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
        self.write()

    def update(self, **content: Any) -> None:
        """Change some entries, on disk too."""
        self.content.update(content)
        self.write()

    def finish(self, status: str, error: BaseException | None = None) -> None:
        """The last word: finished, failed or interrupted."""
        told = None if error is None else {"type": type(error).__name__, "message": str(error)}
        self.update(status=status, error=told, finished_at=_now())

    def write(self) -> None:
        """Numbers that JSON does not know (NaN, infinity) become null."""
        text = json.dumps(_plain(self.content), indent=2, ensure_ascii=False, allow_nan=False)
        write_atomically(self.path, text + "\n")


class UnwrittenManifest(Manifest):
    """For a process that trains along and leaves writing to another."""

    def write(self) -> None:
        """Nothing."""


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
