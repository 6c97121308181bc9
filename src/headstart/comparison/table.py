"""Group runs that differ only in their seeds: each group is one row."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from headstart.errors import ConfigError
from headstart.kinds import Kind, Metric
from headstart.records.keys import (
    BASE_KEYS,
    TASK,
    resolve_key,
    short_names,
    short_value,
    sort_value,
    value_of,
    value_text,
    varying_keys,
)
from headstart.records.runs import Run, run_order
from headstart.statistics import score_interval


@dataclass(frozen=True)
class Statistic:
    """Mean, sample deviation (NaN below two values) and number of values."""

    mean: float
    deviation: float
    count: int
    bounds: tuple[float, float] | None = None
    """The 95 % interval of the mean, if it is not computed from the values alone."""

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

    @property
    def interval(self) -> tuple[float, float]:
        """Return the 95 % interval of the mean: ``bounds``, else Student's, which is NaN below two values."""
        if self.bounds is not None:
            return self.bounds
        found = score_interval(self.mean, self.deviation, self.count)
        return found.low, found.high


@dataclass(frozen=True)
class TableLayout:
    """The settings that make the rows of a table, and those that make panels."""

    by: tuple[str, ...]
    """Keys that make the rows: their values are compared with each other."""
    compare: tuple[str, ...]
    """Keys that make the panels. The data set is always a key; the task is one if runs have several."""
    tune: tuple[str, ...] = ()
    """Keys of which only the best value on validation is reported."""

    @property
    def keys(self) -> tuple[str, ...]:
        """Return all keys of a group."""
        return (*self.compare, *self.by)


@dataclass(frozen=True)
class RunGroup:
    """Runs that share every key, or a reference such as raw pixels (then `runs` are the runs that recorded it)."""

    key: Mapping[str, Any]
    runs: tuple[Run, ...]
    test: Statistic
    validation: Statistic
    reference: bool = False
    by: tuple[str, ...] = ("strategy",)
    """The keys that differ within a panel."""
    tried: tuple[Run, ...] = ()
    """All runs that were tried, including those chosen on validation."""
    tuned: Mapping[str, Any] = field(default_factory=dict)
    """The settings that were chosen on validation."""
    tuned_on: int = 0
    """The number of seeds (and folds) that all settings share, on which they were compared; 0 without a choice."""

    @property
    def kind(self) -> Kind:
        """Return the kind of target, which all runs share."""
        return self.runs[0].kind

    @property
    def metric(self) -> Metric:
        """Return the primary metric, which all runs share."""
        return self.runs[0].metric

    def cost(self, name: str) -> float:
        """Return the mean of a cost over the runs; NaN if none has it."""
        if self.reference:
            return math.nan
        return Statistic.of(run.cost[name] for run in self.runs if name in run.cost).mean

    @property
    def label(self) -> str:
        """Return its values of the compared settings, such as "ridge" or "scratch, lr 0.1"."""
        names = short_names(self.by)
        shown = [(key, self.key[key]) for key in self.by if not (self.reference and self.key[key] is None)]
        plain = {"strategy", "augmentation", "backbone", "dataset", TASK}
        if len(self.by) == 1:
            plain.add(self.by[0])
        parts = [short_value(value) if key in plain else f"{names[key]} {short_value(value)}" for key, value in shown]
        return ", ".join(parts) or "all runs"

    @property
    def spoken(self) -> str:
        """Return the label for sentences, where a lone number, true, false or null needs the name of its setting."""
        if len(self.by) != 1 or self.reference or isinstance(self.key[self.by[0]], str):
            return self.label
        return f"{short_names(self.by)[self.by[0]]} {self.label}"


