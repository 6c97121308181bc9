"""What earlier commands left of a run: finished, to go on with, failed; found by the hash of its settings and data."""

import glob
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headstart.errors import DataError
from headstart.kinds import Metric, metric_or_default
from headstart.records.lock import LOCK, held
from headstart.records.manifest import read_manifest
from headstart.records.opening import MissingFileError
from headstart.records.repeats import is_repeat

# What a run writes before run.json; half of one of these has a dot before its name and one after it.
FIRST_WRITTEN = ("config.yaml", "run.log", "code.patch", "packages.txt", LOCK)
UNFINISHED = ("running", "interrupted")  # running, but nobody is: it was killed


@dataclass(frozen=True)
class Earlier:
    """A run directory of the same settings."""

    directory: Path
    record: Mapping[str, Any]  # run.json

    @property
    def status(self) -> str:
        """finished, failed, interrupted, pruned or running."""
        return str(self.record.get("status"))

    @property
    def lives(self) -> bool:
        """Whether a process is at it."""
        return held(self.directory)

    @property
    def metric(self) -> Metric:
        """The primary metric, that of a classifier where run.json does not say."""
        return metric_or_default(self.record)

    @property
    def score(self) -> float:
        """The primary metric on validation, of the chosen epoch; NaN where there is none."""
        value = self._entry("metrics", f"validation/{self.metric.name}")
        return float(value) if isinstance(value, int | float) else float("nan")

    def provenance(self, name: str) -> Any:
        """What run.json says there."""
        return self._entry("provenance", name)

    def _entry(self, group: str, name: str) -> Any:
        """Return an entry of run.json; None where there is none, or where the group is damaged."""
        found = self.record.get(group)
        return found.get(name) if isinstance(found, dict) else None


def earlier_runs(folders: Iterable[Path], config_hash: str) -> list[Earlier]:
    """Runs of the same settings directly below the folders, the latest start last; repeats do not count."""
    found = {}
    for folder in folders:
        for path in folder.glob(f"*-{config_hash[:8]}*"):
            try:
                record = read_manifest(path)
            except MissingFileError:  # by its name it is one, and a process is about to say so
                record = {"status": "running", "config_hash": config_hash} if held(path) else {}
            except DataError:
                continue
            if record.get("config_hash") == config_hash and not is_repeat(record):
                found[path.resolve()] = Earlier(path, record)
    return sorted(found.values(), key=lambda run: str(run.record.get("started_at")))


def abandoned(parent: Path, name: str) -> Path | None:
    """A directory of that name whose run was killed before it had written anything of its own; None if there is none.

    Whatever else lies there is left alone.
    """
    halves = tuple(f".{first}." for first in (*FIRST_WRITTEN, "run.json"))
    for path in sorted(parent.glob(f"{glob.escape(name)}*")):
        if not re.fullmatch(r"(-\d+)?", path.name[len(name) :]) or not path.is_dir():
            continue
        others = [one.name for one in path.iterdir() if one.name not in FIRST_WRITTEN]
        if all(one.startswith(halves) for one in others) and not held(path):
            return path
    return None


def folders_to_search(output_dir: Path, parent: Path) -> list[Path]:
    """Where runs of the same settings may lie: beside the new one, and in every sweep of the output directory."""
    sweeps = [path for path in sorted(output_dir.glob("*")) if path.is_dir() and not path.name.startswith(".")]
    return [*sweeps, parent]
