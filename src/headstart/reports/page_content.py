"""Make the content of the HTML page from an analysis; every number names its runs."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.boundary.documents import checked_yaml
from headstart.comparison.curves import band
from headstart.comparison.panels import Panel
from headstart.errors import DataError
from headstart.figures.style import Style
from headstart.records.keys import value_of
from headstart.records.names import SETTINGS_FILE
from headstart.records.runs import Run
from headstart.report_table import ReportTable
from headstart.reports.analysis import Analysis
from headstart.reports.calibration import worse_calibration
from headstart.reports.findings import averages, findings, remarks, runs_in_all, title_of
from headstart.reports.page.content import Chart, FigureImage, Page, RunCard, Series
from headstart.reports.robustness import robustness_findings
from headstart.reports.tables.listing import report_tables
from headstart.tables import plain_text

MOST_ROWS = 1000
"""The most rows of one table of a single run."""


def page_of(analysis: Analysis, images: Sequence[FigureImage], styles: Mapping[str, Style], command: str) -> Page:
    """Return the content of the page; ``command`` is the command that made it."""
    one, found = analysis.one_run, analysis.robustness
    if one is not None:
        summary = [f"{name}: {text}" for name, text in one.overview.texts]
    else:
        only_best = len(analysis.panels) > 2
        summary = [runs_in_all(analysis), *findings(analysis, only_best), *averages(analysis)]
    summary += [] if found is None else [*robustness_findings(found), *found.reasons]
    return Page(
        title=title_of(analysis),
        summary=[*summary, f"Made by: {command}"],
        tables=_tables(analysis),
        charts=[chart for number, panel in enumerate(analysis.panels) for chart in _curves(panel, number, styles)],
        images=list(images),
        runs=[_card(run) for run in analysis.runs],
        notes=[*remarks(analysis.found), *(worse_calibration(analysis) if one is None else [])],
    )


def _tables(analysis: Analysis) -> list[ReportTable]:
    """Return the tables; differences without some columns, tables of one run with at most MOST_ROWS rows."""
    tables = [table for table in report_tables(analysis) if table.id != "overview"]  # the summary has it
    if analysis.one_run is not None:
        return [table.first(MOST_ROWS) for table in tables]
    more = ["panel"] if len(analysis.panels) == 1 else []
    return [table.without("pair", "p", *more) if table.id.endswith("differences") else table for table in tables]


def _curves(panel: Panel, number: int, styles: Mapping[str, Style]) -> list[Chart]:
    charts = []
    metric, unit = panel.metric, panel.kind.loss_unit
    loss = f"loss ({unit})" if unit else "loss"
    for score, words, axis, scale in (
        (metric.name, metric.title, metric.axis(), metric.scale),
        ("loss", "loss", loss, 1),
    ):
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
            title = f"{words.capitalize()} by epoch: {panel.title}"
            charts.append(
                Chart(
                    f"{score}-{number}", title, "epoch", axis, series, percent=metric.is_share and score == metric.name
                )
            )
    return charts


def _card(run: Run) -> RunCard:
    provenance: Any = run.get("provenance") or {}
    overrides = provenance.get("overrides") if isinstance(provenance, dict) else None
    words = [str(word) for word in overrides] if isinstance(overrides, list) else None
    where = shlex.quote(str(_below_here(run.directory)))
    facts = {key: str(value_of(run, key)) for key in ("dataset", "backbone", "augmentation", "strategy", "seed")}
    selection = run.get("selection")
    if isinstance(selection, dict) and selection.get("rule"):
        facts["chosen"] = str(selection["rule"])
    return RunCard(
        name=run.directory.name,
        directory=str(_below_here(run.directory)),
        repeat_command=f"headstart reproduce {where}",
        train_command=shlex.join(["headstart", "train", *words]) if words is not None else "",
        config=_config_text(run),
        facts=facts,
        metrics=dict(run.metrics),
    )


def _config_text(run: Run) -> str:
    try:
        return plain_text(checked_yaml(run.directory, SETTINGS_FILE))
    except DataError:  # read_runs has reported it
        return ""


def _below_here(directory: Path) -> Path:
    """Return the directory relative to the working directory if it lies below it."""
    here = Path.cwd()
    return directory.relative_to(here) if directory.is_relative_to(here) else directory
