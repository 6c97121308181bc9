"""Compare runs from Python, with the tables and figures of ``headstart report``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.api.guarding import in_one_sentence
from headstart.api.saved import Place, SavedRun
from headstart.commands.report import summary
from headstart.errors import DataError
from headstart.files import check_writable, expanded
from headstart.records.runs import read_runs
from headstart.reports.analysis import Analysis, Options, analyse
from headstart.reports.findings import findings, remarks
from headstart.reports.markdown import markdown_page
from headstart.reports.tables.differences import differences
from headstart.reports.tables.listing import report_tables
from headstart.reports.tidy import group_frame
from headstart.reports.write import write_report

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    Compared = Place | SavedRun | pd.DataFrame | Iterable[Place | SavedRun]
Names = str | Sequence[str]


class ComparedRuns:
    """A comparison of runs. In a notebook it shows the tables of a report and the overview figure."""

    def __init__(self, analysis: Analysis) -> None:
        self.analysis = analysis

    @property
    def findings(self) -> list[str]:
        """Return the verdicts as sentences."""
        return findings(self.analysis)

    @property
    def notes(self) -> list[str]:
        """Return sentences on runs that are left out, or that a reader has to know more of."""
        return remarks(self.analysis.found)

    @cached_property
    def table(self) -> pd.DataFrame:
        """Return a row for each group of runs: settings, means with intervals, further scores, costs, budget."""
        return group_frame(self.analysis)

    @cached_property
    def differences(self) -> pd.DataFrame:
        """Return a row for each pair of groups: difference, interval, p, verdict. Numbers are fractions of 1."""
        import pandas as pd

        found = differences(self.analysis)
        kept = [(place, column.field) for place, column in enumerate(found.columns) if column.field]
        rows = [{name: _value(row[place], found.columns[place].kind) for place, name in kept} for row in found.rows]
        return pd.DataFrame(rows, columns=[name for _, name in kept])

    def figure(self) -> Figure:
        """Return the overview: learning curves above, means on test below."""
        from headstart.figures.overview import draw_overview

        return draw_overview(self.analysis.panels)

    @in_one_sentence
    def save(self, directory: Place) -> Path:
        """Write the whole report, as ``headstart report --out`` does; return the page for a browser."""
        output = expanded(Path(directory))
        check_writable(output, "choose another directory")
        return write_report(self.analysis, output, "headstart.compare(...).save(...)").page

    def __str__(self) -> str:
        return summary(self.analysis)

    def __repr__(self) -> str:
        return str(self)

    def _repr_markdown_(self) -> str:
        return markdown_page(self.analysis, [])

    def _repr_html_(self) -> str:
        from headstart.api.display import comparison_html

        return comparison_html(report_tables(self.analysis), [*self.findings, *self.notes], self._repr_png_())

    def _repr_png_(self) -> bytes:
        from headstart.api.display import png_of

        return png_of(self.figure())


@in_one_sentence
def compare(
    runs: Compared = "runs", *, by: Names | None = None, compare: Names | None = None, where: Names = (),
    tune: Names = (), baseline: str | None = None,
) -> ComparedRuns:  # fmt: skip
    """Compare runs, as ``headstart report`` does.

    ``runs`` are directories (everything below counts), runs of ``run``, ``train`` or ``sweep``, or rows of ``runs()``.
    The other arguments are the options of the command: ``by`` are the settings that define a row, ``compare`` those of
    a column, ``where`` conditions such as "seed=0,1", ``tune`` the settings chosen on validation.

    Raises HeadstartError if no run has finished, or if the comparison would be unfair.
    """
    options = Options(
        by=None if by is None else _names(by),
        compare=None if compare is None else _names(compare),
        where=_names(where),
        tune=_names(tune),
        baseline=baseline,
    )
    return ComparedRuns(analyse(read_runs(_places(runs)), options))


def _names(given: Names) -> list[str]:
    return [given] if isinstance(given, str) else list(given)


def _places(given: Any) -> list[Path]:
    """Return the directories of what a user gave."""
    if hasattr(given, "columns"):
        if "directory" not in given.columns:
            raise DataError("The table has no column 'directory'; give rows of headstart.runs().")
        given = given["directory"].tolist()
    several = [given] if isinstance(given, str | Path | SavedRun) else list(given)
    if not several:
        raise DataError("There is no run to compare; start one with headstart.train.")
    return [one.directory if isinstance(one, SavedRun) else expanded(Path(one)) for one in several]


def _value(cell: Any, kind: str) -> Any:
    """Return a cell as its CSV file has it."""
    return cell.text if cell.value is None and kind == "text" else cell.value