def layout_of(
    runs: Sequence[Run],
    by: Sequence[str] | None = None,
    compare: Sequence[str] | None = None,
    tune: Sequence[str] = (),
) -> TableLayout:
    """Return the layout: as asked, else strategies as rows and one panel per combination of the other varying settings.

    If all runs have one strategy, the first setting that varies makes the rows. Raises ConfigError when a name is
    not a setting of any run.
    """
    tuned = [resolve_key(name, runs) for name in tune]
    free = [key for key in (*BASE_KEYS, *varying_keys(runs)) if key not in tuned]
    rows = [resolve_key(name, runs) for name in by] if by is not None else None
    panels = [resolve_key(name, runs) for name in compare] if compare is not None else None
    if both := sorted({*(rows or ()), *(panels or ())} & set(tuned)) or sorted(set(rows or ()) & set(panels or ())):
        raise ConfigError(f"'{both[0]}' is given twice: --by, --compare and --tune must name different settings.")
    if rows is None:
        rows = [_rows_by(runs, [key for key in free if key not in (panels or ())])]
        if panels is not None:
            rows += [key for key in varying_keys(runs) if key not in (*rows, *panels, *tuned)]
    if panels is None:
        panels = [key for key in free if key not in rows] if by is None else []
    if "dataset" not in (*rows, *panels):
        panels = ["dataset", *panels]
    if len({value_of(run, TASK) for run in runs}) > 1:
        if TASK in (*rows, *tuned):
            raise ConfigError("Runs of different tasks cannot be compared: leave task out of --by and --tune.")
        panels = [*panels, TASK]
    return TableLayout(tuple(dict.fromkeys(rows)), tuple(dict.fromkeys(panels)), tuple(dict.fromkeys(tuned)))


def _rows_by(runs: Sequence[Run], keys: Sequence[str]) -> str:
    """Return the setting that makes the rows if none is named."""
    wanted = ["strategy", "augmentation", *(key for key in keys if key.startswith("strategy.")), "backbone"]
    others = [key for key in keys if key not in wanted and not key.startswith("dataset")]
    for key in (*wanted, *others):
        if key in keys and len({value_of(run, key) for run in runs}) > 1:
            return key
    return "strategy" if "strategy" in keys else next((key for key in keys if key != "dataset"), "strategy")


def group_runs(
    runs: Sequence[Run],
    by: Sequence[str] | None = None,
    compare: Sequence[str] | None = None,
    tune: Sequence[str] = (),
) -> list[RunGroup]:
    """Group runs over seeds and folds; sorted by panel, then the best on test first.

    With ``tune``, runs that differ only in these settings become one group: those with the best mean on validation,
    over the seeds and folds that all settings share. The other runs count in ``tried``. Raises ConfigError when a name
    is not a setting of any run, and when settings share no seed or have no score on validation.
    """
    layout = layout_of(runs, by, compare, tune)
    members: dict[tuple[Any, ...], list[Run]] = {}
    for run in sorted(runs, key=run_order):
        members.setdefault(tuple(value_of(run, key) for key in layout.keys), []).append(run)
    groups = [_group(dict(zip(layout.keys, values, strict=True)), tried, layout) for values, tried in members.items()]
    groups.extend(_references(runs, layout))
    return sorted(groups, key=lambda group: _group_order(group, layout))


def _group(key: dict[str, Any], tried: Sequence[Run], layout: TableLayout) -> RunGroup:
    chosen, tuned, shared = tried, {}, 0
    if layout.tune:
        settings: dict[tuple[Any, ...], list[Run]] = {}
        for run in tried:
            settings.setdefault(tuple(value_of(run, name) for name in layout.tune), []).append(run)
        best, shared = _best_setting(settings, layout)
        chosen, tuned = settings[best], dict(zip(layout.tune, best, strict=True))
    return RunGroup(
        key,
        tuple(chosen),
        test=Statistic.of(run.test for run in chosen),
        validation=_validation(chosen),
        by=layout.by,
        tried=tuple(tried),
        tuned=tuned,
        tuned_on=shared,
    )


