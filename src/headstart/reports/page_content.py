"""An analysis as the content of the HTML page: every number with the runs that it comes from."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from headstart.comparison.curves import band
from headstart.comparison.formats import shared_settings, split_keys
from headstart.comparison.panels import Panel
from headstart.errors import DataError
from headstart.figures.style import Style
from headstart.records.documents import checked_yaml
from headstart.records.keys import value_of
from headstart.records.manifest import SETTINGS
from headstart.records.runs import Run
from headstart.reports.analysis import Analysis
from headstart.reports.calibration import worse_calibration
from headstart.reports.findings import averages, findings, remarks
from headstart.reports.one_run import OneRun
from headstart.reports.page.content import Chart, FigureImage, Page, RunCard, Series
from headstart.reports.robustness import robustness_findings
from headstart.reports.tables.accuracy import accuracy_table
from headstart.reports.tables.beyond_accuracy import beyond_accuracy
from headstart.reports.tables.budget import budget_table
from headstart.reports.tables.differences import differences, robustness_differences
from headstart.reports.tables.model import ReportTable
from headstart.reports.tables.recall import recall_tables
from headstart.reports.tables.robustness import corruption_tables, robustness_table
from headstart.reports.tables.side_by_side import side_by_side
from headstart.tables import plain_text

MOST_ROWS = 1000
"""Of a table of one run on the page."""


def page_of(analysis: Analysis, images: Sequence[FigureImage], styles: Mapping[str, Style], command: str) -> Page:
    """What the page shows; ``command`` made it."""
    if analysis.one_run is not None:
        return _of_one_run(analysis.one_run, analysis, images, styles, command)
    _, constant = split_keys(analysis.groups)
    count = len(analysis.runs)
    shared = shared_settings(constant)
    summary = [f"{count} finished run{'' if count == 1 else 's'}.{f' All with {shared}.' if shared else ''}"]
    summary += [*findings(analysis, only_best=len(analysis.panels) > 2), *averages(analysis), f"Made by: {command}"]
    if analysis.robustness is not None:
        summary[-1:-1] = [*robustness_findings(analysis.robustness), *analysis.robustness.reasons]
    return Page(
        title="Comparison of runs",
        summary=summary,
        tables=_tables(analysis),
        charts=[chart for number, panel in enumerate(analysis.panels) for chart in _curves(panel, number, styles)],
        images=list(images),
        runs=[_card(run) for run in analysis.runs],
        problems=[*remarks(analysis.found), *worse_calibration(analysis)],
    )


def _of_one_run(
    one: OneRun, analysis: Analysis, images: Sequence[FigureImage], styles: Mapping[str, Style], command: str
) -> Page:
    """Return the page of one run alone."""
    found = analysis.robustness
    measured = [] if found is None else [*robustness_findings(found), *found.reasons]
    return Page(
        title=one.title,
        summary=[*(f"{name}: {text}" for name, text in one.overview.texts), *measured, f"Made by: {command}"],
        tables=[*map(_of_run, one.details), *_robustness(analysis)],
        charts=[chart for panel in analysis.panels for chart in _curves(panel, 0, styles)],
        images=list(images),
        runs=[_card(one.run)],
        problems=remarks(analysis.found),
    )


def _tables(analysis: Analysis) -> list[ReportTable]:
    """Return all tables of several runs."""
    several = len(analysis.panels) > 1
    tables = [side_by_side(analysis)] if several and len(analysis.pivot.rows) > 1 else []
    tables.append(accuracy_table(analysis))
    if (found := differences(analysis)) is not None:
        tables.append(_short(found, several))
    tables += filter(None, [beyond_accuracy(analysis)])
    return [*tables, *_robustness(analysis), budget_table(analysis), *recall_tables(analysis)]


def _robustness(analysis: Analysis) -> list[ReportTable]:
    found = analysis.robustness
    if found is None:
        return []
    tables = [robustness_table(analysis, found)]
    if (compared := robustness_differences(analysis, found)) is not None:
        tables.append(_short(compared, len(found.panels) > 1))
    return [*tables, *corruption_tables(analysis, found)]


def _short(table: ReportTable, several_panels: bool) -> ReportTable:
    """Return a table of differences that fits on a page."""
    return table.without("pair", "p", *([] if several_panels else ["panel"]))


def _of_run(table: ReportTable) -> ReportTable:
    """Return a table of one run without the rows that are too many."""
    more = len(table.rows) - MOST_ROWS
    note = f"{table.note} {more} more rows are in {table.id}.csv." if more > 0 else table.note
    return replace(table.first(MOST_ROWS), note=note.strip())


def _curves(panel: Panel, number: int, styles: Mapping[str, Style]) -> list[Chart]:
    charts = []
    for score, name, scale in (("accuracy", "accuracy (%)", 100.0), ("loss", "loss (nats)", 1.0)):
        series: list[Series] = []
        for group in panel.groups:
            style = styles[group.label]
            for split in ("validation", "train"):
                curve = band(group, f"{split}/{score}")
                if curve is None:
                    continue
                series.append(
                    Series(
                        label=group.label,
                        colour=style.colour,
                        dash=style.dash,
                        x=[float(epoch) for epoch in curve.epochs],
                        y=[scale * value for value in curve.mean],
                        low=[scale * value for value in curve.low],
                        high=[scale * value for value in curve.high],
                        kind=split,
                        symbol=style.symbol,
                    )
                )
        if series:
            title = f"{score.capitalize()} by epoch: {panel.title}"
            charts.append(Chart(f"{score}-{number}", title, "epoch", name, series, percent=score == "accuracy"))
    return charts


def _card(run: Run) -> RunCard:
    provenance: Any = run.record.get("provenance") or {}
    overrides = provenance.get("overrides") if isinstance(provenance, dict) else None
    words = [str(word) for word in overrides] if isinstance(overrides, list) else None
    where = shlex.quote(str(_near(run.directory)))
    facts = {key: str(value_of(run, key)) for key in ("dataset", "backbone", "augmentation", "strategy", "seed")}
    selection = run.record.get("selection")
    if isinstance(selection, dict) and selection.get("rule"):
        facts["chosen"] = str(selection["rule"])
    return RunCard(
        name=run.directory.name,
        directory=str(_near(run.directory)),
        repeat_command=f"headstart reproduce {where}",
        train_command=shlex.join(["headstart", "train", *words]) if words is not None else "",
        config=_config_text(run),
        facts=facts,
        metrics=dict(run.metrics),
    )


def _config_text(run: Run) -> str:
    try:
        return plain_text(checked_yaml(run.directory, SETTINGS))
    except DataError:  # the reader of the runs has named it
        return ""


def _near(directory: Path) -> Path:
    here = Path.cwd()
    return directory.relative_to(here) if directory.is_relative_to(here) else directory
