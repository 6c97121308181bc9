"""Name and compare the settings of runs: values, short names, and which settings vary."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from typing import Any

from headstart.errors import ConfigError, nearest
from headstart.records.record import RunRecord
from headstart.records.runs import run_order
from headstart.settings.effects import ADDED, is_indifferent, is_seed

BASE_KEYS = ("dataset", "backbone", "augmentation", "strategy")
TASK = "task"  # not a setting: the kind of target with its metric; only runs that share it are compared
FOLD = "dataset.fold"  # a group averages over folds, as over seeds
PLACES = ("dataset.root", "dataset.pictures")  # they identify the data if run.json has no hash of them
WEIGHTS = "backbone.weights"  # a file is shown by the name of its source, and null as RANDOM
RANDOM = "random"
DATA = "dataset.data"  # not a setting: the hash of the data
# Of settings that always change together, only the one with the earliest group here is shown.
PREFERRED = ("dataset", "strategy", "optimizer", "scheduler", "trainer", "augmentation", "task", "backbone")


def value_of(run: RunRecord, key: str) -> Any:
    """Return a run's value for a key: dataset, backbone, strategy, seed, augmentation ("a+b" or "none"), or a setting.

    A setting that is newer than the run has its neutral value. ``DATA`` gives eight digits of the data hash, or None.
    """
    if key == TASK:
        return run.task
    if key == DATA:
        return run.data_hash and run.data_hash[:8]
    if key == "augmentation":
        return "+".join(run.augmentation) or "none"
    if key in ("dataset", "backbone", "strategy", "seed"):
        return getattr(run, key)
    value = run.config.get(key, ADDED.get(key) if run.config else None)
    if key == WEIGHTS and key in run.config:
        named = run.get("provenance", "weights", "name") if value not in (None, "imagenet") else None
        value = named or value or RANDOM
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, default=str)


def varying_keys(runs: Sequence[RunRecord]) -> list[str]:
    """Return the settings, except seeds, that differ between runs with the same base keys.

    Runs without a config are skipped. Data are compared by their hash: two places of the same data do not differ, and
    ``DATA`` is added if one place held different data.
    """
    first: dict[tuple[Any, ...], RunRecord] = {}
    keys: dict[str, None] = {}
    with_config = [run for run in sorted(runs, key=run_order) if run.config]
    for run in with_config:
        other = first.setdefault(_values(run, (TASK, *BASE_KEYS)), run)
        for key in run.config.keys() | other.config.keys():
            if key not in keys and not _ignored(key) and value_of(run, key) != value_of(other, key):
                keys[key] = None
    places = {(run.data_hash, *map(str, _values(run, PLACES))) for run in with_config if run.data_hash}
    if len({held for held, *_ in places}) < len(places):
        keys = {key: None for key in keys if key not in PLACES}
    chosen: list[str] = []
    seen: set[tuple[Any, ...]] = set()
    for key in sorted(keys, key=_preference):
        pattern = _pattern([value_of(run, key) for run in with_config])
        if pattern not in seen:
            seen.add(pattern)
            chosen.append(key)
    shown = (*BASE_KEYS, *chosen)
    if len({_values(run, shown) for run in with_config}) < len({_values(run, (*shown, DATA)) for run in with_config}):
        chosen.append(DATA)
    return chosen


def resolve_key(name: str, runs: Sequence[RunRecord]) -> str:
    """Return the full key of a user's name: the name itself, or the setting that ends with it.

    If several settings end with it, only those that vary count. Settings that always change together count once, by
    ``PREFERRED``. Raises ConfigError if none or several are left.
    """
    known = {*BASE_KEYS, TASK, "seed", *(key for run in runs for key in run.config)}
    if name in known:
        return name
    endings = sorted(key for key in known if key.endswith(f".{name}"))
    if len(endings) > 1:
        patterns: dict[tuple[int, ...], str] = {}
        for key in sorted(endings, key=_preference):
            pattern = _pattern([value_of(run, key) for run in runs])
            if len(set(pattern)) > 1:
                patterns.setdefault(pattern, key)
        endings = list(patterns.values()) or endings
    if len(endings) == 1:
        return endings[0]
    if endings:
        raise ConfigError(f"'{name}' is not one setting but {len(endings)}: choose one of {', '.join(endings)}.")
    raise ConfigError(f"No run has a setting '{name}'.{nearest(name, sorted(known))}")


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """Return short names: the last part of a dotted key if that is unique."""
    last = [key.rsplit(".", 1)[-1] for key in keys]
    return {key: short if last.count(short) == 1 else key for key, short in zip(keys, last, strict=True)}


def value_text(value: Any) -> str:
    """Return a value as it appears in a config file."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def short_value(value: Any, limit: int = 40) -> str:
    """Return a value as ``value_text`` does; shorten a long one to its end and four digits of its hash."""
    text = value_text(value)
    if len(text) <= limit:
        return text
    return f"...{text[len(text) - limit // 2 :]} ({hashlib.sha256(text.encode()).hexdigest()[:4]})"


def sort_value(value: Any) -> tuple[int, float, str]:
    """Return a sort key for mixed values: numbers by size, then text, then None."""
    if value is None:
        return 2, 0.0, ""
    if isinstance(value, int | float):
        try:
            return 0, float(value), ""
        except OverflowError:  # a whole number of hundreds of digits
            return 0, math.inf if value > 0 else -math.inf, str(value)
    return 1, 0.0, str(value)


def _values(run: RunRecord, keys: Sequence[str]) -> tuple[Any, ...]:
    return tuple(value_of(run, key) for key in keys)


def _ignored(key: str) -> bool:
    """Return whether a setting has no effect on results, or is averaged over, as seeds and folds are."""
    return (is_indifferent(key) and key not in PLACES) or is_seed(key) or key == FOLD


def _preference(key: str) -> tuple[int, int, str]:
    top = key.split(".")[0]
    rank = PREFERRED.index(top) if top in PREFERRED else len(PREFERRED)
    return rank, key.count("."), key


def _pattern(values: Sequence[Any]) -> tuple[int, ...]:
    """Number the values by first appearance. Keys that always change together have equal numbers."""
    numbers: dict[Any, int] = {}
    return tuple(numbers.setdefault(value, len(numbers)) for value in values)
