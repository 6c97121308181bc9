"""Make the tables of a single run: an overview, and those of its kind of target, e.g. classes and mistakes."""

from __future__ import annotations

from dataclasses import dataclass

from headstart.comparison.evidence import Evidence
from headstart.records.names import TEST_PREDICTIONS, VALIDATION_PREDICTIONS
from headstart.records.predictions import read_predictions
from headstart.records.runs import Run
from headstart.report_table import ReportTable
from headstart.reports.tables.overview import overview_table


@dataclass(frozen=True)
class OneRun:
    """A run with its tables."""

    run: Run
    overview: ReportTable
    details: tuple[ReportTable, ...]
    """The tables that the kind of target makes from predictions; none without predictions."""

    @property
    def title(self) -> str:
        """Return the title of the run: "scratch of resnet18 on digits, crop_resize, seed 0"."""
        run = self.run
        parts = [f"{run.strategy} of {run.backbone} on {run.dataset}", "+".join(run.augmentation)]
        return ", ".join(filter(None, [*parts, "" if run.seed is None else f"seed {run.seed}"]))

    @classmethod
    def of(cls, run: Run, evidence: Evidence | None) -> OneRun:
        """Read the predictions of the run again, because ``evidence`` has only their scores."""
        if evidence is None:
            return cls(run, overview_table(run, None, None), ())
        found = read_predictions(run.directory / TEST_PREDICTIONS, run.kind)
        held_out = run.directory / VALIDATION_PREDICTIONS
        details = run.kind.details(found, read_predictions(held_out, run.kind) if held_out.is_file() else None)
        return cls(run, overview_table(run, found, evidence.scores), tuple(one for one in details if one.rows))
