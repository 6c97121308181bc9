"""Runs to groups over seeds: one row for everything that was the same but the seeds."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headstart.errors import ConfigError, nearest
from headstart.reports.read import Run, run_order

if TYPE_CHECKING:
    import pandas as pd

BASE_KEYS = ("dataset", "backbone", "augmentation", "strategy")
# Settings that do not change what a run computes, or that are what a group averages over.
IGNORED_PARTS = frozenset({"hydra", "logger", "paths", "seeds"})
IGNORED_NAMES = frozenset(
    "accelerator benchmark debug default_root_dir devices dirpath experiment filename log_every_n_steps name "
    "num_nodes num_workers on_error output_dir profiler references run_dir save_dir sweep_dir verbose".split()
)
# When two settings always change together, the one named first here stands for both.
PREFERRED = ("dataset", "strategy", "optimizer", "scheduler", "trainer", "augmentation", "task", "backbone")


@dataclass(frozen=True)
class Statistic:
    """Mean, sample deviation (NaN below two values) and number of values."""

    mean: float
    deviation: float
    count: int

    @classmethod
    def of(cls, values: Iterable[float]) -> Statistic:
        """Summarise the values; the result does not depend on their order."""
        numbers = sorted(float(value) for value in values)
        count = len(numbers)
        if not count:
            return cls(math.nan, math.nan, 0)
        mean = math.fsum(numbers) / count
        if count == 1:
            return cls(mean, math.nan, 1)
        squares = math.fsum((number - mean) ** 2 for number in numbers)
        return cls(mean, math.sqrt(squares / (count - 1)), count)


@dataclass(frozen=True)
class Group:
    """Runs that share every key, or a reference such as raw pixels (then `runs` are those that carry it)."""

    key: Mapping[str, Any]
    runs: tuple[Run, ...]
    test: Statistic
    validation: Statistic
    reference: bool = False

    def cost(self, name: str) -> float:
        """Mean of a cost over the runs; NaN when none has it."""
        if self.reference:
            return math.nan
        return Statistic.of(run.cost[name] for run in self.runs if name in run.cost).mean


def value_of(run: Run, key: str) -> Any:
    """A run's value for a key: dataset, backbone, strategy, seed, augmentation ("a+b" or "none"), or a config key."""
    if key == "augmentation":
        return "+".join(run.augmentation) or "none"
    if key in ("dataset", "backbone", "strategy", "seed"):
        return getattr(run, key)
    value = run.config.get(key)
    return value if value is None or isinstance(value, str | int | float) else json.dumps(value, default=str)


def varying_keys(runs: Sequence[Run]) -> list[str]:
    """Config keys, beside seeds, in which runs with the same base keys differ; runs without a config say nothing."""
    first: dict[tuple[Any, ...], Run] = {}
    keys: dict[str, None] = {}
    with_config = [run for run in sorted(runs, key=run_order) if run.config]
    for run in with_config:
        other = first.setdefault(_base(run), run)
        for key in run.config.keys() | other.config.keys():
            if key not in keys and not _ignored(key) and value_of(run, key) != value_of(other, key):
                keys[key] = None
    chosen: list[str] = []
    seen: set[tuple[Any, ...]] = set()
    for key in sorted(keys, key=_preference):
        pattern = _pattern([value_of(run, key) for run in with_config])
        if pattern not in seen:
            seen.add(pattern)
            chosen.append(key)
    return chosen


def resolve_key(name: str, runs: Sequence[Run]) -> str:
    """Full key for a name given by a user: the name itself or the one config key that ends with it."""
    known = {*BASE_KEYS, "seed", *(key for run in runs for key in run.config)}
    if name in known:
        return name
    endings = sorted(key for key in known if key.endswith(f".{name}"))
    if len(endings) == 1:
        return endings[0]
    if endings:
        raise ConfigError(f"'{name}' is not one setting but {len(endings)}: choose one of {', '.join(endings)}.")
    raise ConfigError(f"No run has a setting '{name}' to group by.{nearest(name, sorted(known))}")


def group_keys(runs: Sequence[Run], by: Sequence[str] | None = None) -> list[str]:
    """Keys that make a row: the base keys and every setting that varies, or the dataset and those in `by`."""
    if by is None:
        return [*BASE_KEYS, *varying_keys(runs)]
    return list(dict.fromkeys(["dataset", *(resolve_key(name, runs) for name in by)]))


def group_runs(runs: Sequence[Run], by: Sequence[str] | None = None) -> list[Group]:
    """Group runs over seeds; sorted by dataset, then best test accuracy first.

    Raises ConfigError when `by` names a key that no run has.
    """
    keys = group_keys(runs, by)
    members: dict[tuple[Any, ...], list[Run]] = {}
    for run in sorted(runs, key=run_order):
        members.setdefault(tuple(value_of(run, key) for key in keys), []).append(run)
    groups = [
        Group(
            dict(zip(keys, values, strict=True)),
            tuple(group),
            test=_metric(group, "test/accuracy"),
            validation=_metric(group, "validation/accuracy"),
        )
        for values, group in members.items()
    ]
    groups.extend(_references(runs, keys))
    return sorted(groups, key=_group_order)


