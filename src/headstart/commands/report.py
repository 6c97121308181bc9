"""headstart report: compare runs, on the terminal and in files."""

import argparse
import gc
import shlex
from collections.abc import Sequence
from pathlib import Path

from threadpoolctl import threadpool_limits

from headstart.boundary.opening import check_stays_inside
from headstart.commands.trusting import add_trust
from headstart.files import check_writable
from headstart.guard import DONE
from headstart.records.runs import read_runs
from headstart.reports.analysis import Analysis, Options, analyse
from headstart.reports.calibration import worse_calibration
from headstart.reports.findings import averages, findings, remarks
from headstart.reports.renderers.text import text_table
from headstart.reports.robustness import robustness_findings
from headstart.reports.tables.accuracy import accuracy_table
from headstart.reports.tables.side_by_side import errors_side_by_side, side_by_side
from headstart.reports.write import write_report

MOST_LINES = 24
MOST_ROWS = 5
"""Of each table of one run, but for the overview."""
TERMINAL = 80
"""Characters in a line of the report on one run."""
EXAMPLES = """examples:
  headstart report runs
  headstart report runs --by strategy --compare dataset --where augmentation=none --out paper
  headstart report runs --by strategy --tune optimizer.lr --baseline scratch
"""


def report(arguments: Sequence[str]) -> int:
    """Compare the runs below some folders, print the comparison and write the report; return the exit code.

    Raises HeadstartError for an error that the user can correct.
    """
    options = _parser().parse_args(arguments)
    wanted = Options(options.by, options.compare, options.where, options.tune, options.baseline)
    threads = threadpool_limits(1)  # arrays are small, so threads would only wait for each other
    gc.disable()  # there are no reference cycles here, and searching for them takes a tenth of the time
    try:
        runs = read_runs(options.runs)
        first = options.runs[0] if options.runs[0].is_dir() else options.runs[0].parent
        if options.out is None:
            check_stays_inside(first, "report", "report/figures")
        output = options.out or first / "report"
        check_writable(output, "choose another --out")
        analysis = analyse(runs, wanted)
        command = shlex.join(["headstart", "report", *map(str, arguments)])
        written = write_report(analysis, output, command, not options.no_figures)
    finally:
        threads.restore_original_limits()
        gc.enable()
    print(summary(analysis))
    print(f"\npage:    {written.page}\ntext:    {written.text}\nLaTeX:   {written.table}")
    print(f"figures: {written.image}" + ("" if options.no_figures else f", {written.directory / 'figures'}"))
    print(f"curves:  headstart board {shlex.join(map(str, options.runs))}")
    return DONE


def summary(analysis: Analysis) -> str:
    """Return the terminal's text: the table (side by side if there are panels), verdicts and remarks."""
    parts = []
    table, found = analysis.pivot, analysis.robustness
    one = analysis.one_run
    if one is not None:
        parts += [one.title]
        for section in (one.overview, *(detail.first(MOST_ROWS) for detail in one.details)):
            parts += ["", text_table(section, TERMINAL)]
    elif len(table.columns) > 1 and len(table.rows) > 1:
        parts += [text_table(side_by_side(analysis)), ""]
        if found is not None:
            parts += ["mean corruption error (%)", text_table(errors_side_by_side(analysis, found)), ""]
    else:
        parts += [text_table(accuracy_table(analysis).without("samples/s")), ""]
    if one is None:
        parts += _first(findings(analysis))
    notes = [*averages(analysis), *_first(remarks(analysis.found)), *_first(worse_calibration(analysis))]
    if found is not None:
        parts += _first(robustness_findings(found))
        notes += _first(found.reasons)
    parts += ["", *(f"note: {line}" for line in notes)] if one is not None and notes else []
    parts += [f"note: {line}" for line in notes] if one is None else []
    return "\n".join(parts)


def _first(lines: Sequence[str]) -> list[str]:
    more = len(lines) - MOST_LINES
    return list(lines) if more <= 0 else [*lines[:MOST_LINES], f"... and {more} more in the report"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="headstart report",
        description="Compare the runs below some folders.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders that hold runs, at any depth")
    parser.add_argument("--by", nargs="+", metavar="SETTING", help="settings that define a row (default: strategy)")
    parser.add_argument(
        "--compare", nargs="+", metavar="SETTING", help="settings that define a column (default: all that vary)"
    )
    parser.add_argument(
        "--where", nargs="+", default=[], action="extend", metavar="CONDITION", help="only runs with, say, seed=0,1"
    )
    parser.add_argument(
        "--tune",
        nargs="+",
        default=[],
        metavar="SETTING",
        help="compare only the best value of these settings, chosen on validation",
    )
    parser.add_argument("--baseline", metavar="ROW", help="compare each row with this one (default: every pair)")
    parser.add_argument("--out", "--output", type=Path, help="folder to write to (default: report/ in the first one)")
    parser.add_argument("--no-figures", action="store_true", help="draw the overview figure only")
    add_trust(parser)
    return parser
