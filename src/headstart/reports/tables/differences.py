"""The table of differences: which of two groups is better, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headstart.comparison.comparison import Comparison
from headstart.comparison.formats import NOTHING, interval, percent
from headstart.comparison.panels import Panel
from headstart.reports.analysis import Analysis
from headstart.reports.robustness import Measured
from headstart.reports.tables.cells import count_cell
from headstart.reports.tables.model import Cell, Column, ReportTable
from headstart.statistics import p_number


def differences(analysis: Analysis) -> ReportTable | None:
    """Return a row a pair of groups; None where nothing was compared."""
    return _compared("differences", "Differences", "test accuracies", analysis, analysis.panels, analysis.comparisons)


def robustness_differences(analysis: Analysis, found: Measured) -> ReportTable | None:
    """Return the same for mean corruption errors."""
    of = "shares of corrupted images told right (1 - mCE)"
    title = "Differences in robustness"
    return _compared("robustness-differences", title, of, analysis, found.panels, found.comparisons)


def _compared(
    id: str,
    title: str,
    of: str,
    analysis: Analysis,
    panels: Sequence[Panel],
    comparisons: Mapping[str, Sequence[Comparison]],
) -> ReportTable | None:
    interval_help = "Corrected for the number of comparisons in the panel (Bonferroni)."
    columns = [
        Column("panel"),
        Column("pair"),
        Column("better"),
        Column("other"),
        Column("points", "number", f"Difference of the mean {of} on the runs that pair up."),
        Column("95 % interval (adjusted)", "number", interval_help),
        Column("p", "number"),
        Column("p (adjusted)", "number", "Corrected like the interval: below 5 %, the interval leaves out zero."),
        Column("effect (d)", "number", "Mean difference over its deviation (Cohen's d of pairs)."),
        Column("pairs", "number"),
        Column("verdict"),
    ]
    rows = []
    for panel in panels:
        groups = {group.label: group for group in panel.groups}
        for one in comparisons.get(panel.title, ()):
            places = analysis.places([*groups[one.a].runs, *groups[one.b].runs])
            rows.append([Cell(panel.title), *_row(one, places)])
    note = "Paired by seed and fold. Bold: adjusted p below 5 %."
    return ReportTable(id, title, note, columns, rows) if rows else None


def _row(one: Comparison, runs: tuple[int, ...]) -> list[Cell]:
    result = one.result
    effect = result.effect_size if math.isfinite(result.effect_size) else math.nan
    return [
        Cell(f"{one.a} – {one.b}"),
        Cell(one.a),
        Cell(one.b),
        Cell(percent(result.difference), result.difference, runs, one.told_apart),
        Cell(interval(result.low, result.high), result.low, runs),
        Cell(_p_text(result.p_value), result.p_value, runs),
        Cell(_p_text(one.p_adjusted), one.p_adjusted, runs),
        Cell(NOTHING if math.isnan(effect) else f"{effect:.2f}", effect, runs),
        count_cell(result.pairs, runs),
        Cell(one.verdict),
    ]


def _p_text(value: float) -> str:
    """Return "0.012" or "<0.001"; "–" for none."""
    return NOTHING if math.isnan(value) else "<0.001" if value < 0.001 else p_number(value)
