"""Make the table of tuning costs: the runs and the time that each row took."""

from headstart.comparison.budget import budget_of
from headstart.report_table import Cell, Column, ReportTable, count_cell
from headstart.reports.analysis import Analysis
from headstart.reports.tables.cells import GroupColumn, amount_cell, group_table


def budget_table(analysis: Analysis) -> ReportTable:
    """Return one row per group: runs tried, their training time, candidates, and the rule of choice."""
    candidates = "Epochs or settings that validation compared inside the runs."
    columns: list[GroupColumn] = [
        (Column("runs tried", "number"), lambda group: count_cell(budget_of(group).runs)),
        (Column("seconds, total", "number"), lambda group: amount_cell(budget_of(group).seconds)),
        (Column("candidates", "number", candidates), lambda group: count_cell(budget_of(group).candidates)),
        (Column("chosen"), lambda group: Cell(budget_of(group).rule)),
    ]
    names = ("budget", "Tuning cost", "Runs, training time and choices on validation behind each row.")
    return group_table(analysis, names, analysis.groups, columns, False, lambda group: group.tried or group.runs)