def _best_setting(
    settings: Mapping[tuple[Any, ...], Sequence[Run]], layout: TableLayout
) -> tuple[tuple[Any, ...], int]:
    """Return the setting with the best mean on validation over the pairs that all share, and their number."""
    metric = next(iter(settings.values()))[0].metric
    scores: dict[tuple[Any, ...], dict[Any, float]] = {}
    for values, runs in settings.items():
        by_pair: dict[Any, list[Run]] = {}
        for run in runs:
            by_pair.setdefault(run.pair, []).append(run)
        found = {pair: _validation(same) for pair, same in by_pair.items()}
        scores[values] = {pair: score.mean for pair, score in found.items() if score.count}
    names = [
        ", ".join(
            f"{name} {value_text(value)}" for name, value in zip(short_names(layout.tune).values(), values, strict=True)
        )
        for values in settings
    ]
    if empty := [name for name, known in zip(names, scores.values(), strict=True) if not known]:
        raise ConfigError(f"--tune chooses on validation, but runs with {empty[0]} have no validation {metric.words}.")
    shared = set.intersection(*map(set, scores.values()))
    if not shared:
        seeds = [sorted({str(run.seed) for run in runs}) for runs in settings.values()]
        fewest = min(range(len(seeds)), key=lambda number: len(seeds[number]))
        raise ConfigError(
            f"--tune compares settings on the seeds that all of them share, but these {len(settings)} share none:"
            f" {names[fewest]} has seed {', '.join(seeds[fewest])}; run all with the same seeds, or leave settings out"
            " with --where."
        )
    means = {values: math.fsum(known[pair] for pair in shared) / len(shared) for values, known in scores.items()}
    return max(means, key=lambda values: metric.gain(means[values])), len(shared)


def averaged_over(groups: Sequence[RunGroup]) -> dict[str, list[str]]:
    """Return the settings other than seeds that differ inside a group: its mean is taken over them."""
    mixed: dict[str, set[str]] = {}
    for group in groups:
        if group.reference:
            continue
        for key in (*BASE_KEYS, *varying_keys(group.runs)):
            values = {str(value_of(run, key)) for run in group.runs}
            if len(values) > 1:
                mixed.setdefault(key, set()).update(values)
    return {key: sorted(values) for key, values in mixed.items()}


def _validation(runs: Iterable[Run]) -> Statistic:
    return Statistic.of(run.validation for run in runs if run.validation is not None)


def _references(runs: Sequence[Run], layout: TableLayout) -> list[RunGroup]:
    """Return one group per reference and data set, with the data set's settings; runs of one seed count once."""
    data_keys = [key for key in layout.keys if key in ("dataset", TASK) or key.startswith("dataset.")]
    if not set(layout.by) - set(data_keys):
        return []
    members: dict[tuple[Any, ...], list[Run]] = {}
    for run in sorted(runs, key=run_order):
        for name, values in run.references.items():
            if f"test/{run.metric.name}" in values:
                members.setdefault((name, *(value_of(run, key) for key in data_keys)), []).append(run)
    groups = []
    for (name, *data_values), recorded in members.items():
        key: dict[str, Any] = dict.fromkeys(layout.keys)
        key.update(zip(data_keys, data_values, strict=True))
        key[next(by for by in layout.by if by not in data_keys)] = str(name).replace("_", " ")
        groups.append(
            RunGroup(
                key,
                tuple(recorded),
                test=_reference_metric(recorded, name, "test"),
                validation=_reference_metric(recorded, name, "validation"),
                reference=True,
                by=layout.by,
            )
        )
    return groups


def _reference_metric(runs: Sequence[Run], reference: str, split: str) -> Statistic:
    by_seed: dict[int | None, list[float]] = {}
    for run in runs:
        metric = f"{split}/{run.metric.name}"
        if metric in run.references[reference]:
            by_seed.setdefault(run.seed, []).append(run.references[reference][metric])
    return Statistic.of(Statistic.of(values).mean for values in by_seed.values())


def _group_order(group: RunGroup, layout: TableLayout) -> tuple[Any, ...]:
    gain = group.metric.gain(group.test.mean) if group.test.count else -math.inf
    return group.key["dataset"], group.key.get(TASK, ""), -gain, [sort_value(group.key[key]) for key in layout.keys]
