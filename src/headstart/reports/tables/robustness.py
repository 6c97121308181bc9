"""Make the tables of robustness: mean errors over corruptions, and the error under each."""

import math

from headstart.comparison.pivot import BOLD
from headstart.report_table import Cell, Column, ReportTable, count_cell, share_cell
from headstart.reports.analysis import Analysis
from headstart.reports.robustness import Measured
from headstart.reports.tables.cells import GroupColumn, group_table, score_cell


def robustness_table(analysis: Analysis, measured: Measured) -> ReportTable:
    """Return one row per group, the lowest mean corruption error first."""
    best = {id(group) for group, is_best in measured.rows if is_best}
    columns: list[GroupColumn] = [
        (Column("mCE (%)", "number"), lambda group: score_cell(measured.mce(group), id(group) in best)),
        (Column("relative mCE (%)", "number"), lambda group: score_cell(measured.relative(group))),
        (Column("clean error (%)", "number"), lambda group: score_cell(measured.clean(group))),
        (Column("runs", "number"), lambda group: count_cell(measured.mce(group).count)),
    ]
    return group_table(
        analysis,
        ("robustness", "Robustness", _note(measured)),
        [group for group, _ in measured.rows],
        columns,
        runs_of=lambda group: (run for run in group.runs if run.id in measured.runs),
    )


def corruption_tables(analysis: Analysis, measured: Measured) -> list[ReportTable]:
    """Return one table per panel, with mean errors over severities: a row per corruption, a column per group."""
    tables = []
    for number, panel in enumerate(measured.panels):
        errors = [(analysis.places(group.runs), measured.by_corruption(group)) for group in panel.groups]
        columns = [Column("corruption"), *(Column(group.label, "number") for group in panel.groups)]
        rows = [
            [Cell(name), *(share_cell(means[name].mean if name in means else math.nan, runs) for runs, means in errors)]
            for name in measured.corruptions(panel)
        ]
        title = f"Error by corruption: {panel.title}"
        tables.append(ReportTable(f"corruptions-{number}", title, "Mean error over severities (%).", columns, rows))
    return tables


def _note(measured: Measured) -> str:
    first, *others = measured.runs.values()
    over = "the measured corruptions"
    if all(other.cells == first.cells for other in others):
        over = f"{len(first.corruptions)} corruptions at severities {', '.join(map(str, first.severities))}"
    return (
        f"mCE: mean error over {over}, not normalised. Relative: mCE minus the error on the same clean images. Lower is"
        f" better. {BOLD}"
    )
