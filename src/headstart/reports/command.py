"""headstart report: compare runs on the terminal and on disk."""

import argparse
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from headstart.errors import HeadstartError
from headstart.reports.formats import table_cells
from headstart.reports.panels import make_panels
from headstart.reports.read import read_runs
from headstart.reports.write import findings, remarks, write_report
from headstart.tables import table_text


def report(arguments: Sequence[str]) -> int:
    """Read the runs below the folders given, print the comparison, write the report; the exit code."""
    parser = argparse.ArgumentParser(prog="headstart report", description="Compare the runs below some folders.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders that hold runs, at any depth")
    parser.add_argument("--output", type=Path, help="where to write (default: report/ in the first folder)")
    parser.add_argument("--by", nargs="+", metavar="SETTING", help="settings that make a row, such as strategy")
    options = parser.parse_args(arguments)
    try:
        runs = read_runs(options.runs)
        first = options.runs[0] if options.runs[0].is_dir() else options.runs[0].parent
        written = write_report(runs, options.output or first / "report", options.by)
    except HeadstartError as error:
        print(f"headstart: {error}", file=sys.stderr)
        return 2
    print(table_text(*table_cells(written.groups)), end="\n\n")
    for line in findings(make_panels(written.groups)):
        print(line)
    for line in remarks(runs):
        print(f"note: {line}")
    print(f"\nreport:   {written.page}\npicture:  {written.picture}")
    print(f"curves:   {board()} --logdir {written.directory.parent if options.output is None else options.runs[0]}")
    return 0


def board() -> str:
    """How TensorBoard is called from here: by name, or where the environment is not activated by its place."""
    beside = Path(sys.executable).with_name("tensorboard")
    if shutil.which("tensorboard") or not beside.exists():
        return "tensorboard"
    return str(beside.relative_to(Path.cwd()) if beside.is_relative_to(Path.cwd()) else beside)
