"""The table of scores beyond accuracy: balanced accuracy, F1 and calibration."""

from __future__ import annotations

import math
from functools import partial

from headstart.comparison.table import RunGroup
from headstart.reports.analysis import Analysis
from headstart.reports.tables.cells import group_table, share_cell
from headstart.reports.tables.model import Cell, Column, ReportTable

BEYOND = {  # name in Scores, heading, whether it is a share
    "balanced_accuracy": ("balanced acc. (%)", True),
    "macro_f1": ("macro F1 (%)", True),
    "nll": ("NLL (nats)", False),
    "scaled_nll": ("scaled NLL", False),
    "brier": ("Brier", False),
    "scaled_brier": ("scaled Brier", False),
    "ece": ("ECE (%)", True),
    "scaled_ece": ("scaled ECE (%)", True),
}


def beyond_accuracy(analysis: Analysis) -> ReportTable | None:
    """Return a row a group, means over runs; None where no run keeps its predictions."""

    def cell_of(name: str, is_share: bool, group: RunGroup) -> Cell:
        mean = analysis.score(group, name).mean
        return share_cell(mean) if is_share or math.isnan(mean) else Cell(f"{mean:.3f}", mean)

    columns = [
        (Column(heading, "number"), partial(cell_of, name, is_share))
        for name, (heading, is_share) in BEYOND.items()
        if any(analysis.score(group, name).count for group in analysis.groups)
    ]
    if not columns:
        return None
    note = (
        "Means over runs. NLL: negative log-likelihood. ECE: expected calibration error in 15 bins. Scaled: after"
        " temperature scaling on validation."
    )
    return group_table(analysis, ("beyond-accuracy", "Beyond accuracy", note), analysis.groups, columns, False)
