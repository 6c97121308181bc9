"""Which settings tell runs from each other, for tables of runs in any state. Knows no torch."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.records.keys import BASE_KEYS, short_names, short_word, value_of, varying_keys
from headstart.records.runs import Run, settings_of

LONG_NAME, END = 24, 8
LONGEST_VALUE = 30
LIST_MARKS = str.maketrans("", "", "[]\"' ")


def setting_columns(directories: Sequence[Path], records: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """Return a column a setting that differs, by its short name: a value a run, "–" where nothing is known.

    ``records`` are the contents of run.json, empty where it is damaged; a damaged config.yaml says nothing.
    """
    runs = [_run(directory, record) for directory, record in zip(directories, records, strict=True)]
    known = [run for run in runs if run.record]
    keys = [key for key in dict.fromkeys((*BASE_KEYS, *varying_keys(known), "seed")) if _kinds(known, [key]) > 1]
    streams = {key for run in known for key in run.config if key.startswith("seeds.")}
    for key in ("dataset.fold", *sorted(streams)):  # which vary with the seed, or by themselves
        if _kinds(known, [*keys, key]) > _kinds(known, keys):
            keys.append(key)
    values = {key: [value_of(run, key) if run.record else None for run in runs] for key in keys}
    return {
        name: ["–" if value is None else short_word(value, LONGEST_VALUE) for value in values[key]]
        for key, name in short_names(keys).items()
    }


def words_of(directories: Sequence[Path], records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what each run is in a few words: its strategy, the settings that differ, and its seed.

    As in "head_only stages=stage1,stage2 seed=0"; a run whose run.json is damaged has the name of its directory.
    """
    columns = setting_columns(directories, records)
    names = []
    for number, (directory, record) in enumerate(zip(directories, records, strict=True)):
        plain = [columns[key][number] for key in ("dataset", "backbone", "augmentation") if key in columns]
        named = [
            f"{name}={values[number].translate(LIST_MARKS)}"
            for name, values in columns.items()
            if name not in BASE_KEYS and values[number] != "–"
        ]
        seed = [f"seed={record.get('seed')}"] if "seed" not in columns and record.get("seed") is not None else []
        words = [*plain, str(record.get("strategy")), *named, *seed]
        names.append(" ".join(words) if record else directory.name)
    return names


def run_names(directories: Sequence[Path], home: Path) -> list[str]:
    """Return the paths from ``home``; long ones are "…" and their last letters where these differ."""
    names = [os.path.relpath(directory, home) for directory in directories]
    short = [name if len(name) <= LONG_NAME else f"…{name[-END:]}" for name in names]
    return short if len(set(short)) == len(short) else names


def _kinds(runs: Sequence[Run], keys: Sequence[str]) -> int:
    """Return how many different runs these settings show."""
    return len({tuple(value_of(run, key) for key in keys) for run in runs})


def _run(directory: Path, record: Mapping[str, Any]) -> Run:
    augmentation, seed = record.get("augmentation"), record.get("seed")
    return Run(
        directory=directory,
        id=str(directory),
        backbone=str(record.get("backbone")),
        dataset=str(record.get("dataset")),
        strategy=str(record.get("strategy")),
        augmentation=tuple(map(str, augmentation)) if isinstance(augmentation, list) else (),
        seed=seed if isinstance(seed, int) else None,
        metrics={},
        config=settings_of(directory) if record else {},
        record=record,
    )
