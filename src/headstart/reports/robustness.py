"""Compare groups of runs under corruptions, as measured by 'headstart evaluate --corruptions'."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from headstart.comparison.comparison import Comparison, compare
from headstart.comparison.panels import Panel
from headstart.comparison.pivot import Pivot, pivot
from headstart.comparison.processes import shared
from headstart.comparison.table import RunGroup, Statistic
from headstart.errors import DataError
from headstart.records.robustness_file import Robustness, read_robustness
from headstart.records.runs import Problem, Run

MANY = 100
"""From this many runs on, a second process reads the files faster."""
CLEAN = 0
"""The severity of clean images."""


@dataclass(frozen=True)
class Measured:
    """Measured runs, by id, and the comparisons of their groups."""

    runs: Mapping[str, Robustness]
    panels: tuple[Panel, ...]
    """The panels with a measured run, with only the groups that have one."""
    comparisons: Mapping[str, Sequence[Comparison]]
    """By panel title, on the share of corrupted images predicted right, so that the better group comes first."""
    reasons: tuple[str, ...]
    """Why some runs are not compared, one sentence each."""

    def measurements(self, group: RunGroup) -> list[Robustness]:
        """Return the measurements of the runs of a group."""
        return [self.runs[run.id] for run in group.runs if run.id in self.runs and not group.reference]

    def _over_runs(self, group: RunGroup, score: Callable[[Robustness], float]) -> Statistic:
        """Return a score over the measured runs, a fraction of 1; count 0 if they were measured differently."""
        known = self.measurements(group)
        return Statistic.of(map(score, known)) if _alike(known) else Statistic.of([])

    def mce(self, group: RunGroup) -> Statistic:
        """Return the mean corruption error."""
        return self._over_runs(group, lambda one: one.mean_error)

    def relative(self, group: RunGroup) -> Statistic:
        """Return the mean corruption error minus the error on clean images."""
        return self._over_runs(group, lambda one: one.relative_error)

    def clean(self, group: RunGroup) -> Statistic:
        """Return the error on the same images without corruption."""
        return self._over_runs(group, lambda one: one.clean_error)

    def accuracy(self, group: RunGroup) -> Statistic:
        """Return the share of corrupted images that are predicted right: the higher the better."""
        return self._over_runs(group, lambda one: 1 - one.mean_error)

    def by_severity(self, group: RunGroup) -> dict[int, Statistic]:
        """Return the mean error at each severity, from 0 (clean)."""
        known = self.measurements(group)
        if not _alike(known):
            return {}
        found = {at: Statistic.of(one.error(severity=at) for one in known) for at in known[0].severities}
        return {CLEAN: self.clean(group), **found}

    def by_corruption(self, group: RunGroup) -> dict[str, Statistic]:
        """Return the mean error under each corruption."""
        known = self.measurements(group)
        if not _alike(known):
            return {}
        return {name: Statistic.of(one.error(name) for one in known) for name in known[0].corruptions}

    def corruptions(self, panel: Panel) -> list[str]:
        """Return all corruptions under which a panel's runs were measured."""
        return list(dict.fromkeys(name for group in panel.groups for name in self.by_corruption(group)))

    @property
    def pivot(self) -> Pivot:
        """Return rows by panels, lowest mean corruption error first; without comparisons there is no best row."""
        table = pivot(self.panels, self.comparisons, self.accuracy)
        known = [
            best if title in self.comparisons else frozenset()
            for title, best in zip(table.columns, table.best, strict=True)
        ]
        return replace(table, best=tuple(known))

    @property
    def rows(self) -> list[tuple[RunGroup, bool]]:
        """Return all groups by panel, lowest error first, each with whether it is its panel's best or ties with it."""
        return [
            (group, group.label in best)
            for panel, best in zip(self.panels, self.pivot.best, strict=True)
            for group in sorted(panel.groups, key=lambda group: (not self.mce(group).count, self.mce(group).mean))
        ]


def measured(
    runs: Sequence[Run], panels: Sequence[Panel], baseline: str | None = None
) -> tuple[Measured | None, list[Problem]]:
    """Return the measurements of the runs, None if there are none, and the unreadable files."""
    panels = [panel for panel in panels if panel.kind.right_or_wrong]
    runs = [run for run in runs if run.kind.right_or_wrong]
    read = (
        [_try(run) for run in runs]
        if len(runs) < MANY
        else shared(lambda n: _try(runs[n]), len(runs), "reading corruptions", "runs", chunk=16)
    )
    found = {run.id: one for run, one in zip(runs, read, strict=True) if isinstance(one, Robustness) and one.results}
    problems = [
        Problem(run.directory, "finished", f"{one}, so its robustness is left out", counted=True, id=run.id)
        for run, one in zip(runs, read, strict=True)
        if isinstance(one, str)
    ]
    if not found:
        return None, problems
    known = [_known(panel, found) for panel in panels]
    kept = tuple(panel for panel in known if panel.groups)
    comparisons: dict[str, Sequence[Comparison]] = {}
    reasons = []
    for panel in kept:
        if reason := _obstacle(panel, found):
            reasons.append(reason)
        else:
            comparisons[panel.title] = compare(panel, found, baseline, lambda run: 1 - found[run.id].mean_error)
    reasons += [line for panel in panels if (line := _missing(panel, found))]
    return Measured(found, kept, comparisons, tuple(reasons)), problems


