"""Write an analysis to files: pages, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headstart.figures.style import styles_of
from headstart.files import write_atomically
from headstart.report_table import ReportTable
from headstart.reports.analysis import Analysis
from headstart.reports.markdown import markdown_page
from headstart.reports.page.render import render
from headstart.reports.page_content import page_of
from headstart.reports.renderers.csv import csv_frame, csv_table
from headstart.reports.renderers.latex import latex_table
from headstart.reports.robustness import robustness_rows
from headstart.reports.tables.differences import differences, robustness_differences
from headstart.reports.tables.side_by_side import errors_side_by_side, side_by_side
from headstart.reports.tidy import group_frame, recalls_frame, runs_frame


@dataclass(frozen=True)
class Report:
    """The files of a written report."""

    directory: Path

    @property
    def page(self) -> Path:
        """Return the page for a browser: sortable tables, curves, figures, every run."""
        return self.directory / "report.html"

    @property
    def text(self) -> Path:
        """Return the Markdown page."""
        return self.directory / "report.md"

    @property
    def table(self) -> Path:
        """Return the LaTeX table."""
        return self.directory / "report.tex"

    @property
    def image(self) -> Path:
        """Return the overview figure: curves and means on test."""
        return self.directory / "report.png"


def write_report(analysis: Analysis, directory: Path, command: str, figures: bool = True) -> Report:
    """Write report.html, .md, .tex, .png and .csv (a row per group), runs.csv, comparisons.csv, figures/.

    Targets with classes add recalls.csv; runs measured under corruptions robustness.csv and robustness_comparisons.csv.
    A single run adds the tables of its kind of target, e.g. classes.csv, confusions.csv and mistakes.csv.

    ``command`` is the command that made the report, for readers who want to repeat it.
    """
    import pandas as pd

    from headstart.reports.drawing import draw_figures, relative_path

    report = Report(directory)
    directory.mkdir(parents=True, exist_ok=True)
    styles = styles_of([group.label for panel in analysis.panels for group in panel.groups])
    drawn = draw_figures(analysis, styles, directory, figures)
    recalls, found = recalls_frame(analysis), analysis.robustness
    contents = {
        "report": csv_frame(group_frame(analysis)),
        "runs": csv_frame(runs_frame(analysis)),
        "comparisons": _compared(differences(analysis)),
    }
    if len(recalls):
        contents["recalls"] = csv_frame(recalls)
    if found is not None:
        contents["robustness"] = csv_frame(pd.DataFrame(robustness_rows(found)))
        contents["robustness_comparisons"] = _compared(robustness_differences(analysis, found))
    if analysis.one_run is not None:
        contents |= {table.id: csv_table(table) for table in analysis.one_run.details}
    for name, content in contents.items():
        write_atomically(directory / f"{name}.csv", content)
    files = [(one.title, relative_path(directory, one.png)) for one in drawn]
    write_atomically(report.text, markdown_page(analysis, files))
    write_atomically(report.table, _latex(analysis, command))
    images = [one.image(directory) for one in drawn]
    write_atomically(report.page, render(page_of(analysis, images, styles, command)))
    return report


def _compared(table: ReportTable) -> str:
    return csv_table(table) if table.rows else "a,b,difference,p,p_adjusted,verdict\n"


def _latex(analysis: Analysis, command: str) -> str:
    """Return the table of the primary metric, and that of corruption errors if they were measured."""
    tables = [latex_table(side_by_side(analysis), f"Made by: {command}")]
    if (found := analysis.robustness) is not None:
        tables.append(latex_table(errors_side_by_side(analysis, found)))
    return "\n".join(tables)
