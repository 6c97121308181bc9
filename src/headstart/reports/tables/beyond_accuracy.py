"""Make the table of scores beyond the primary metric, such as balanced accuracy, F1 and calibration."""

from __future__ import annotations

from functools import partial

from headstart.comparison.table import RunGroup
from headstart.kinds.kind import ScoreColumn
from headstart.report_table import Cell, Column, ReportTable
from headstart.reports.analysis import Analysis
from headstart.reports.tables.accuracy import metrics_of
from headstart.reports.tables.cells import group_table


def beyond_accuracy(analysis: Analysis) -> ReportTable | None:
    """Return one row per group with means over runs; None if no run has predictions."""

    def cell_of(name: str, column: ScoreColumn, group: RunGroup) -> Cell:
        mean = analysis.score(group, name).mean
        return Cell(column.text(mean), mean)

    kinds = list(dict.fromkeys(group.kind for group in analysis.groups))
    columns = [
        (Column(column.heading, "number"), partial(cell_of, name, column))
        for name, column in {name: column for kind in kinds for name, column in kind.beyond.items()}.items()
        if any(analysis.score(group, name).count and name != group.metric.name for group in analysis.groups)
    ]
    if not columns:
        return None
    note = " ".join(["Means over runs.", *(kind.beyond_note for kind in kinds)])
    title = f"Beyond {' and '.join(metric.title for metric in metrics_of(analysis))}"
    return group_table(analysis, ("beyond-accuracy", title, note), analysis.groups, columns, False)
