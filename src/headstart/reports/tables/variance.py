"""Make the table of variance sources: the deviation on test when one seed alone varies."""

from headstart.report_table import Cell, Column, ReportTable, count_cell
from headstart.reports.analysis import Analysis
from headstart.reports.tables.accuracy import metrics_of


def variance_table(analysis: Analysis) -> ReportTable:
    """Return one row per group and seed that was varied alone."""
    rows = [
        [
            Cell(panel.title),
            Cell(group.label),
            Cell(name),
            Cell(panel.metric.exact_number(source.deviation), source.deviation, analysis.places(group.runs)),
            count_cell(source.runs),
        ]
        for panel, group, sources in analysis.variances
        for name, source in sources.streams.items()
    ]
    columns = [Column("panel"), Column("row"), Column("seed"), Column("deviation", "number"), Column("runs", "number")]
    metrics = metrics_of(analysis)
    (first, *others), score = metrics, " or ".join(f"test {metric.title}" for metric in metrics)
    unit = "" if others or not first.unit else f", in {'points' if first.is_share else first.unit},"
    note = f"Deviation of the {score}{unit} when one seed alone varies."
    return ReportTable("variances", "Variance by seed", note, columns, rows)
