"""What a report says in sentences."""

from collections.abc import Sequence

from headstart.reports.analysis import Analysis
from headstart.reports.comparison import Comparison
from headstart.reports.formats import percent, setting
from headstart.reports.panels import Panel
from headstart.reports.read import Run, RunSet
from headstart.reports.table import Group


def findings(analysis: Analysis, only_best: bool = False) -> list[str]:
    """For each panel, the best and what it is compared to; then, unless only the best is asked for, the verdicts."""
    lines = []
    for panel in analysis.panels:
        if len(panel.groups) + len(panel.references) < 2:
            continue
        best = max(panel.groups, key=lambda group: group.test.mean)
        lines.append(_best(panel, best))
        if not only_best:
            lines += [f"{panel.title}: {one.verdict}" for one in verdicts(panel, best, analysis)]
    return lines


def verdicts(panel: Panel, best: Group, analysis: Analysis) -> Sequence[Comparison]:
    """The comparisons with the baseline, or else with the best."""
    against = analysis.baseline or best.label
    return [one for one in analysis.comparisons.get(panel.title, ()) if against in (one.a, one.b)]


def _best(panel: Panel, best: Group) -> str:
    text = f"{panel.title}: {best.label} is the best {panel.what} with {percent(best.test.mean)} %"
    scratch = next((group for group in panel.groups if setting(group.label) == "scratch"), None)
    if scratch is not None and scratch is not best:
        text += f", {percent(best.test.mean - scratch.test.mean)} points above scratch"
    for reference in panel.references:
        difference = best.test.mean - reference.test.mean
        side = "above" if difference >= 0 else "below"
        text += f", {percent(abs(difference))} points {side} {reference.label} without any network"
    return f"{text}."


def averages(analysis: Analysis) -> list[str]:
    """A warning where rows average over what differs in more than seeds."""
    if not analysis.averaged:
        return []
    listed = "; ".join(f"{key} ({', '.join(values)})" for key, values in analysis.averaged.items())
    return [f"Rows average over different settings: {listed}."]


def remarks(found: RunSet) -> list[str]:
    """Runs that are not counted, and what to know about those that are."""
    lines = [f"{problem.directory.name}: {problem.status}, {problem.reason}" for problem in found.problems]
    if found.repeated:
        lines.append(f"{len(found.repeated)} earlier repetition(s) of a run, not counted")
    reused = [run for run in found.runs if _found_features(run)]
    if reused:
        lines.append(
            f"{len(reused)} of {len(found.runs)} runs found features that earlier runs had computed: their training"
            " times leave that out"
        )
    return lines


def _found_features(run: Run) -> bool:
    features = run.record.get("features")
    return isinstance(features, dict) and features.get("hit") is True