def series_key(keys: Sequence[str]) -> str | None:
    """The key whose values are compared with each other: the strategy, else the first that is not the dataset."""
    if "strategy" in keys:
        return "strategy"
    return next((key for key in keys if key != "dataset"), None)


def averaged_over(groups: Sequence[Group]) -> dict[str, list[str]]:
    """Settings, seeds aside, that differ inside a group: what a coarse `by` averages over."""
    mixed: dict[str, set[str]] = {}
    for group in groups:
        if group.reference:
            continue
        for key in (*BASE_KEYS, *varying_keys(group.runs)):
            values = {str(value_of(run, key)) for run in group.runs}
            if len(values) > 1:
                mixed.setdefault(key, set()).update(values)
    return {key: sorted(values) for key, values in mixed.items()}


def group_frame(groups: Sequence[Group]) -> pd.DataFrame:
    """One row a group: its keys, number of runs, accuracies (fractions of 1) and mean costs."""
    import pandas as pd

    rows = [
        {
            **group.key,
            "reference": group.reference,
            "runs": group.test.count,
            "test_accuracy_mean": group.test.mean,
            "test_accuracy_deviation": group.test.deviation,
            "validation_accuracy_mean": group.validation.mean,
            "validation_accuracy_deviation": group.validation.deviation,
            "train_seconds": group.cost("train_seconds"),
            "trainable_parameters": group.cost("trainable_parameters"),
            "total_parameters": group.cost("total_parameters"),
            "samples_per_second": group.cost("samples_per_second"),
        }
        for group in groups
    ]
    return pd.DataFrame(rows)


def runs_frame(runs: Sequence[Run], keys: Sequence[str] = BASE_KEYS) -> pd.DataFrame:
    """One row a run: id, keys, seed, metrics, costs, references and directory."""
    import pandas as pd

    rows = []
    for run in sorted(runs, key=run_order):
        row: dict[str, Any] = {"id": run.id}
        row.update({key: value_of(run, key) for key in dict.fromkeys([*BASE_KEYS, *keys, "seed"])})
        row.update(run.metrics)
        row.update(run.cost)
        for name, values in run.references.items():
            row.update({f"references/{name}/{metric}": value for metric, value in values.items()})
        row["skipped"] = run.skipped
        row["directory"] = str(run.directory)
        rows.append(row)
    return pd.DataFrame(rows)


def sort_value(value: Any) -> tuple[int, float, str]:
    """Sort key for mixed values: numbers by size, then text, then nothing."""
    if value is None:
        return 2, 0.0, ""
    if isinstance(value, int | float):
        return 0, float(value), ""
    return 1, 0.0, str(value)


def _base(run: Run) -> tuple[Any, ...]:
    return tuple(value_of(run, key) for key in BASE_KEYS)


def _ignored(key: str) -> bool:
    parts = key.split(".")
    name = parts[-1]
    return (
        name in IGNORED_NAMES
        or name == "seed"
        or name.endswith("_seed")
        or name.startswith("enable_")
        or not IGNORED_PARTS.isdisjoint(parts)
    )


def _preference(key: str) -> tuple[int, int, str]:
    top = key.split(".")[0]
    rank = PREFERRED.index(top) if top in PREFERRED else len(PREFERRED)
    return rank, key.count("."), key


def _pattern(values: Sequence[Any]) -> tuple[int, ...]:
    """Which runs share a value, whatever the value: equal for keys that always change together."""
    numbers: dict[Any, int] = {}
    return tuple(numbers.setdefault(value, len(numbers)) for value in values)


def _metric(runs: Iterable[Run], name: str) -> Statistic:
    return Statistic.of(run.metrics[name] for run in runs if name in run.metrics)


def _references(runs: Sequence[Run], keys: Sequence[str]) -> list[Group]:
    """One group a reference and data set (with the data set's settings); runs of one seed count once."""
    series = series_key(keys)
    if series is None:
        return []
    data_keys = [key for key in keys if key == "dataset" or key.startswith("dataset.")]
    members: dict[tuple[Any, ...], list[Run]] = {}
    for run in sorted(runs, key=run_order):
        for name, values in run.references.items():
            if "test/accuracy" in values:
                members.setdefault((name, *(value_of(run, key) for key in data_keys)), []).append(run)
    groups = []
    for (name, *data_values), carriers in members.items():
        key: dict[str, Any] = dict.fromkeys(keys)
        key.update(zip(data_keys, data_values, strict=True))
        if series not in data_keys:
            key[series] = str(name).replace("_", " ")
        groups.append(
            Group(
                key,
                tuple(carriers),
                test=_reference_metric(carriers, name, "test/accuracy"),
                validation=_reference_metric(carriers, name, "validation/accuracy"),
                reference=True,
            )
        )
    return groups


def _reference_metric(runs: Sequence[Run], reference: str, metric: str) -> Statistic:
    by_seed: dict[int | None, list[float]] = {}
    for run in runs:
        if metric in run.references[reference]:
            by_seed.setdefault(run.seed, []).append(run.references[reference][metric])
    return Statistic.of(Statistic.of(values).mean for values in by_seed.values())


def _group_order(group: Group) -> tuple[Any, ...]:
    mean = group.test.mean if group.test.count else -math.inf
    return group.key["dataset"], -mean, [sort_value(value) for value in group.key.values()]
