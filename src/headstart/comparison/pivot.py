"""Rows of groups, a column a panel: the table that a paper prints."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile

from headstart.comparison.comparison import Comparison
from headstart.comparison.panels import Panel
from headstart.comparison.table import RunGroup, Statistic

BOLD = "Bold: best, and results not significantly different from it."


@dataclass(frozen=True)
class Pivot:
    """``cells[row][column]``: a group, or None where there are no such runs."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[RunGroup | None, ...], ...]
    best: tuple[frozenset[str], ...]
    """For each column, the rows in bold, see ``best_rows``."""


def of_test(group: RunGroup) -> Statistic:
    """What rows are sorted by, the higher the better, unless told otherwise."""
    return group.test


def pivot(
    panels: Sequence[Panel],
    comparisons: Mapping[str, Sequence[Comparison]],
    score: Callable[[RunGroup], Statistic] = of_test,
) -> Pivot:
    """Rows sorted by their mean score over the columns; references below them."""
    cells: dict[str, dict[int, RunGroup]] = {}
    for number, panel in enumerate(panels):
        for group in (*panel.groups, *panel.references):
            cells.setdefault(group.label, {})[number] = group

    def rank(label: str) -> tuple[bool, float, str]:
        groups = [group for group in cells[label].values() if score(group).count]
        mean = sum(score(group).mean for group in groups) / len(groups) if groups else 0.0
        return any(group.reference for group in groups), -mean, label

    rows = sorted(cells, key=rank)
    return Pivot(
        rows=tuple(rows),
        columns=tuple(panel.title for panel in panels),
        cells=tuple(tuple(cells[row].get(number) for number in range(len(panels))) for row in rows),
        best=tuple(best_rows(panel, comparisons.get(panel.title, ()), score) for panel in panels),
    )


def best_rows(
    panel: Panel, comparisons: Sequence[Comparison], score: Callable[[RunGroup], Statistic] = of_test
) -> frozenset[str]:
    """Return the best row, and those below it that follow it without a gap in the order of their means.

    A row follows if its mean lies within the best row's own interval and the corrected test does not separate the two.
    So no row in bold has a lower mean than one that is not. Empty for a lone row.
    """
    groups = sorted((group for group in panel.groups if score(group).count), key=lambda group: -score(group).mean)
    if len(groups) < 2:
        return frozenset()
    best, *others = groups
    alike = {frozenset((one.a, one.b)) for one in comparisons if not one.told_apart}
    low, _ = score(best).interval
    follow = takewhile(
        lambda group: frozenset((best.label, group.label)) in alike and not score(group).mean < low, others
    )
    return frozenset({best.label, *(group.label for group in follow)})
