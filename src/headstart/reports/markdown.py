"""Write the report as a Markdown page."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from headstart.comparison.panels import Panel
from headstart.report_table import ReportTable
from headstart.reports.analysis import Analysis
from headstart.reports.calibration import worse_calibration
from headstart.reports.findings import averages, findings, remarks, runs_in_all, title_of
from headstart.reports.renderers.markdown import escape_markdown, markdown_table
from headstart.reports.robustness import robustness_findings
from headstart.reports.tables.accuracy import MAIN
from headstart.reports.tables.listing import report_tables

MOST_ROWS, OTHERS = {"classes": 100, "confusions": 15}, 20
"""The most rows shown of each table of one run's predictions; the CSV files hold all rows."""


def markdown_page(analysis: Analysis, figures: Sequence[tuple[str, Path]]) -> str:
    """Return the page; ``figures`` are titles and image files, relative to the page."""
    one, found = analysis.one_run, analysis.robustness
    lines = {
        MAIN: [*findings(analysis), *averages(analysis)],
        "beyond-accuracy": worse_calibration(analysis),
        "robustness": [*robustness_findings(found), *found.reasons] if found is not None else [],
    }
    parts = [f"# {escape_markdown(title_of(analysis))}"]
    parts += [] if one is not None else [escape_markdown(runs_in_all(analysis))]
    for table in report_tables(analysis):
        if not table.id.startswith("recall"):  # a row per class, so only in the HTML page
            cut = one is not None and table.id in [detail.id for detail in one.details]
            shown = table.first(MOST_ROWS.get(table.id, OTHERS) if cut else len(table.rows))
            parts += [*_section(shown, analysis.panels), *_listed(lines.get(table.id, []))]
    for title, file in figures:
        parts += [f"## {escape_markdown(title)}", f"![{escape_markdown(title)}]({file.as_posix()})"]
    if notes := remarks(analysis.found):
        parts += ["## Notes on the runs", *_listed(notes)]
    return joined(parts)


def _section(table: ReportTable, panels: Sequence[Panel]) -> list[str]:
    """Return heading, table and note; differences have one table per panel, under its title."""
    tables = [table.without("samples/s")]
    if table.id.endswith("differences"):
        short = table.without("better", "other", "verdict")
        by_panel = [(panel.title, short.where("panel", panel.title)) for panel in panels]
        tables = [part.without("panel").renamed("pair", title) for title, part in by_panel if part.rows]
    texts = [f"## {escape_markdown(table.title)}", *map(markdown_table, tables), escape_markdown(table.note)]
    return [text for text in texts if text]


def _listed(lines: Sequence[str]) -> list[str]:
    return [f"- {escape_markdown(line)}" for line in lines]


def joined(parts: Sequence[str]) -> str:
    """Return the parts with a blank line between them, except between items of one list."""
    blocks: list[str] = []
    for part in parts:
        if blocks and part.startswith("- ") and blocks[-1].splitlines()[-1].startswith("- "):
            blocks[-1] += f"\n{part}"
        else:
            blocks.append(part)
    return "\n\n".join(blocks) + "\n"
