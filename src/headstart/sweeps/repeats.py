"""What marks a run that `headstart reproduce` made: it checks another run, so no comparison and no sweep counts it."""

from collections.abc import Mapping
from pathlib import Path

from headstart.errors import DataError
from headstart.records.manifest import read_manifest

MARK = "repeats"  # the entry of run.json that names the run that was repeated


def is_repeat(record: object) -> bool:
    """Return whether the content of a run.json is that of a repeat."""
    return isinstance(record, Mapping) and record.get(MARK) is not None


def holds_repeat(directory: Path) -> bool:
    """Return whether a run directory is that of a repeat; False where its run.json cannot be read."""
    try:
        return is_repeat(read_manifest(directory))
    except DataError:
        return False
