"""Name the settings in which runs differ, for tables of runs in any state. Imports no torch."""

import os
from collections.abc import Sequence
from pathlib import Path

from headstart.records.keys import BASE_KEYS, short_names, short_value, value_of, varying_keys
from headstart.records.record import RunRecord

LONG_NAME, LETTERS_KEPT = 24, 8
LONGEST_VALUE = 30
LIST_MARKS = str.maketrans("", "", "[]\"' ")


def setting_columns(runs: Sequence[RunRecord]) -> dict[str, list[str]]:
    """Return a column for each setting that differs, by short name: one value per run, "–" if it is unknown."""
    known = [run for run in runs if run.content]
    keys = [key for key in dict.fromkeys((*BASE_KEYS, *varying_keys(known), "seed")) if _combinations(known, [key]) > 1]
    streams = {key for run in known for key in run.config if key.startswith("seeds.")}
    for key in ("dataset.fold", *sorted(streams)):  # these vary with the seed, or by themselves
        if _combinations(known, [*keys, key]) > _combinations(known, keys):
            keys.append(key)
    values = {key: [value_of(run, key) if run.content else None for run in runs] for key in keys}
    return {
        name: ["–" if value is None else short_value(value, LONGEST_VALUE) for value in values[key]]
        for key, name in short_names(keys).items()
    }


def run_labels(runs: Sequence[RunRecord]) -> list[str]:
    """Return a label for each run: its strategy, the settings that differ, and its seed.

    For example "head_only stages=stage1,stage2 seed=0". A run with a damaged run.json has the name of its directory.
    """
    columns = setting_columns(runs)
    names = []
    for number, run in enumerate(runs):
        plain = [columns[key][number] for key in ("dataset", "backbone", "augmentation") if key in columns]
        named = [
            f"{name}={values[number].translate(LIST_MARKS)}"
            for name, values in columns.items()
            if name not in BASE_KEYS and values[number] != "–"
        ]
        seed = [f"seed={run.get('seed')}"] if "seed" not in columns and run.get("seed") is not None else []
        words = [*plain, run.strategy, *named, *seed]
        names.append(" ".join(words) if run.content else run.directory.name)
    return names


def run_names(directories: Sequence[Path], home: Path) -> list[str]:
    """Return the paths from ``home``. Long ones become "…" and their last letters, if these differ."""
    names = [os.path.relpath(directory, home) for directory in directories]
    short = [name if len(name) <= LONG_NAME else f"…{name[-LETTERS_KEPT:]}" for name in names]
    return short if len(set(short)) == len(short) else names


def _combinations(runs: Sequence[RunRecord], keys: Sequence[str]) -> int:
    """Return how many different combinations of values the runs have for these settings."""
    return len({tuple(value_of(run, key) for key in keys) for run in runs})
