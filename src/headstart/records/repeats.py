"""What marks a run that `headstart reproduce` made: it checks another run, so no comparison and no sweep counts it."""

from collections.abc import Mapping

MARK = "repeats"  # the entry of run.json that names the run that was repeated


def is_repeat(record: object) -> bool:
    """Return whether the content of a run.json is that of a repeat."""
    return isinstance(record, Mapping) and record.get(MARK) is not None
