"""headstart board: runs and their comparison in TensorBoard, for this computer only."""

import argparse
import contextlib
import io
import signal
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from headstart.errors import ConfigError, DataError, HeadstartError
from headstart.records.events import FOLDER, check_events
from headstart.records.opening import check_stays_inside
from headstart.reports.board import write_board
from headstart.reports.panels import make_panels
from headstart.reports.read import find_run_directories, read_runs
from headstart.reports.table import group_runs

HOST = "127.0.0.1"  # never another: what is shown is no one else's business
COMPARISON = "comparison"
MEANS = "runFilter=comparison.*validation&smoothing=0#timeseries"
REFRESH = 10.0  # seconds between looks for new runs


def board(arguments: Sequence[str]) -> int:
    """Write the comparison, serve TensorBoard until Ctrl-C; the exit code."""
    parser = argparse.ArgumentParser(
        prog="headstart board", description="Show the runs below some folders, and their means, in TensorBoard."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders that hold runs, at any depth")
    parser.add_argument("--port", type=int, help="where to serve (default: the first free one from 6006 on)")
    parser.add_argument("--no-aggregate", action="store_true", help="single runs only, no means over seeds")
    options = parser.parse_args(arguments)
    try:
        if not find_run_directories(options.runs):
            raise DataError(f"There is no run below '{options.runs[0]}'; start one with 'headstart train'.")
        comparison = None if options.no_aggregate else aggregate(options.runs)
        with interruptible(), tempfile.TemporaryDirectory(prefix="headstart-board-") as folder:
            links = Links(Path(folder), options.runs, comparison)
            links.renew()
            address = serve(Path(folder), options.port)
            print(f"TensorBoard: {address}  (Ctrl-C ends it)")
            if comparison is not None:
                print(f"means over runs, validation: {address}?{MEANS}", flush=True)
            while not threading.Event().wait(REFRESH):
                with contextlib.suppress(HeadstartError):  # a folder that is gone meanwhile has no new runs
                    links.renew()
    except HeadstartError as error:
        print(f"headstart: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print()
    return 0


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Let a request to end (SIGTERM), and Ctrl-C even where a shell has it ignored, raise KeyboardInterrupt."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def aggregate(folders: Sequence[Path]) -> Path | None:
    """Write means and bands of the finished runs to report/tensorboard in the first folder; None without any."""
    runs = read_runs(folders)
    for problem in runs.problems:
        if problem.status == "damaged":
            print(f"headstart: {problem.directory.name} is damaged: {problem.reason}.", file=sys.stderr)
    if not runs.runs:
        return None
    first = folders[0] if folders[0].is_dir() else folders[0].parent
    check_stays_inside(first, "report", "report/tensorboard")
    return write_board(make_panels(group_runs(runs.runs)), first / "report" / "tensorboard")


class Links:
    """A folder of links to the runs' event files: run names stay short, and any folders can be shown together."""

    def __init__(self, folder: Path, runs: Sequence[Path], comparison: Path | None) -> None:
        self.folder, self.runs = folder, runs
        self.targets: set[Path] = set()
        if comparison is not None:
            (folder / COMPARISON).symlink_to(comparison.absolute())

    def renew(self) -> None:
        """Link runs that are new, named as their directories; of two with one name the later gets a number."""
        for run in find_run_directories(self.runs):
            target = run / FOLDER
            if target in self.targets or not target.is_dir():
                continue
            self.targets.add(target)
            try:
                check_events(run)
            except DataError as error:
                print(f"headstart: {run.name} is not shown: {error}.", file=sys.stderr)
                continue
            number, link = 1, self.folder / run.name
            while link.is_symlink():
                number += 1
                link = self.folder / f"{run.name} {number}"
            link.symlink_to(target)


def serve(folder: Path, port: int | None) -> str:
    """Start TensorBoard in a thread of its own; its address. Raises ConfigError for a port that cannot be had."""
    from tensorboard.program import TensorBoard, TensorBoardPortInUseError, TensorBoardServerException

    if port is not None and not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}: expected a number from 1 to 65535, or 0 for any that is free.")
    program = TensorBoard()
    program.configure(argv=("tensorboard",), logdir=str(folder), host=HOST, port=port)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # advice about its fast loading
            address: str = program.launch()
    except TensorBoardPortInUseError:
        raise ConfigError(f"Port {port} is taken by another program; choose another, such as --port 0.") from None
    except (TensorBoardServerException, OSError) as error:
        raise ConfigError(f"TensorBoard cannot serve on port {port} ({error}); choose another.") from error
    return address
