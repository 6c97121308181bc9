"""Find what earlier commands left of a run, by the hash of its settings and its data."""

import glob
import os
import re
from collections.abc import Iterable
from pathlib import Path

from headstart.records.lock import is_locked
from headstart.records.names import LOCK_FILE, LOG_FILE, PACKAGES_FILE, PATCH_FILE, RUN_FILE, SETTINGS_FILE
from headstart.records.record import RunRecord, record_of

# The files that a run writes before run.json. A half-written one has a dot before its name and another after it.
FIRST_WRITTEN = (SETTINGS_FILE, LOG_FILE, PATCH_FILE, PACKAGES_FILE, LOCK_FILE)
UNFINISHED = ("running", "interrupted")  # "running" without a process means that the run was killed


def earlier_runs(folders: Iterable[Path], config_hash: str) -> list[RunRecord]:
    """Return the runs of the same settings directly below the folders, the latest start last, without repeats."""
    found = {}
    for folder in folders:
        for path in folder.glob(f"*-{config_hash[:8]}*"):
            record = record_of(path)
            if record.unread and not os.path.lexists(path / RUN_FILE) and is_locked(path):  # about to be written
                record = RunRecord(path, {"status": "running", "config_hash": config_hash})
            if record.get("config_hash") == config_hash and not record.is_repeat:
                found[path.resolve()] = record
    return sorted(found.values(), key=lambda run: str(run.get("started_at")))


def abandoned(parent: Path, name: str) -> Path | None:
    """Return a directory of that name whose run was killed before it wrote run.json; None if there is none.

    A directory that holds anything else is left alone.
    """
    halves = tuple(f".{first}." for first in (*FIRST_WRITTEN, RUN_FILE))
    for path in sorted(parent.glob(f"{glob.escape(name)}*")):
        if not re.fullmatch(r"(-\d+)?", path.name[len(name) :]) or not path.is_dir():
            continue
        others = [one.name for one in path.iterdir() if one.name not in FIRST_WRITTEN]
        if all(one.startswith(halves) for one in others) and not is_locked(path):
            return path
    return None


def folders_to_search(output_dir: Path, parent: Path) -> list[Path]:
    """Return where runs of the same settings may be: every sweep of the output directory, and beside the new run."""
    sweeps = [path for path in sorted(output_dir.glob("*")) if path.is_dir() and not path.name.startswith(".")]
    return [*sweeps, parent]
