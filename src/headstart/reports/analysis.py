"""Compute the content of a report from runs: groups, panels, scores, comparisons, sources of variance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from headstart.comparison.budget import Budget, budget_of
from headstart.comparison.comparison import Comparison, check_baseline, compare
from headstart.comparison.evidence import Evidence, gather
from headstart.comparison.fair import check_selection, check_test_sets
from headstart.comparison.mean_score import with_interval
from headstart.comparison.panels import Panel, make_panels
from headstart.comparison.pivot import Pivot, pivot
from headstart.comparison.table import RunGroup, Statistic, averaged_over, group_runs
from headstart.comparison.where import choose, is_number
from headstart.errors import DataError
from headstart.kinds.class_scores import Scores
from headstart.records.keys import value_of
from headstart.records.runs import Run, RunSet
from headstart.reports.one_run import OneRun
from headstart.reports.robustness import Measured, measured
from headstart.statistics import VarianceSources, variance_sources

STREAMS = ("split", "subset", "head", "backbone", "order", "augmentation")


@dataclass(frozen=True)
class Options:
    """Options of a report."""

    by: Sequence[str] | None = None
    compare: Sequence[str] | None = None
    where: Sequence[str] = ()
    tune: Sequence[str] = ()
    baseline: str | None = None


@dataclass(frozen=True)
class Analysis:
    """The content of a report, before it is rendered."""

    found: RunSet
    groups: tuple[RunGroup, ...]
    panels: tuple[Panel, ...]
    evidence: Mapping[str, Evidence]
    comparisons: Mapping[str, Sequence[Comparison]]
    """By the title of the panel."""
    baseline: str | None = None
    robustness: Measured | None = None
    """None if no run was measured under corruptions."""

    @property
    def runs(self) -> tuple[Run, ...]:
        """Return the runs that are counted."""
        return self.found.runs

    @cached_property
    def _places(self) -> dict[str, int]:
        return {run.id: place for place, run in enumerate(self.runs)}

    def places(self, runs: Iterable[Run]) -> tuple[int, ...]:
        """Return the positions of runs in ``runs``; table cells refer to runs by these numbers."""
        return tuple(self._places[run.id] for run in runs if run.id in self._places)

    @cached_property
    def pivot(self) -> Pivot:
        """Return the table of rows by panels."""
        return pivot(self.panels, self.comparisons)

    @cached_property
    def averaged(self) -> dict[str, list[str]]:
        """Return the settings that differ inside rows, with their values."""
        return averaged_over(self.groups)

    @cached_property
    def budgets(self) -> tuple[Budget, ...]:
        """Return the tuning budget of each group, in the order of the groups."""
        return tuple(budget_of(group) for group in self.groups)

    @cached_property
    def one_run(self) -> OneRun | None:
        """Return the tables of a report's only run; None if there are several runs."""
        if len(self.runs) != 1:
            return None
        (run,) = self.runs
        return OneRun.of(run, self.evidence.get(run.id))

    def score(self, group: RunGroup, name: str) -> Statistic:
        """Return a further score over the runs of a group; count 0 without predictions."""
        if group.reference:
            return Statistic.of([])
        numbers = [self.evidence[run.id].numbers for run in group.runs if run.id in self.evidence]
        return Statistic.of(scores[name] for scores in numbers if name in scores)

    def recalls(self, group: RunGroup) -> tuple[tuple[str, ...], np.ndarray] | None:
        """Return class names and recall (C,) averaged over the runs of a group; None without predictions."""
        known = [self.evidence[run.id] for run in group.runs if run.id in self.evidence and not group.reference]
        if not known:
            return None
        alike = [
            one.scores.recall for one in known if isinstance(one.scores, Scores) and one.classes == known[0].classes
        ]
        if not alike:
            return None
        return known[0].classes, np.mean(alike, axis=0)

    @cached_property
    def variances(self) -> list[tuple[Panel, RunGroup, VarianceSources]]:
        """Return each varied seed stream's share in the variance of the primary metric on test."""
        found = []
        for panel in self.panels:
            for group in panel.groups:
                settings = {stream: [value_of(run, f"seeds.{stream}") for run in group.runs] for stream in STREAMS}
                sources = variance_sources([run.test for run in group.runs], settings)
                if sources.streams:
                    found.append((panel, group, sources))
        return found


def analyse(found: RunSet, options: Options = Options()) -> Analysis:
    """Choose, group and compare the runs.

    Raises DataError if no run has finished, or if a comparison would be unfair (other test images, selection on
    test); ConfigError for names and conditions that fit no run.
    """
    if not found.runs:
        reasons = {problem.reason for problem in found.problems}
        reason = f": {reasons.pop().rstrip('.')}" if len(reasons) == 1 else ""
        lost = [
            *([f"{len(found.problems)} did not finish or cannot be read{reason}"] if found.problems else []),
            *([f"{found.checks} by 'headstart reproduce' not counted"] if found.checks else []),
        ]
        why = f" ({', '.join(lost)})" if lost else ""
        raise DataError(f"There is no finished run here{why}; start one with 'headstart train'.")
    runs = choose(found.runs, options.where)
    groups = group_runs(runs, options.by, options.compare, options.tune)
    check_baseline(make_panels(groups), options.baseline)
    evidence, without = gather(runs)
    check_selection(runs, evidence)
    groups = [with_interval(group, evidence) for group in groups]
    panels = make_panels(groups)
    check_test_sets(panels, evidence)
    kept = {run.id for run in runs}
    problems = [problem for problem in found.problems if not problem.counted or problem.id in kept]
    robustness, unread = measured(runs, panels, options.baseline)
    return Analysis(
        found=replace(found, runs=tuple(runs), problems=(*problems, *without, *unread)),
        groups=tuple(groups),
        panels=tuple(panels),
        evidence=evidence,
        comparisons={panel.title: compare(panel, evidence, options.baseline) for panel in panels},
        baseline=options.baseline,
        robustness=robustness,
    )


def numeric_keys(panels: Sequence[Panel]) -> list[str]:
    """Return the settings of panels or rows with three or more numbers, against which means can be drawn."""
    keys: dict[str, set[Any]] = {}
    for panel in panels:
        for group in panel.groups:
            for key, value in group.key.items():
                keys.setdefault(key, set()).add(value)
    return [key for key, values in keys.items() if len(values) > 2 and all(is_number(value) for value in values)]
