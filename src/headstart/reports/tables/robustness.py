"""Make the tables of robustness: mean errors over corruptions, and the error under each."""

import math

from headstart.comparison.pivot import BOLD
from headstart.report_table import Cell, Column, ReportTable, count_cell, share_cell
from headstart.reports.analysis import Analysis
from headstart.reports.robustness import Measured
from headstart.reports.tables.cells import GroupColumn, group_table, score_cell


def robustness_table(analysis: Analysis, found: Measured) -> ReportTable:
    """Return one row per group, the lowest mean corruption error first."""
    best = {id(group) for group, is_best in found.rows if is_best}
    columns: list[GroupColumn] = [
        (Column("mCE (%)", "number"), lambda group: score_cell(found.mce(group), id(group) in best)),
        (Column("relative mCE (%)", "number"), lambda group: score_cell(found.relative(group))),
        (Column("clean error (%)", "number"), lambda group: score_cell(found.clean(group))),
        (Column("runs", "number"), lambda group: count_cell(found.mce(group).count)),
    ]
    return group_table(
        analysis,
        ("robustness", "Robustness", _note(found)),
        [group for group, _ in found.rows],
        columns,
        runs_of=lambda group: (run for run in group.runs if run.id in found.runs),
    )


def corruption_tables(analysis: Analysis, found: Measured) -> list[ReportTable]:
    """Return one table per panel, with mean errors over severities: a row per corruption, a column per group."""
    tables = []
    for number, panel in enumerate(found.panels):
        errors = [(analysis.places(group.runs), found.by_corruption(group)) for group in panel.groups]
        columns = [Column("corruption"), *(Column(group.label, "number") for group in panel.groups)]
        rows = [
            [Cell(name), *(share_cell(means[name].mean if name in means else math.nan, runs) for runs, means in errors)]
            for name in found.corruptions(panel)
        ]
        title = f"Error by corruption: {panel.title}"
        tables.append(ReportTable(f"corruptions-{number}", title, "Mean error over severities (%).", columns, rows))
    return tables


def _note(found: Measured) -> str:
    first, *others = found.runs.values()
    over = "the measured corruptions"
    if all(other.cells == first.cells for other in others):
        over = f"{len(first.corruptions)} corruptions at severities {', '.join(map(str, first.severities))}"
    return (
        f"mCE: mean error over {over}, not normalised. Relative: mCE minus the error on the same clean images. Lower is"
        f" better. {BOLD}"
    )
