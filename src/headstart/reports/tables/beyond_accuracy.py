"""The table of scores beyond accuracy: balanced accuracy, F1 and calibration."""

from __future__ import annotations

import math
from collections.abc import Callable

from headstart.comparison.formats import NOTHING, percent
from headstart.comparison.table import RunGroup
from headstart.reports.analysis import Analysis
from headstart.reports.tables.cells import group_table
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

    def cell_of(name: str, is_share: bool) -> Callable[[RunGroup], Cell]:
        def cell(group: RunGroup) -> Cell:
            mean = analysis.score(group, name).mean
            text = NOTHING if math.isnan(mean) else percent(mean) if is_share else f"{mean:.3f}"
            return Cell(text, mean, analysis.places(group.runs))

        return cell

    columns = [
        (Column(heading, "number"), cell_of(name, is_share))
        for name, (heading, is_share) in BEYOND.items()
        if any(analysis.score(group, name).count for group in analysis.groups)
    ]
    note = (
        "NLL: negative log-likelihood. ECE: expected calibration error in 15 bins. Scaled: after temperature scaling on"
        " validation."
    )
    if not columns:
        return None
    return group_table("beyond-accuracy", "Beyond accuracy", note, analysis.groups, columns, references=False)
