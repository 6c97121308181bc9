"""An analysis as the content of the HTML page: every number with the runs that it comes from."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.comparison.comparison import Comparison
from headstart.comparison.curves import band
from headstart.comparison.formats import (
    NOTHING,
    accuracy,
    amount,
    interval,
    key_cells,
    percent,
    shared_settings,
    split_keys,
)
from headstart.comparison.panels import Panel
from headstart.comparison.pivot import BOLD
from headstart.errors import DataError
from headstart.figures.style import Style
from headstart.records.documents import checked_yaml
from headstart.records.keys import value_of
from headstart.records.names import SETTINGS_FILE
from headstart.records.runs import Run
from headstart.reports.analysis import Analysis
from headstart.reports.calibration import worse_calibration
from headstart.reports.findings import averages, findings, remarks
from headstart.reports.markdown import BEYOND, p_text, score_text
from headstart.reports.one_run import OneRun, RunSection
from headstart.reports.page.content import Cell, Chart, Column, FigureImage, Page, PageTable, RunCard, Series
from headstart.reports.robustness import mean_of, robustness_findings, what_was_measured
from headstart.tables import plain_text

MOST_ROWS = 1000
"""Of a table of one run on the page."""


def page_of(analysis: Analysis, images: Sequence[FigureImage], styles: Mapping[str, Style], command: str) -> Page:
    """What the page shows; ``command`` made it."""
    numbers = {run.id: number for number, run in enumerate(analysis.runs)}
    if analysis.one_run is not None:
        return _of_one_run(analysis.one_run, analysis, images, styles, command)
    _, constant = split_keys(analysis.groups)
    count = len(analysis.runs)
    shared = shared_settings(constant)
    summary = [f"{count} finished run{'' if count == 1 else 's'}.{f' All with {shared}.' if shared else ''}"]
    summary += [*findings(analysis, only_best=len(analysis.panels) > 2), *averages(analysis), f"Made by: {command}"]
    if analysis.robustness is not None:
        summary[-1:-1] = [*robustness_findings(analysis.robustness), *analysis.robustness.reasons]
    tables = [_main(analysis, numbers)]
    if len(analysis.panels) > 1 and len(analysis.pivot.rows) > 1:
        tables.insert(0, _pivot(analysis, numbers))
    tables += [
        *_differences(analysis, numbers),
        *_beyond(analysis, numbers),
        *_robustness(analysis, numbers),
        _budgets(analysis, numbers),
    ]
    tables += _recalls(analysis, numbers)
    return Page(
        title="Comparison of runs",
        summary=summary,
        tables=tables,
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
        tables=[*map(_section_table, one.details), *_robustness(analysis, {one.run.id: 0})],
        charts=[chart for panel in analysis.panels for chart in _curves(panel, 0, styles)],
        images=list(images),
        runs=[_card(one.run)],
        problems=remarks(analysis.found),
    )


def _section_table(section: RunSection) -> PageTable:
    columns = [
        Column(name, "number" if is_right else "text")
        for name, is_right in zip(section.header, section.right, strict=True)
    ]
    rows = [[_cell(*cell) for cell in row] for row in section.rows[:MOST_ROWS]]
    more = len(section.rows) - MOST_ROWS
    note = f"{section.note} {more} more rows are in {section.name}.csv." if more > 0 else section.note
    return PageTable(section.name, section.title, note.strip(), columns, rows)


def _of(runs: Sequence[Run], numbers: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(numbers[run.id] for run in runs if run.id in numbers)


def _cell(text: str, value: float | str | None, runs: tuple[int, ...] = (), bold: bool = False) -> Cell:
    if isinstance(value, float) and math.isnan(value):
        value = None
    return Cell(text, value, runs, bold)


def _keys(analysis: Analysis) -> tuple[list[Column], list[list[Cell]]]:
    header, rows, right = key_cells(analysis.groups)
    columns = [Column(name, "number" if is_right else "text") for name, is_right in zip(header, right, strict=True)]
    keys, _ = split_keys(analysis.groups)
    cells = [
        [
            Cell(text, value if isinstance(value, int | float) else text)
            for text, value in zip(row, (group.key[key] for key in keys), strict=True)
        ]
        for row, group in zip(rows, analysis.groups, strict=True)
    ]
    return columns, cells


def _main(analysis: Analysis, numbers: Mapping[str, int]) -> PageTable:
    columns, rows = _keys(analysis)
    columns += [
        Column("test (%)", "number", "Mean accuracy over runs, ± one sample deviation."),
        Column("95 % interval", "number", "Where the mean lies; seeds and test images are both samples."),
        Column("validation (%)", "number", "Accuracy of the chosen epoch or setting."),
        Column("runs", "number"),
        Column("train (s)", "number", "Features, training and validation of one run, on average."),
        Column("trained", "number", "Parameters that are trained."),
        Column("samples/s", "number"),
    ]
    found = analysis.robustness
    if found is not None:
        columns.append(Column("mCE (%)", "number", "Mean error over corruptions and severities."))
    best = {panel.title: names for panel, names in zip(analysis.panels, analysis.pivot.best, strict=True)}
    bold = {id(group): group.label in best[panel.title] for panel in analysis.panels for group in panel.groups}
    for row, group in zip(rows, analysis.groups, strict=True):
        runs = _of(group.runs, numbers)
        low, high = group.test.interval
        row += [
            _cell(accuracy(group.test), group.test.mean, runs, bold.get(id(group), False)),
            _cell(interval(low, high), low, runs),
            _cell(accuracy(group.validation), group.validation.mean, runs),
            _cell(str(group.test.count), float(group.test.count), runs),
            *(
                _cell(amount(group.cost(name)), group.cost(name), runs)
                for name in ("train_seconds", "trainable_parameters", "samples_per_second")
            ),
        ]
        if found is not None:
            row.append(_cell(accuracy(found.mce(group)), found.mce(group).mean, runs))
    note = f"{BOLD} Click a number for its runs."
    return PageTable("accuracy", "Accuracy and cost", note, columns, rows)


def _pivot(analysis: Analysis, numbers: Mapping[str, int]) -> PageTable:
    table = analysis.pivot
    columns = [Column(analysis.panels[0].what, "text"), *(Column(title, "number") for title in table.columns)]
    rows = []
    for label, groups in zip(table.rows, table.cells, strict=True):
        row = [Cell(label, label)]
        for group, best in zip(groups, table.best, strict=True):
            if group is None:
                row.append(Cell(NOTHING))
            else:
                row.append(_cell(accuracy(group.test), group.test.mean, _of(group.runs, numbers), label in best))
        rows.append(row)
    return PageTable("side-by-side", "Side by side", "Test accuracy (%), ± one sample deviation.", columns, rows)


def _differences(analysis: Analysis, numbers: Mapping[str, int]) -> list[PageTable]:
    rows = _difference_rows(analysis.panels, analysis.comparisons, numbers)
    several = len(analysis.panels) > 1
    return [_difference_table("differences", "Differences", "test accuracies", rows, several)] if rows else []


def _difference_table(name: str, title: str, of: str, rows: list[list[Cell]], several_panels: bool) -> PageTable:
    columns = [
        *([Column("panel", "text")] if several_panels else []),
        Column("better", "text"),
        Column("other", "text"),
        Column("points", "number", f"Difference of the mean {of} on the runs that pair up."),
        Column("95 % interval", "number", "Corrected for the number of comparisons in the panel (Bonferroni)."),
        Column("p (adjusted)", "number", "Corrected like the interval: below 5 %, the interval leaves out zero."),
        Column("effect (d)", "number", "Mean difference over its deviation (Cohen's d of pairs)."),
        Column("pairs", "number"),
        Column("verdict", "text"),
    ]
    note = "Paired by seed and fold. Bold: adjusted p below 5 %."
    return PageTable(name, title, note, columns, rows)


def _difference_rows(
    panels: Sequence[Panel], comparisons: Mapping[str, Sequence[Comparison]], numbers: Mapping[str, int]
) -> list[list[Cell]]:
    rows = []
    for panel in panels:
        groups = {group.label: group for group in panel.groups}
        for one in comparisons.get(panel.title, ()):
            runs = _of([*groups[one.a].runs, *groups[one.b].runs], numbers)
            result = one.result
            effect = f"{result.effect_size:.2f}" if math.isfinite(result.effect_size) else NOTHING
            rows.append(
                [
                    *([Cell(panel.title, panel.title)] if len(panels) > 1 else []),
                    Cell(one.a, one.a),
                    Cell(one.b, one.b),
                    _cell(percent(result.difference), result.difference, runs, one.told_apart),
                    _cell(interval(result.low, result.high), result.low, runs),
                    _cell(p_text(one.p_adjusted), one.p_adjusted, runs),
                    _cell(effect, result.effect_size if effect != NOTHING else None, runs),
                    _cell(str(result.pairs), float(result.pairs), runs),
                    Cell(one.verdict, one.verdict),
                ]
            )
    return rows


def _beyond(analysis: Analysis, numbers: Mapping[str, int]) -> list[PageTable]:
    columns, rows = _keys(analysis)
    shown = [name for name in BEYOND if any(analysis.score(group, name).count for group in analysis.groups)]
    if not shown:
        return []
    columns += [Column(BEYOND[name][0], "number") for name in shown]
    kept = []
    for row, group in zip(rows, analysis.groups, strict=True):
        if group.reference:
            continue
        runs = _of(group.runs, numbers)
        told = [(score_text(analysis, group, name), analysis.score(group, name).mean) for name in shown]
        kept.append([*row, *(_cell(text, mean, runs) for text, mean in told)])
    note = (
        "NLL: negative log-likelihood. ECE: expected calibration error in 15 bins. Scaled: after temperature scaling on"
        " validation."
    )
    return [PageTable("beyond-accuracy", "Beyond accuracy", note, columns, kept)]


def _robustness(analysis: Analysis, numbers: Mapping[str, int]) -> list[PageTable]:
    found = analysis.robustness
    if found is None:
        return []
    header, cells, right = key_cells([group for group, _ in found.rows])
    columns = [Column(name, "number" if is_right else "text") for name, is_right in zip(header, right, strict=True)]
    columns += [Column(name, "number") for name in ("mCE (%)", "relative mCE (%)", "clean error (%)", "runs")]
    rows = []
    for keys, (group, bold) in zip(cells, found.rows, strict=True):
        runs = _of([run for run in group.runs if run.id in found.runs], numbers)
        mce, relative, clean = found.mce(group), found.relative(group), found.clean(group)
        rows.append(
            [
                *(Cell(text, text) for text in keys),
                _cell(accuracy(mce), mce.mean, runs, bold),
                _cell(accuracy(relative), relative.mean, runs),
                _cell(accuracy(clean), clean.mean, runs),
                _cell(str(mce.count), float(mce.count), runs),
            ]
        )
    tables = [PageTable("robustness", "Robustness", what_was_measured(found), columns, rows)]
    if differences := _difference_rows(found.panels, found.comparisons, numbers):
        of = "shares of corrupted images told right (1 - mCE)"
        several = len(found.panels) > 1
        tables.append(
            _difference_table("robustness-differences", "Differences in robustness", of, differences, several)
        )
    for number, panel in enumerate(found.panels):
        errors = [found.by_corruption(group) for group in panel.groups]
        of_panel = [Column("corruption", "text"), *(Column(group.label, "number") for group in panel.groups)]
        by_name = [
            [
                Cell(name, name),
                *(
                    _cell(percent(mean_of(of, name)), mean_of(of, name), _of(group.runs, numbers))
                    for group, of in zip(panel.groups, errors, strict=True)
                ),
            ]
            for name in found.corruptions(panel)
        ]
        title = f"Error by corruption: {panel.title}"
        tables.append(PageTable(f"corruptions-{number}", title, "Mean error over severities (%).", of_panel, by_name))
    return tables


def _budgets(analysis: Analysis, numbers: Mapping[str, int]) -> PageTable:
    columns, rows = _keys(analysis)
    columns += [
        Column("runs tried", "number"),
        Column("seconds in all", "number"),
        Column("candidates", "number", "Epochs, strengths, mixes and the like that validation compared inside runs."),
        Column("chosen", "text"),
    ]
    kept = []
    for row, group, budget in zip(rows, analysis.groups, analysis.budgets, strict=True):
        if group.reference:
            continue
        runs = _of(group.tried or group.runs, numbers)
        kept.append(
            [
                *row,
                _cell(str(budget.runs), float(budget.runs), runs),
                _cell(amount(budget.seconds), budget.seconds, runs),
                _cell(str(budget.candidates), float(budget.candidates), runs),
                Cell(budget.rule, budget.rule),
            ]
        )
    return PageTable("budget", "Tuning cost", "Tuning budget of each row.", columns, kept)


def _recalls(analysis: Analysis, numbers: Mapping[str, int]) -> list[PageTable]:
    tables = []
    for number, panel in enumerate(analysis.panels):
        known = [(group, found) for group in panel.groups if (found := analysis.recalls(group)) is not None]
        known = [(group, found) for group, found in known if found[0] == known[0][1][0]]
        if not known:
            continue
        columns = [Column("class", "text"), *(Column(group.label, "number") for group, _ in known)]
        rows = [
            [
                Cell(name, name),
                *(
                    _cell(percent(float(recalls[index])), float(recalls[index]), _of(group.runs, numbers))
                    for group, (_, recalls) in known
                ),
            ]
            for index, name in enumerate(known[0][1][0])
        ]
        title = f"Recall by class: {panel.title}"
        tables.append(PageTable(f"recall-{number}", title, "Share of a class's test images told (%).", columns, rows))
    return tables


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
    provenance: Any = run.get("provenance") or {}
    overrides = provenance.get("overrides") if isinstance(provenance, dict) else None
    words = [str(word) for word in overrides] if isinstance(overrides, list) else None
    where = shlex.quote(str(_near(run.directory)))
    facts = {key: str(value_of(run, key)) for key in ("dataset", "backbone", "augmentation", "strategy", "seed")}
    selection = run.get("selection")
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
        return plain_text(checked_yaml(run.directory, SETTINGS_FILE))
    except DataError:  # the reader of the runs has named it
        return ""


def _near(directory: Path) -> Path:
    here = Path.cwd()
    return directory.relative_to(here) if directory.is_relative_to(here) else directory
