"""The report as a Markdown page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from headstart.comparison.comparison import Comparison
from headstart.comparison.formats import percent, shared_settings, split_keys
from headstart.comparison.panels import Panel
from headstart.comparison.pivot import BOLD
from headstart.reports.analysis import Analysis
from headstart.reports.calibration import worse_calibration
from headstart.reports.findings import averages, findings, remarks
from headstart.reports.one_run import OneRun
from headstart.reports.renderers.markdown import escape_markdown, markdown_table
from headstart.reports.robustness import robustness_findings
from headstart.reports.tables.accuracy import accuracy_table
from headstart.reports.tables.beyond_accuracy import beyond_accuracy
from headstart.reports.tables.budget import budget_table
from headstart.reports.tables.differences import differences, robustness_differences
from headstart.reports.tables.model import ReportTable
from headstart.reports.tables.robustness import corruption_tables, robustness_table
from headstart.reports.tables.side_by_side import side_by_side

ADJUSTED = (
    "Adjusted for the number of comparisons (Bonferroni): where this p is below 5 %, the interval leaves out zero."
)
MOST_ROWS = {"classes": 100, "confusions": 15, "mistakes": 20}
"""Of the tables of one run; the CSV files hold all rows."""


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
        parts += [markdown_table(side_by_side(analysis)), f"Test accuracy in percent. {BOLD}"]
    parts.append(markdown_table(accuracy_table(analysis).without("samples/s").plain()))
    parts.append(
        "Accuracies are means over runs in percent, ± one sample deviation; intervals count seeds and test images. The"
        " epoch, or the setting of a classifier, is chosen on validation; test is read once."
    )
    parts += _listed(findings(analysis))
    parts += [escape_markdown(line) for line in averages(analysis)]
    if tables := _by_panel(differences(analysis), analysis.panels):
        methods = _methods(analysis.comparisons)
        parts += ["## Differences", f"Paired by seed and fold: {methods}. {ADJUSTED}", *tables]
    if (beyond := beyond_accuracy(analysis)) is not None:
        parts += [
            "## Beyond accuracy",
            markdown_table(beyond),
            "Means over runs. NLL: negative log-likelihood; ECE: expected calibration error in 15 bins; scaled: after"
            " temperature scaling on validation.",
            *_listed(worse_calibration(analysis)),
        ]
    parts += _robustness(analysis)
    parts += ["## Tuning cost", markdown_table(budget_table(analysis))]
    parts += _variances(analysis)
    return joined([*parts, *_figures(figures), *_remarks(analysis)])


def _of_one_run(one: OneRun, analysis: Analysis, figures: Sequence[tuple[str, Path]]) -> str:
    """Return the page of one run alone: its tables and figures."""
    parts = [f"# {escape_markdown(one.title)}"]
    for table in (one.overview, *one.details):
        shown = MOST_ROWS.get(table.id, len(table.rows))
        more = len(table.rows) - shown
        parts += [f"## {table.title}", markdown_table(table.first(shown))]
        parts += [table.note] if table.note else []
        parts += [f"... and {more} more, in {table.id}.csv."] if more > 0 else []
    return joined([*parts, *_robustness(analysis), *_figures(figures), *_remarks(analysis)])


def _figures(figures: Sequence[tuple[str, Path]]) -> list[str]:
    return [
        part
        for title, file in figures
        for part in (f"## {escape_markdown(title)}", f"![{escape_markdown(title)}]({file.as_posix()})")
    ]


def _remarks(analysis: Analysis) -> list[str]:
    lines = remarks(analysis.found)
    return ["## Left out, or to be known", *_listed(lines)] if lines else []


def _listed(lines: Sequence[str]) -> list[str]:
    return [f"- {escape_markdown(line)}" for line in lines]


def joined(parts: Sequence[str]) -> str:
    """Blocks apart from each other, items of one list together."""
    blocks: list[str] = []
    for part in parts:
        if blocks and part.startswith("- ") and blocks[-1].splitlines()[-1].startswith("- "):
            blocks[-1] += f"\n{part}"
        else:
            blocks.append(part)
    return "\n\n".join(blocks) + "\n"


def _by_panel(table: ReportTable | None, panels: Sequence[Panel]) -> list[str]:
    """Return a table of differences for each panel, under the title of the panel."""
    if table is None:
        return []
    short = table.without("better", "other", "verdict").plain()
    of_panels = [(panel.title, short.where("panel", panel.title).without("panel")) for panel in panels]
    return [markdown_table(of.renamed("pair", title)) for title, of in of_panels if of.rows]


def _methods(comparisons: Mapping[str, Sequence[Comparison]]) -> str:
    return escape_markdown("; ".join(sorted({one.result.method for made in comparisons.values() for one in made})))


def _robustness(analysis: Analysis) -> list[str]:
    found = analysis.robustness
    if found is None:
        return []
    table = robustness_table(analysis, found)
    parts = ["## Robustness", markdown_table(table), table.note]
    parts += _listed([*robustness_findings(found), *found.reasons])
    if tables := _by_panel(robustness_differences(analysis, found), found.panels):
        parts += [f"Points of corruption error that the first is below: {_methods(found.comparisons)}.", *tables]
    for panel, errors in zip(found.panels, corruption_tables(analysis, found), strict=True):
        parts.append(markdown_table(errors.renamed("corruption", f"{panel.title}, error (%)")))
    return parts


def _variances(analysis: Analysis) -> list[str]:
    lines = []
    for panel, group, sources in analysis.variances:
        told = ", ".join(
            f"{name} ± {percent(source.deviation, 2)} ({source.runs} runs)" for name, source in sources.streams.items()
        )
        lines.append(f"{panel.title}, {group.label}: {told}")
    if not lines:
        return []
    explained = "Deviation of the test accuracy, in points, from one stream alone:"
    return ["## What the seeds are worth", explained, *_listed(lines)]
