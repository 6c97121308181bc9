"""Rows of groups, a column a panel: the table that a paper prints."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from headstart.reports.comparison import Comparison
from headstart.reports.panels import Panel
from headstart.reports.table import Group


@dataclass(frozen=True)
class Pivot:
    """``cells[row][column]``: a group, or None where there are no such runs."""

    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[Group | None, ...], ...]
    best: tuple[frozenset[str], ...]
    """For each column, the best row and those that are not told apart from it."""


def pivot(panels: Sequence[Panel], comparisons: Mapping[str, Sequence[Comparison]]) -> Pivot:
    """Rows sorted by their mean over the columns; references below them."""
    cells: dict[str, dict[int, Group]] = {}
    for number, panel in enumerate(panels):
        for group in (*panel.groups, *panel.references):
            cells.setdefault(group.label, {})[number] = group

    def rank(label: str) -> tuple[bool, float, str]:
        groups = [group for group in cells[label].values() if group.test.count]
        mean = sum(group.test.mean for group in groups) / len(groups) if groups else 0.0
        return any(group.reference for group in groups), -mean, label

    rows = sorted(cells, key=rank)
    return Pivot(
        rows=tuple(rows),
        columns=tuple(panel.title for panel in panels),
        cells=tuple(tuple(cells[row].get(number) for number in range(len(panels))) for row in rows),
        best=tuple(best_rows(panel, comparisons.get(panel.title, ())) for panel in panels),
    )


def best_rows(panel: Panel, comparisons: Sequence[Comparison]) -> frozenset[str]:
    """The best group and every one that the corrected test does not tell apart from it; empty for a lone group."""
    groups = [group for group in panel.groups if group.test.count]
    if len(groups) < 2:
        return frozenset()
    best = max(groups, key=lambda group: group.test.mean).label
    ties = {one.b if one.a == best else one.a for one in comparisons if best in (one.a, one.b) and not one.told_apart}
    return frozenset({best, *ties})
