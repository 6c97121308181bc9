"""Make the table of differences: which of two groups is better, by how much, and with which p-value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from headstart.comparison.comparison import Comparison
from headstart.comparison.formats import NOTHING
from headstart.comparison.panels import Panel
from headstart.comparison.verdict import p_number
from headstart.kinds import Metric
from headstart.report_table import Cell, Column, ReportTable, count_cell
from headstart.reports.analysis import Analysis
from headstart.reports.robustness import Measured
from headstart.reports.tables.accuracy import metrics_of


def differences(analysis: Analysis) -> ReportTable:
    """Return one row per compared pair of groups."""
    score = " or ".join(f"test {metric.title}" for metric in metrics_of(analysis))
    return _compared("differences", "Differences", score, analysis, analysis.panels, analysis.comparisons)


def robustness_differences(analysis: Analysis, found: Measured) -> ReportTable:
    """Return the same for mean corruption errors."""
    title, score = "Differences in robustness", "accuracy on corrupted images (1 - mCE)"
    return _compared("robustness-differences", title, score, analysis, found.panels, found.comparisons)


def _compared(
    id: str,
    title: str,
    score: str,
    analysis: Analysis,
    panels: Sequence[Panel],
    comparisons: Mapping[str, Sequence[Comparison]],
) -> ReportTable:
    compared = [(panel, one) for panel in panels for one in comparisons.get(panel.title, ())]
    runs = {(panel.title, group.label): group.runs for panel in panels for group in panel.groups}
    keys = list(dict.fromkeys(key for panel, _ in compared for key in panel.key))
    others = list(dict.fromkeys(name for _, one in compared for name in one.result.other))
    columns = [
        *(Column(key, field=key, shown=False) for key in keys),
        Column("panel"),
        Column("pair"),
        Column("better", field="a"),
        Column("other", field="b"),
        Column(_unit(panels), "number", "Mean difference over the paired runs.", "difference"),
        Column("95 % interval (adjusted)", "number", field="low"),
        *(Column(name, field=name, shown=False) for name in ("high", "level")),
        Column("p", "number", field="p"),
        Column("p (adjusted)", "number", field="p_adjusted"),
        Column("effect (d)", "number", "Mean difference divided by its deviation (Cohen's d).", "effect_size"),
        Column("pairs", "number", field="pairs"),
        *(Column(name, field=name, shown=False) for name in ("pictures", "method", *others)),
        Column("verdict", field="verdict"),
    ]
    rows = [
        [
            *(Cell("", panel.key.get(key)) for key in keys),
            Cell(panel.title),
            *_cells(one, panel.metric, analysis.places(runs[panel.title, one.a] + runs[panel.title, one.b])),
            *(Cell("", one.result.other.get(name)) for name in others),
            Cell(one.verdict),
        ]
        for panel, one in compared
    ]
    methods = "; ".join(sorted({one.result.method for _, one in compared}))
    note = (
        f"Differences of the mean {score}, paired by seed and fold: {methods}. Adjusted for the number of comparisons"
        " (Bonferroni). Bold: adjusted p below 5 %, so the interval excludes zero."
    )
    return ReportTable(id, title, note, columns, rows)


def _cells(one: Comparison, metric: Metric, runs: tuple[int, ...]) -> list[Cell]:
    """Return the cells that every comparison has."""
    result = one.result
    effect = f"{result.effect_size:.2f}" if math.isfinite(result.effect_size) else NOTHING
    return [
        Cell(f"{one.a} – {one.b}"),
        Cell(one.a),
        Cell(one.b),
        Cell(metric.number(result.difference), result.difference, runs, one.significant),
        Cell(metric.interval(result.low, result.high), result.low, runs),
        Cell("", result.high),
        Cell("", result.level),
        Cell(_p_text(result.p_value), result.p_value, runs),
        Cell(_p_text(one.p_adjusted), one.p_adjusted, runs),
        Cell(effect, result.effect_size, runs),
        count_cell(result.pairs, runs),
        Cell("", result.images),
        Cell("", result.method),
    ]


def _unit(panels: Sequence[Panel]) -> str:
    """Return the heading of the column of differences."""
    metrics = {panel.metric for panel in panels}
    metric = metrics.pop()
    if metric.is_share and not metrics:
        return "points"
    return f"difference ({metric.unit})" if metric.unit and not metrics else "difference"


def _p_text(value: float) -> str:
    """Return "0.012" or "<0.001"; "–" for none."""
    return NOTHING if math.isnan(value) else "<0.001" if value < 0.001 else p_number(value)
