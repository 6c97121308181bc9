"""The report as a Markdown page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from headstart.comparison.comparison import Comparison
from headstart.comparison.formats import (
    NOTHING,
    accuracy,
    amount,
    escape_markdown,
    interval,
    key_cells,
    markdown_table,
    percent,
    shared_settings,
    split_keys,
    table_cells,
)
from headstart.comparison.panels import Panel
from headstart.comparison.pivot import BOLD
from headstart.comparison.table import RunGroup
from headstart.comparison.verdict import p_number
from headstart.reports.analysis import Analysis
from headstart.reports.calibration import worse_calibration
from headstart.reports.findings import averages, findings, remarks
from headstart.reports.one_run import OneRun
from headstart.reports.robustness import mean_of, robustness_findings, what_was_measured

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

ADJUSTED = (
    "Adjusted for the number of comparisons (Bonferroni): where this p is below 5 %, the interval leaves out zero."
)


def markdown_page(analysis: Analysis, figures: Sequence[tuple[str, Path]]) -> str:
    """The page; ``figures`` are titles and the files that show them, seen from the page."""
    if analysis.one_run is not None:
        return _of_one_run(analysis.one_run, analysis, figures)
    _, constant = split_keys(analysis.groups)
    shared = shared_settings(constant)
    count = len(analysis.runs)
    parts = [
        "# Comparison of runs",
        f"{count} finished run{'' if count == 1 else 's'}."
        + (f" {escape_markdown(f'All with {shared}.')}" if shared else ""),
    ]
    if len(analysis.panels) > 1 and len(analysis.pivot.rows) > 1:
        parts += [_pivot(analysis), f"Test accuracy in percent. {BOLD}"]
    mce = analysis.robustness.mce if analysis.robustness is not None else None
    parts.append(markdown_table(*table_cells(analysis.groups, mce)))
    parts.append(
        "Accuracies are means over runs in percent, ± one sample deviation; intervals count seeds and test images. The"
        " epoch, or the setting of a classifier, is chosen on validation; test is read once."
    )
    parts += [f"- {escape_markdown(line)}" for line in findings(analysis)]
    parts += [escape_markdown(line) for line in averages(analysis)]
    parts += _comparisons(analysis)
    parts += _beyond_accuracy(analysis)
    parts += _robustness(analysis)
    parts += _budgets(analysis)
    parts += _variances(analysis)
    return joined([*parts, *_figures(figures), *_remarks(analysis)])


def _of_one_run(one: OneRun, analysis: Analysis, figures: Sequence[tuple[str, Path]]) -> str:
    """Return the page of one run alone: its tables and figures."""
    parts = [f"# {escape_markdown(one.title)}"]
    for section in (one.overview, *one.details):
        more = len(section.rows) - section.shown
        parts += [f"## {section.title}", markdown_table(section.header, section.texts[: section.shown], section.right)]
        parts += [section.note] if section.note else []
        parts += [f"... and {more} more, in {section.name}.csv."] if more > 0 else []
    return joined([*parts, *_robustness(analysis), *_figures(figures), *_remarks(analysis)])


def _figures(figures: Sequence[tuple[str, Path]]) -> list[str]:
    return [
        part
        for title, file in figures
        for part in (f"## {escape_markdown(title)}", f"![{escape_markdown(title)}]({file.as_posix()})")
    ]


def _remarks(analysis: Analysis) -> list[str]:
    lines = remarks(analysis.found)
    return ["## Left out, or to be known", *(f"- {escape_markdown(line)}" for line in lines)] if lines else []


def joined(parts: Sequence[str]) -> str:
    """Blocks apart from each other, items of one list together."""
    blocks: list[str] = []
    for part in parts:
        if blocks and part.startswith("- ") and blocks[-1].splitlines()[-1].startswith("- "):
            blocks[-1] += f"\n{part}"
        else:
            blocks.append(part)
    return "\n\n".join(blocks) + "\n"


def _pivot(analysis: Analysis) -> str:
    table = analysis.pivot
    rows = []
    for label, groups in zip(table.rows, table.cells, strict=True):
        cells = [accuracy(group.test) if group is not None else NOTHING for group in groups]
        bold = [f"**{cell}**" if label in best else cell for cell, best in zip(cells, table.best, strict=True)]
        rows.append([label, *bold])
    text = markdown_table([analysis.panels[0].what, *table.columns], rows, [False, *(True for _ in table.columns)])
    return text.replace("\\*\\*", "**")


def _comparisons(analysis: Analysis) -> list[str]:
    parts = _difference_tables(analysis.panels, analysis.comparisons)
    if not parts:
        return []
    return ["## Differences", f"Paired by seed and fold: {_methods(analysis.comparisons)}. {ADJUSTED}", *parts]


def _methods(comparisons: Mapping[str, Sequence[Comparison]]) -> str:
    return escape_markdown("; ".join(sorted({one.result.method for made in comparisons.values() for one in made})))


def _difference_tables(panels: Sequence[Panel], comparisons: Mapping[str, Sequence[Comparison]]) -> list[str]:
    parts = []
    for panel in panels:
        made = comparisons.get(panel.title, ())
        if not made:
            continue
        rows = [
            [
                f"{one.a} – {one.b}",
                percent(one.result.difference),
                interval(one.result.low, one.result.high),
                p_text(one.result.p_value),
                p_text(one.p_adjusted),
                f"{one.result.effect_size:.2f}" if math.isfinite(one.result.effect_size) else NOTHING,
                str(one.result.pairs),
            ]
            for one in made
        ]
        header = [
            escape_markdown(panel.title),
            "points",
            "95 % interval (adjusted)",
            "p",
            "p (adjusted)",
            "effect (d)",
            "pairs",
        ]
        parts.append(markdown_table(header, rows, [False, *[True] * 6]))
    return parts


def _beyond_accuracy(analysis: Analysis) -> list[str]:
    header, rows, right = key_cells(analysis.groups)
    shown = [name for name in BEYOND if any(analysis.score(group, name).count for group in analysis.groups)]
    if not shown:
        return []
    header += [BEYOND[name][0] for name in shown]
    kept = []
    for row, group in zip(rows, analysis.groups, strict=True):
        if not group.reference:
            kept.append([*row, *(score_text(analysis, group, name) for name in shown)])
    note = (
        "Means over runs. NLL: negative log-likelihood; ECE: expected calibration error in 15 bins; scaled: after"
        " temperature scaling on validation."
    )
    worse = [f"- {escape_markdown(line)}" for line in worse_calibration(analysis)]
    return ["## Beyond accuracy", markdown_table(header, kept, [*right, *[True] * len(shown)]), note, *worse]


def _robustness(analysis: Analysis) -> list[str]:
    found = analysis.robustness
    if found is None:
        return []
    groups = [group for group, _ in found.rows]
    header, rows, right = key_cells(groups)
    header += ["mCE (%)", "relative mCE (%)", "clean error (%)", "runs"]
    for row, (group, bold) in zip(rows, found.rows, strict=True):
        cell = accuracy(found.mce(group))
        row += [f"**{cell}**" if bold else cell, accuracy(found.relative(group)), accuracy(found.clean(group))]
        row.append(str(found.mce(group).count))
    table = markdown_table(header, rows, [*right, *[True] * 4]).replace("\\*\\*", "**")
    parts = ["## Robustness", table, what_was_measured(found)]
    parts += [f"- {escape_markdown(line)}" for line in (*robustness_findings(found), *found.reasons)]
    if tables := _difference_tables(found.panels, found.comparisons):
        parts += [f"Points of corruption error that the first is below: {_methods(found.comparisons)}.", *tables]
    for panel in found.panels:
        names = found.corruptions(panel)
        errors = [found.by_corruption(group) for group in panel.groups]
        cells = [[name, *(percent(mean_of(of, name)) for of in errors)] for name in names]
        labels = [group.label for group in panel.groups]
        parts.append(markdown_table([f"{panel.title}, error (%)", *labels], cells, [False, *[True] * len(labels)]))
    return parts


def score_text(analysis: Analysis, group: RunGroup, name: str) -> str:
    """A score beyond accuracy as the tables show it."""
    mean = analysis.score(group, name).mean
    if math.isnan(mean):
        return NOTHING
    return percent(mean) if BEYOND[name][1] else f"{mean:.3f}"


def _budgets(analysis: Analysis) -> list[str]:
    header, rows, right = key_cells(analysis.groups)
    header += ["runs tried", "seconds in all", "candidates", "chosen"]
    kept = [
        [*row, str(budget.runs), amount(budget.seconds), str(budget.candidates), budget.rule]
        for row, group, budget in zip(rows, analysis.groups, analysis.budgets, strict=True)
        if not group.reference
    ]
    return ["## Tuning cost", markdown_table(header, kept, [*right, True, True, True, False])]


def _variances(analysis: Analysis) -> list[str]:
    lines = []
    for panel, group, sources in analysis.variances:
        told = ", ".join(
            f"{name} ± {percent(source.deviation, 2)} ({source.runs} runs)" for name, source in sources.streams.items()
        )
        lines.append(f"- {escape_markdown(f'{panel.title}, {group.label}: {told}')}")
    if not lines:
        return []
    return ["## What the seeds are worth", "Deviation of the test accuracy, in points, from one stream alone:", *lines]


def p_text(value: float) -> str:
    """ "0.012", "<0.001"; "–" for none."""
    return NOTHING if np.isnan(value) else "<0.001" if value < 0.001 else p_number(value)