def _try(run: Run) -> Robustness | str | None:
    try:
        return read_robustness(run.directory)
    except DataError as error:
        return str(error)


def _known(panel: Panel, found: Mapping[str, Robustness]) -> Panel:
    """Return the panel with its measured runs only."""
    groups = [_with(group, [run for run in group.runs if run.id in found]) for group in panel.groups]
    return Panel(panel.title, panel.by, tuple(group for group in groups if group.runs), (), panel.key)


def _with(group: RunGroup, runs: Sequence[Run]) -> RunGroup:
    """Return the group with these runs, or the same object if all its runs are among them."""
    return (
        group
        if len(runs) == len(group.runs)
        else RunGroup(group.key, tuple(runs), group.test, group.validation, by=group.by)
    )


def _alike(known: Sequence[Robustness]) -> bool:
    """Return whether all were measured under the same corruptions; images may differ between folds."""
    return bool(known) and len({(one.made_by, one.cells, one.size) for one in known}) == 1


def _obstacle(panel: Panel, found: Mapping[str, Robustness]) -> str | None:
    """Return why the runs of a panel cannot be compared; None if they can."""
    first: dict[tuple[Any, ...], Run] = {}
    runs = [run for group in panel.groups for run in group.runs]
    for run in runs:
        drawn = (run.config.get("dataset.folds"), run.fold, run.config.get("seeds.split"))
        other = first.setdefault(drawn, run)
        for one, same_images in ((runs[0], False), (other, True)):
            if difference := _difference(found[one.id], found[run.id], same_images):
                names = f"{one.directory.name} and {run.directory.name}"
                return f"{panel.title}: mean corruption errors are not compared, as {names} were measured {difference}."
    return None


def _difference(one: Robustness, other: Robustness, same_images: bool) -> str | None:
    """Return how two measurements differ; None if they do not. ``same_images``: whether images must be equal, too."""
    if one.cells != other.cells:
        return f"under different corruptions or severities ({len(one.cells)} and {len(other.cells)} in all)"
    if one.made_by != other.made_by:
        return f"with corruptions made differently ({one.made_by}; {other.made_by})"
    if same_images and one.images != other.images:
        sizes = f"{one.count:,} of {one.size} pixels and {other.count:,} of {other.size} pixels"
        return f"on different images ({sizes})"
    return None


def _missing(panel: Panel, found: Mapping[str, Robustness]) -> str | None:
    runs = [run for group in panel.groups for run in group.runs]
    missing = [run for run in runs if run.id not in found]
    if not missing:
        return None
    return (
        f"{panel.title}: {len(missing)} of {len(runs)} runs were not measured under corruptions, such as"
        f" {missing[0].directory.name}; run 'headstart evaluate RUN --corruptions'."
    )


def robustness_findings(measured: Measured) -> list[str]:
    """Return the lowest error of each panel, and the verdicts on it."""
    lines = []
    for panel in measured.panels:
        made = measured.comparisons.get(panel.title, ())
        if not made:
            continue
        best = max(panel.groups, key=lambda group: measured.accuracy(group).mean)
        lines.append(
            f"{panel.title}, corrupted: {best.spoken} has the lowest mean corruption error with"
            f" {100 * measured.mce(best).mean:.1f} %."
        )
        lines += [f"{panel.title}, corrupted: {one.verdict}" for one in made if best.label in (one.a, one.b)]
    return lines


def robustness_rows(measured: Measured) -> list[dict[str, Any]]:
    """Return one row per group, corruption and severity, for other programs; errors are fractions of 1."""
    rows = []
    for panel in measured.panels:
        for group in panel.groups:
            known = measured.measurements(group)
            if not _alike(known):
                continue
            cells = [("none", CLEAN, [one.clean_error for one in known])]
            cells += [(name, at, [one.error(name, at) for one in known]) for name, at in known[0].results]
            for name, at, errors in cells:
                found = Statistic.of(errors)
                rows.append(
                    {
                        **group.key,
                        "corruption": name,
                        "severity": at,
                        "runs": found.count,
                        "error_mean": found.mean,
                        "error_deviation": found.deviation,
                        "pictures": int(np.mean([one.count for one in known])),
                    }
                )
    return rows
