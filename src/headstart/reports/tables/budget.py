"""The table of tuning costs: what it took to find each row."""

from headstart.comparison.budget import budget_of
from headstart.comparison.table import RunGroup
from headstart.reports.analysis import Analysis
from headstart.reports.tables.cells import amount_cell, count_cell, group_table
from headstart.reports.tables.model import Cell, Column, ReportTable


def budget_table(analysis: Analysis) -> ReportTable:
    """Return a row a group: runs tried, their training time, candidates, and the rule of choice."""

    def places(group: RunGroup) -> tuple[int, ...]:
        return analysis.places(group.tried or group.runs)

    candidates = "Epochs, strengths, mixes and the like that validation compared inside runs."
    return group_table(
        "budget",
        "Tuning cost",
        "Tuning budget of each row.",
        analysis.groups,
        [
            (Column("runs tried", "number"), lambda group: count_cell(budget_of(group).runs, places(group))),
            (Column("seconds in all", "number"), lambda group: amount_cell(budget_of(group).seconds, places(group))),
            (
                Column("candidates", "number", candidates),
                lambda group: count_cell(budget_of(group).candidates, places(group)),
            ),
            (Column("chosen"), lambda group: Cell(budget_of(group).rule)),
        ],
        references=False,
    )
