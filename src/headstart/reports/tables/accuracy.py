"""The main table: accuracy and cost of each group."""

from headstart.comparison.formats import interval
from headstart.comparison.pivot import BOLD
from headstart.reports.analysis import Analysis
from headstart.reports.tables.cells import GroupColumn, amount_cell, count_cell, group_table, score_cell
from headstart.reports.tables.model import Cell, Column, ReportTable


def accuracy_table(analysis: Analysis) -> ReportTable:
    """Return a row a group: accuracies, runs and cost; the mean corruption error where it was measured."""
    best = {
        id(group)
        for panel, names in zip(analysis.panels, analysis.pivot.best, strict=True)
        for group in panel.groups
        if group.label in names
    }

    columns: list[GroupColumn] = [
        (
            Column("test (%)", "number", "Mean accuracy over runs, ± one sample deviation."),
            lambda group: score_cell(group.test, id(group) in best),
        ),
        (
            Column("95 % interval", "number", "Where the mean lies; seeds and test images are both samples."),
            lambda group: Cell(interval(*group.test.interval), group.test.interval[0]),
        ),
        (
            Column("validation (%)", "number", "Accuracy of the chosen epoch or setting."),
            lambda group: score_cell(group.validation),
        ),
        (Column("runs", "number"), lambda group: count_cell(group.test.count)),
        (
            Column("train (s)", "number", "Features, training and validation of one run, on average."),
            lambda group: amount_cell(group.cost("train_seconds")),
        ),
        (
            Column("trained", "number", "Parameters that are trained."),
            lambda group: amount_cell(group.cost("trainable_parameters")),
        ),
        (Column("samples/s", "number"), lambda group: amount_cell(group.cost("samples_per_second"))),
    ]
    if (found := analysis.robustness) is not None:
        mce = Column("mCE (%)", "number", "Mean error over corruptions and severities.")
        columns.append((mce, lambda group: score_cell(found.mce(group))))
    note = (
        "Accuracies are means over runs in percent, ± one sample deviation; intervals count seeds and test images. The"
        f" epoch, or the setting of a classifier, is chosen on validation; test is read once. {BOLD}"
    )
    return group_table(analysis, ("accuracy", "Accuracy and cost", note), analysis.groups, columns)
