"""An analysis to files: pages, tables and figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from headstart.figures.style import styles_of
from headstart.files import write_atomically
from headstart.reports.analysis import Analysis
from headstart.reports.latex import latex_table
from headstart.reports.markdown import markdown_page
from headstart.reports.page.render import render
from headstart.reports.page_content import page_of
from headstart.reports.robustness import Measured, robustness_rows
from headstart.reports.tidy import comparisons_frame, group_frame, recalls_frame, runs_frame
from headstart.tables import csv_cell

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Report:
    """Where a report was written."""

    directory: Path

    @property
    def page(self) -> Path:
        """The page for a browser: tables that can be sorted, curves, figures, every run."""
        return self.directory / "report.html"

    @property
    def text(self) -> Path:
        """The Markdown page."""
        return self.directory / "report.md"

    @property
    def table(self) -> Path:
        """The LaTeX table."""
        return self.directory / "report.tex"

    @property
    def image(self) -> Path:
        """Curves and test accuracies in one."""
        return self.directory / "report.png"


def write_report(analysis: Analysis, directory: Path, command: str, figures: bool = True) -> Report:
    """Write report.html, .md, .tex, .png and .csv (a row a group), runs.csv, comparisons.csv, recalls.csv, figures/.

    Where runs were measured under corruptions, robustness.csv and robustness_comparisons.csv as well; of one run alone
    classes.csv, confusions.csv and mistakes.csv.

    ``command`` is what made it, for readers who want to repeat it.
    """
    import pandas as pd

    from headstart.reports.drawing import draw_figures, seen_from

    report = Report(directory)
    directory.mkdir(parents=True, exist_ok=True)
    styles = styles_of([group.label for panel in analysis.panels for group in panel.groups])
    drawn = draw_figures(analysis, styles, directory, figures)
    _write_csv(group_frame(analysis), directory / "report.csv")
    _write_csv(runs_frame(analysis), directory / "runs.csv")
    _write_csv(comparisons_frame(analysis.panels, analysis.comparisons), directory / "comparisons.csv")
    _write_csv(recalls_frame(analysis), directory / "recalls.csv")
    for section in analysis.one_run.details if analysis.one_run is not None else ():
        _write_csv(pd.DataFrame(section.records), directory / f"{section.name}.csv")
    files = [(one.title, seen_from(directory, one.png)) for one in drawn]
    write_atomically(report.text, markdown_page(analysis, files))
    note = f"Test accuracy (%), mean ± deviation over runs; bold: the best and ties. {command}"
    tables = [latex_table(analysis.pivot, analysis.panels[0].what, note)]
    if analysis.robustness is not None:
        tables.append(_write_robustness(analysis.robustness, directory))
    write_atomically(report.table, "\n".join(tables))
    images = [one.image(directory) for one in drawn]
    write_atomically(report.page, render(page_of(analysis, images, styles, command)))
    return report


def _write_robustness(found: Measured, directory: Path) -> str:
    """Write robustness.csv (a row a group, corruption and severity) and robustness_comparisons.csv; the LaTeX table."""
    import pandas as pd

    _write_csv(pd.DataFrame(robustness_rows(found)), directory / "robustness.csv")
    _write_csv(comparisons_frame(found.panels, found.comparisons), directory / "robustness_comparisons.csv")
    note = "Mean corruption error (%), mean ± deviation over runs, the lower the better; bold: the lowest and ties."
    return latex_table(found.pivot, found.panels[0].what, note, found.mce)


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    guarded = frame.map(csv_cell).rename(columns=csv_cell)
    write_atomically(path, guarded.to_csv(index=False))
