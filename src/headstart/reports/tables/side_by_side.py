"""Make the table of a paper: one row per strategy, one column per panel."""

from collections.abc import Callable
from dataclasses import replace

from headstart.comparison.formats import NOTHING
from headstart.comparison.pivot import BOLD, Pivot, score_on_test
from headstart.comparison.table import RunGroup, Statistic
from headstart.report_table import Cell, Column, ReportTable
from headstart.reports.analysis import Analysis
from headstart.reports.robustness import Measured
from headstart.reports.tables.accuracy import metrics_of
from headstart.reports.tables.cells import metric_cell


def side_by_side(analysis: Analysis) -> ReportTable:
    """Return the means on test of all panels."""
    metrics = metrics_of(analysis)
    names = " or ".join(metric.axis("test") for metric in metrics).capitalize()
    note = f"{names}, mean ± deviation over runs. {BOLD}"
    table = analysis.pivot
    if len(metrics) > 1:  # then each column names its metric
        named = ((panel.title, panel.metric.axis()) for panel in analysis.panels)
        columns = tuple(title if title.endswith(name) else f"{title}, {name}" for title, name in named)
        table = replace(table, columns=columns)
    return _pivoted("side-by-side", "Side by side", note, analysis, table, score_on_test)


def errors_side_by_side(analysis: Analysis, found: Measured) -> ReportTable:
    """Return the mean corruption errors of all panels."""
    note = f"Mean corruption error (%), mean ± deviation over runs; lower is better. {BOLD}"
    return _pivoted("errors-side-by-side", "Errors side by side", note, analysis, found.pivot, found.mce)


def _pivoted(
    id: str, title: str, note: str, analysis: Analysis, table: Pivot, score: Callable[[RunGroup], Statistic]
) -> ReportTable:
    rows = [
        [
            Cell(label),
            *(
                Cell(NOTHING)
                if group is None
                else metric_cell(group, score(group), True, label in best, analysis.places(group.runs))
                for group, best in zip(groups, table.best, strict=True)
            ),
        ]
        for label, groups in zip(table.rows, table.cells, strict=True)
    ]
    references = (row for row, groups in enumerate(table.cells) if any(one and one.reference for one in groups))
    columns = [Column(analysis.panels[0].compared), *(Column(name, "number") for name in table.columns)]
    return ReportTable(id, title, note, columns, rows, next(references, None))
