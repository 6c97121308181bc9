"""Make the table of all runs: the facts that differ, and the metrics."""

import math
from collections.abc import Sequence

from headstart.report_table import Cell, Column, ReportTable
from headstart.reports.page.content import RunCard
from headstart.reports.page.data import metric_name, metric_text


def run_table(runs: Sequence[RunCard]) -> ReportTable:
    """Return one row per run: facts that differ, then metrics. The note lists the facts that all runs share."""
    facts = list(dict.fromkeys(name for run in runs for name in run.facts))
    shared = [name for name in facts if len(runs) > 1 and len({run.facts.get(name) for run in runs}) == 1]
    facts = [name for name in facts if name not in shared]
    metrics = sorted(dict.fromkeys(name for run in runs for name in run.metrics), key=_split_order)
    kinds = {name: [_number(run.facts[name]) for run in runs if name in run.facts] for name in facts}
    columns = [
        Column("run"),
        *(Column(name, "text" if None in kinds[name] else "number") for name in facts),
        *(Column(metric_name(name), "number") for name in metrics),
    ]
    rows = [
        [
            Cell(run.name, runs=(number,)),
            *(Cell(run.facts.get(name, "–"), _number(run.facts.get(name, ""))) for name in facts),
            *(_metric_cell(run, name) for name in metrics),
        ]
        for number, run in enumerate(runs)
    ]
    note = f"All runs share {', '.join(f'{name} {runs[0].facts[name]}' for name in shared)}." if shared else ""
    title = "The run" if len(runs) == 1 else f"All {len(runs)} runs"
    return ReportTable("runs", title, note, columns, rows)


def _split_order(metric: str) -> int:
    """Return the place of a metric: test, then validation, then others; a sort keeps the order within a split."""
    splits = ("test/", "validation/")
    return next((place for place, split in enumerate(splits) if metric.startswith(split)), len(splits))


def _metric_cell(run: RunCard, name: str) -> Cell:
    value = run.metrics.get(name, math.nan)
    return Cell(metric_text(name, value), value)


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None
