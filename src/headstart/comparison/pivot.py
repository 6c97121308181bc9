"""Make the table of a paper: one row per group, one column per panel."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from headstart.comparison.comparison import Comparison
from headstart.comparison.panels import Panel
from headstart.comparison.table import RunGroup, Statistic

BOLD = "Bold: best, and results not significantly different from it."


@dataclass(frozen=True)
class Pivot:
    """``cells[row][column]``: a group, or None if there are no such runs."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[RunGroup | None, ...], ...]
    best: tuple[frozenset[str], ...]
    """The rows in bold of each column, see ``best_rows``."""


def score_on_test(group: RunGroup) -> Statistic:
    """Return the mean on test, by which rows are sorted by default."""
    return group.test


def pivot(
    panels: Sequence[Panel],
    comparisons: Mapping[str, Sequence[Comparison]],
    score: Callable[[RunGroup], Statistic] = score_on_test,
) -> Pivot:
    """Return the table with the best row first and references last.

    Rows are sorted by their mean score over the columns, or by their mean place if metrics differ.
    """
    cells: dict[str, dict[int, RunGroup]] = {}
    for number, panel in enumerate(panels):
        for group in (*panel.groups, *panel.references):
            cells.setdefault(group.label, {})[number] = group

    one_metric = len({panel.metric for panel in panels}) == 1
    places = {} if one_metric else _mean_places(panels, score)

    def rank(label: str) -> tuple[bool, float, str]:
        groups = [group for group in cells[label].values() if score(group).count]
        reference = any(group.reference for group in groups)
        if not one_metric:
            return reference, places.get(label, math.inf), label
        mean = sum(score(group).mean for group in groups) / len(groups) if groups else 0.0
        return reference, -panels[0].metric.gain(mean), label

    rows = sorted(cells, key=rank)
    return Pivot(
        rows=tuple(rows),
        columns=tuple(panel.title for panel in panels),
        cells=tuple(tuple(cells[row].get(number) for number in range(len(panels))) for row in rows),
        best=tuple(best_rows(panel, comparisons.get(panel.title, ()), score) for panel in panels),
    )


def best_rows(
    panel: Panel, comparisons: Sequence[Comparison], score: Callable[[RunGroup], Statistic] = score_on_test
) -> frozenset[str]:
    """Return the best row and the rows that tie with it; empty for a single row.

    A row ties if its mean lies within the best row's interval and the corrected test does not separate the two. Rows
    below the first one that does not tie are not in bold, so that no row in bold is worse than one that is not.
    """
    gain = panel.metric.gain
    groups = sorted((group for group in panel.groups if score(group).count), key=lambda group: -gain(score(group).mean))
    if len(groups) < 2:
        return frozenset()
    best, *others = groups
    inseparable = {frozenset((one.a, one.b)) for one in comparisons if not one.significant}
    bound = min(map(gain, score(best).interval))
    ties = takewhile(
        lambda group: frozenset((best.label, group.label)) in inseparable and not gain(score(group).mean) < bound,
        others,
    )
    return frozenset({best.label, *(group.label for group in ties)})


def _mean_places(panels: Sequence[Panel], score: Callable[[RunGroup], Statistic]) -> dict[str, float]:
    """Return the place of each row, 0 for the best, as a mean over the panels that have it."""
    places: dict[str, list[int]] = {}
    for panel in panels:
        groups = [group for group in panel.groups if score(group).count]
        for place, group in enumerate(sorted(groups, key=lambda group: -panel.metric.gain(score(group).mean))):
            places.setdefault(group.label, []).append(place)
    return {label: sum(found) / len(found) for label, found in places.items()}
