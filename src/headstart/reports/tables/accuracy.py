"""Make the main table: the primary metric and the cost of each group."""

from collections.abc import Sequence

from headstart.comparison.formats import metric_heading
from headstart.comparison.pivot import BOLD
from headstart.kinds import Metric
from headstart.report_table import Cell, Column, ReportTable, count_cell
from headstart.reports.analysis import Analysis
from headstart.reports.tables.cells import GroupColumn, amount_cell, group_table, metric_cell, score_cell

MAIN = "accuracy"
"""The id of this table, whatever its metric."""


def accuracy_table(analysis: Analysis) -> ReportTable:
    """Return one row per group: means, runs and cost, and the mean corruption error if it was measured."""
    best = {
        id(group)
        for panel, names in zip(analysis.panels, analysis.pivot.best, strict=True)
        for group in panel.groups
        if group.label in names
    }

    metrics = metrics_of(analysis)
    alone, names = len(metrics) == 1, " or ".join(metric.title for metric in metrics)
    columns: list[GroupColumn] = [
        (
            Column(
                metric_heading(analysis.groups, "test"), "number", f"Mean {names} over runs, ± one sample deviation."
            ),
            lambda group: metric_cell(group, group.test, alone, id(group) in best),
        ),
        (
            Column("95 % interval", "number", "Of the mean; seeds and test images are both samples."),
            lambda group: Cell(group.metric.interval(*group.test.interval), group.test.interval[0]),
        ),
        (
            Column(
                metric_heading(analysis.groups, "validation"),
                "number",
                f"{names.capitalize()} of the chosen epoch or setting.",
            ),
            lambda group: metric_cell(group, group.validation, alone),
        ),
        (Column("runs", "number"), lambda group: count_cell(group.test.count)),
        (
            Column("train (s)", "number", "Mean time of a run for features, training and validation."),
            lambda group: amount_cell(group.cost("train_seconds")),
        ),
        (
            Column("trained", "number", "Number of trained parameters."),
            lambda group: amount_cell(group.cost("trainable_parameters")),
        ),
        (Column("samples/s", "number"), lambda group: amount_cell(group.cost("samples_per_second"))),
    ]
    if (found := analysis.robustness) is not None:
        mce = Column("mCE (%)", "number", "Mean error over corruptions and severities.")
        columns.append((mce, lambda group: score_cell(found.mce(group))))
    note = (
        f"{_plural(metrics)}, ± one sample deviation. The epoch, or the setting of a classifier, is chosen on"
        f" validation; test is read once. {BOLD}"
    )
    title = f"{', '.join(metric.title for metric in metrics).capitalize()} and cost"
    return group_table(analysis, (MAIN, title, note), analysis.groups, columns)


def metrics_of(analysis: Analysis) -> list[Metric]:
    """Return the primary metrics, each once."""
    return list(dict.fromkeys(group.metric for group in analysis.groups))


def _plural(metrics: Sequence[Metric]) -> str:
    text = f"{' and '.join(metric.plural for metric in metrics).capitalize()} are means over runs"
    (first, *others) = metrics
    if others or not first.unit:
        return text
    return f"{text} in {'percent' if first.is_share else first.unit}"
