"""List all tables of a report, in the order of reading."""

from headstart.report_table import ReportTable
from headstart.reports.analysis import Analysis
from headstart.reports.tables.accuracy import accuracy_table
from headstart.reports.tables.beyond_accuracy import beyond_accuracy
from headstart.reports.tables.budget import budget_table
from headstart.reports.tables.differences import differences, robustness_differences
from headstart.reports.tables.recall import recall_tables
from headstart.reports.tables.robustness import corruption_tables, robustness_table
from headstart.reports.tables.side_by_side import side_by_side
from headstart.reports.tables.variance import variance_table


def report_tables(analysis: Analysis) -> list[ReportTable]:
    """Return the tables that have rows, for a single run or for several runs."""
    found, one = analysis.robustness, analysis.one_run
    tables: list[ReportTable | None] = []
    if one is not None:
        tables += [one.overview, *one.details]
    else:
        several = len(analysis.panels) > 1 and len(analysis.pivot.rows) > 1
        tables += [side_by_side(analysis) if several else None, accuracy_table(analysis)]
        tables += [differences(analysis), beyond_accuracy(analysis)]
    if found is not None:
        tables += [robustness_table(analysis, found), robustness_differences(analysis, found)]
        tables += corruption_tables(analysis, found)
    if one is None:
        tables += [budget_table(analysis), variance_table(analysis), *recall_tables(analysis)]
    return [table for table in tables if table is not None and table.rows]
