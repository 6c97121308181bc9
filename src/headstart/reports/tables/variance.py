"""The table of variance sources: how far each seed alone moves the test accuracy."""

from headstart.comparison.formats import percent
from headstart.reports.analysis import Analysis
from headstart.reports.tables.cells import count_cell
from headstart.reports.tables.model import Cell, Column, ReportTable


def variance_table(analysis: Analysis) -> ReportTable:
    """Return a row a group and seed that was varied alone."""
    rows = [
        [
            Cell(panel.title),
            Cell(group.label),
            Cell(name),
            Cell(percent(source.deviation, 2), source.deviation, analysis.places(group.runs)),
            count_cell(source.runs),
        ]
        for panel, group, sources in analysis.variances
        for name, source in sources.streams.items()
    ]
    columns = [Column("panel"), Column("row"), Column("seed"), Column("deviation", "number"), Column("runs", "number")]
    note = "Deviation of the test accuracy, in points, where one seed alone varies."
    return ReportTable("variances", "Variance by seed", note, columns, rows)
