"""A set of runs to files: table, page and picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from headstart.errors import DataError
from headstart.files import write_atomically
from headstart.reports.formats import (
    escape_markdown,
    markdown_table,
    percent,
    setting,
    shared_settings,
    split_keys,
    table_cells,
)
from headstart.reports.panels import Panel, make_panels
from headstart.reports.read import Problem, RunSet
from headstart.reports.table import Group, averaged_over, group_frame, group_runs, runs_frame


@dataclass(frozen=True)
class Report:
    """What was written, and what it is about."""

    directory: Path
    groups: tuple[Group, ...]
    problems: tuple[Problem, ...]

    @property
    def page(self) -> Path:
        """The Markdown page."""
        return self.directory / "report.md"

    @property
    def picture(self) -> Path:
        """Curves and test accuracies."""
        return self.directory / "report.png"


def write_report(runs: RunSet, directory: Path, by: Sequence[str] | None = None) -> Report:
    """Write report.md, report.png, report.csv (a row a group) and runs.csv (a row a run).

    Raises DataError when no run has finished, ConfigError when ``by`` names no setting.
    """
    if not runs.runs:
        lost = f" ({len(runs.problems)} did not finish or cannot be read)" if runs.problems else ""
        raise DataError(f"There is no finished run here{lost}; start one with 'headstart train'.")
    groups = tuple(group_runs(runs.runs, by))
    panels = make_panels(groups)
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"The report cannot be written to '{directory}' ({error.strerror}); give --output.") from error
    report = Report(directory, groups, runs.problems)
    from headstart.reports.figures import draw  # matplotlib takes a second to load

    draw(panels, report.picture)
    _write_csv(group_frame(groups), directory / "report.csv")
    _write_csv(runs_frame(runs.runs, list(groups[0].key)), directory / "runs.csv")
    write_atomically(report.page, page(runs, groups, panels))
    return report


def page(runs: RunSet, groups: Sequence[Group], panels: Sequence[Panel]) -> str:
    """The Markdown page."""
    _, constant = split_keys(groups)
    count = len(runs.runs)
    parts = ["# Comparison of runs", f"{count} finished run{'' if count == 1 else 's'}. {describe(constant)}".strip()]
    parts.append(markdown_table(*table_cells(groups)))
    parts.append(
        "Accuracies are means over runs in percent, ± one sample deviation. The epoch, or the L2 strength, is chosen"
        " on validation; test is read once."
    )
    parts += [f"- {escape_markdown(line)}" for line in findings(panels)]
    mixed = averaged_over(groups)
    if mixed:
        listed = "; ".join(f"{key} ({', '.join(values)})" for key, values in mixed.items())
        parts.append(escape_markdown(f"Rows average over different settings: {listed}."))
    parts.append("![Learning curves above, test accuracy below](report.png)")
    if runs.problems or runs.repeated:
        parts.append("## Left out, or to be known")
        parts += [f"- {escape_markdown(line)}" for line in remarks(runs)]
    blocks: list[str] = []
    for part in parts:  # list items stand together, all else apart
        joined = blocks and part.startswith("- ") and blocks[-1].splitlines()[-1].startswith("- ")
        if joined:
            blocks[-1] += f"\n{part}"
        else:
            blocks.append(part)
    return "\n\n".join(blocks) + "\n"


def describe(constant: dict[str, object]) -> str:
    """What all runs share."""
    shared = shared_settings(constant)
    return escape_markdown(f"All with {shared}.") if shared else ""


def findings(panels: Sequence[Panel]) -> list[str]:
    """One sentence a panel: the best, and what the start from pretrained weights brings."""
    lines = []
    for panel in panels:
        if len(panel.groups) + len(panel.references) < 2:
            continue
        ranked = sorted(panel.groups, key=lambda group: -group.test.mean)
        best = ranked[0]
        what = (panel.series or "run").rsplit(".", 1)[-1]
        text = f"{panel.title}: {panel.label(best)} is the best {what} with {percent(best.test.mean)} %"
        scratch = next((group for group in panel.groups if setting(panel.label(group)) == "scratch"), None)
        if scratch is not None and scratch is not best:
            text += f", {percent(best.test.mean - scratch.test.mean)} points above scratch"
        for reference in panel.references:
            difference = best.test.mean - reference.test.mean
            side = "above" if difference >= 0 else "below"
            text += f", {percent(abs(difference))} points {side} {panel.label(reference)} without any network"
        lines.append(text + ".")
    return lines


def remarks(runs: RunSet) -> list[str]:
    """Runs that are not counted, and what to know about those that are."""
    lines = [f"{problem.directory.name}: {problem.status}, {problem.reason}" for problem in runs.problems]
    if runs.repeated:
        lines.append(f"{len(runs.repeated)} earlier repetition(s) of a run, not counted")
    return lines


def _write_csv(frame: pd.DataFrame, path: Path) -> None:
    write_atomically(path, frame.to_csv(index=False))
