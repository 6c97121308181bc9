"""Write the findings of a report as sentences."""

from collections.abc import Sequence

from headstart.comparison.budget import budget_of
from headstart.comparison.comparison import Comparison
from headstart.comparison.formats import setting, shared_settings, split_keys
from headstart.comparison.panels import Panel
from headstart.comparison.table import RunGroup
from headstart.kinds import Metric
from headstart.records.runs import Run, RunSet
from headstart.reports.analysis import Analysis

MOST_NAMES = 3
PROVISIONAL = "One pair of runs only: differences are provisional, as another seed may reverse them."


def title_of(analysis: Analysis) -> str:
    """Return the title of the report."""
    return "Comparison of runs" if analysis.one_run is None else analysis.one_run.title


def runs_in_all(analysis: Analysis) -> str:
    """Return two sentences: the number of runs, and the settings that all of them share."""
    _, constant = split_keys(analysis.groups)
    count, shared = len(analysis.runs), shared_settings(constant)
    return f"{count} finished run{'' if count == 1 else 's'}.{f' All with {shared}.' if shared else ''}"


def findings(analysis: Analysis, only_best: bool = False) -> list[str]:
    """Return sentences on the best row of each panel, and the verdicts unless ``only_best``."""
    lines, single = [], False
    for panel in analysis.panels:
        if len(panel.groups) + len(panel.references) < 2:
            continue
        best = panel.best
        lines.append(_best_sentence(panel, best, analysis.comparisons.get(panel.title, ())))
        if not only_best:
            compared = verdicts(panel, best, analysis)
            lines += [f"{panel.title}: {one.verdict}" for one in compared]
            single |= any(one.result.pairs == 1 for one in compared)
    return [*lines, *([PROVISIONAL] if single else []), *_tuned_nothing(analysis)]


def _tuned_nothing(analysis: Analysis) -> list[str]:
    """Return a sentence if no row has runs with different values of the settings that were to be tuned."""
    tuned = [group for group in analysis.groups if group.tuned]
    if not tuned or any(budget_of(group).settings > 1 for group in tuned):
        return []
    return [f"--tune {' '.join(tuned[0].tuned)}: no row has runs with different values, so nothing was chosen."]


def verdicts(panel: Panel, best: RunGroup, analysis: Analysis) -> Sequence[Comparison]:
    """Return the comparisons with the baseline, or else with the best."""
    against = analysis.baseline or best.label
    return [one for one in analysis.comparisons.get(panel.title, ()) if against in (one.a, one.b)]


def _best_sentence(panel: Panel, best: RunGroup, comparisons: Sequence[Comparison]) -> str:
    text = f"{panel.title}: {_standing(panel, best, comparisons)}"
    scratch = next((group for group in panel.groups if setting(group.label) == "scratch"), None)
    if scratch is not None and scratch is not best:
        text += f", {_distance(panel.metric, best.test.mean - scratch.test.mean)} scratch"
    for reference in panel.references:
        difference = best.test.mean - reference.test.mean
        text += f", {_distance(panel.metric, difference)} {reference.label} without any network"
    return f"{text}."


def _distance(metric: Metric, difference: float) -> str:
    """Return a difference of means as text: "3.1 points above", "0.412 years below"."""
    return f"{metric.size(abs(difference))} {'above' if difference >= 0 else 'below'}"


def _standing(panel: Panel, best: RunGroup, comparisons: Sequence[Comparison]) -> str:
    """Return how the row with the best mean compares; it is "the best" only if it beats all others on several seeds."""
    metric = panel.metric
    mean = metric.text(best.test.mean)
    others = [group.label for group in panel.groups if group is not best]
    found = {one.b if one.a == best.label else one.a: one for one in comparisons if best.label in (one.a, one.b)}
    indistinct = [label for label in others if label in found and not found[label].significant]
    better = [label for label in others if label in found and found[label].significant and found[label].a == label]
    single = [label for label in others if label in found and found[label].result.pairs == 1]
    unknown = [label for label in others if label not in found]
    spoken = {group.label: group.spoken for group in panel.groups}
    if not others:
        return f"{best.spoken} has a test {metric.title} of {mean}"
    if not (indistinct or better or single or unknown):
        return f"{best.label} is the best {panel.compared} with {mean}"
    clauses = [
        f"{words} {_listed([spoken[label] for label in labels])}"
        for words, labels in (
            ("not distinguishable from", indistinct),
            ("worse on the runs that they share than", better),
            ("not compared with", unknown),
        )
        if labels
    ]
    if single:
        clauses.append("on one seed only")
    side = "highest" if metric.higher_is_better else "lowest"
    return ", ".join([f"{best.spoken} has the {side} test {metric.title} with {mean}", *clauses])


def _listed(labels: Sequence[str]) -> str:
    """Return up to three names, and how many more there are."""
    if len(labels) > MOST_NAMES + 1:
        return f"{', '.join(labels[:MOST_NAMES])} and {len(labels) - MOST_NAMES} more"
    return " and ".join(filter(None, [", ".join(labels[:-1]), labels[-1]]))


def averages(analysis: Analysis) -> list[str]:
    """Return notes on rows that average over different settings, and on tasks that are not compared."""
    tasks = sorted({run.task for run in analysis.runs})
    lines = [f"Runs of different tasks are not compared with each other: {'; '.join(tasks)}."] if tasks[1:] else []
    if not analysis.averaged:
        return lines
    listed = "; ".join(f"{key} ({', '.join(values)})" for key, values in analysis.averaged.items())
    return [*lines, f"Rows average over different settings: {listed}."]


def remarks(found: RunSet) -> list[str]:
    """Return notes on runs that are not counted, and on runs that reused features."""
    lines = [f"{problem.directory.name}: {problem.status}, {problem.reason}" for problem in found.problems]
    if found.repeated:
        count = len(found.repeated)
        lines.append(f"{count} run{'' if count == 1 else 's'} not counted: repeated later")
    reused = [run for run in found.runs if _reused_features(run)]
    if reused:
        lines.append(
            f"{len(reused)} of {len(found.runs)} runs reused features that earlier runs computed; their training times"
            " exclude that computation"
        )
    return lines


def _reused_features(run: Run) -> bool:
    features = run.get("features")
    return isinstance(features, dict) and features.get("hit") is True
