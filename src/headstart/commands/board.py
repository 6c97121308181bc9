"""headstart board: show runs and their comparison in TensorBoard, on this computer only."""

import argparse
import contextlib
import io
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from headstart.boundary.opening import check_stays_inside
from headstart.commands.trusting import add_trust
from headstart.comparison.panels import make_panels
from headstart.comparison.table import group_runs
from headstart.errors import ConfigError, DataError, HeadstartError
from headstart.files import check_writable
from headstart.records.events import check_events
from headstart.records.finding import find_run_directories
from headstart.records.names import TENSORBOARD_FOLDER
from headstart.records.runs import read_runs
from headstart.reports.board import plain_name, unique_name, write_board
from headstart.sweeps.labels import run_labels
from headstart.sweeps.status import read_status

HOST = "127.0.0.1"  # no other computer may see the runs
COMPARISON = "comparison"
CURVES = "tagFilter=epoch_&smoothing=0"
MEANS = f"runFilter={COMPARISON}/.*validation&{CURVES}"
SINGLE = f"runFilter=%5E(%3F!{COMPARISON}/)&{CURVES}"
REFRESH = 10.0  # seconds between searches for new runs


def board(arguments: Sequence[str]) -> int:
    """Write the comparison and serve TensorBoard until Ctrl-C; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="headstart board", description="Show the runs below some folders, and their means, in TensorBoard."
    )
    parser.add_argument("runs", nargs="+", type=Path, help="folders that hold runs, at any depth")
    parser.add_argument("--port", type=int, help="port to serve on (default: the first free one from 6006)")
    parser.add_argument("--no-aggregate", action="store_true", help="show single runs only, no means over seeds")
    add_trust(parser)
    options = parser.parse_args(arguments)
    try:
        if not find_run_directories(options.runs):
            raise DataError(f"There is no run below '{options.runs[0]}'; start one with 'headstart train'.")
        comparison = None if options.no_aggregate else aggregate(options.runs)
        with interruptible(), tempfile.TemporaryDirectory(prefix="headstart-board-") as folder:
            links = Links(Path(folder), options.runs, comparison)
            links.renew()
            address = serve(Path(folder), options.port, CURVES if comparison is None else MEANS)
            print(f"TensorBoard: {address}  (Ctrl-C ends it)", flush=True)
            if comparison is not None:
                print(f"single runs: {address}?{SINGLE}", flush=True)
            while not threading.Event().wait(REFRESH):
                with contextlib.suppress(HeadstartError):  # a folder may have been removed
                    links.renew()
    except KeyboardInterrupt:
        print()
    return 0


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Raise KeyboardInterrupt on SIGTERM and on Ctrl-C, even if the shell ignores it."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def aggregate(folders: Sequence[Path]) -> Path | None:
    """Write means and bands of the finished runs to report/tensorboard in the first folder; return None without any."""
    runs = read_runs(folders)
    for problem in runs.problems:
        if problem.status == "damaged":
            print(f"headstart: {problem.directory.name} is damaged: {problem.reason}.", file=sys.stderr)
    if not runs.runs:
        return None
    first = folders[0] if folders[0].is_dir() else folders[0].parent
    check_stays_inside(first, "report", f"report/{TENSORBOARD_FOLDER}")
    directory = first / "report" / TENSORBOARD_FOLDER
    check_writable(directory, "show single runs with --no-aggregate")
    return write_board(make_panels(group_runs(runs.runs)), directory)


class Links:
    """A folder of links to the runs' event files, so that names are short and several folders appear together."""

    def __init__(self, folder: Path, runs: Sequence[Path], comparison: Path | None) -> None:
        self.folder, self.runs = folder, runs
        self.links: dict[Path, Path] = {}
        """From each folder of event files to its link."""
        self.can_show: dict[Path, bool] = {}
        if comparison is not None:
            (folder / COMPARISON).symlink_to(comparison.absolute())

    def renew(self) -> None:
        """Link every run by its strategy, the settings in which runs differ, and its seed; number equal names.

        A new run may differ in one more setting. Then all links get new names.
        """
        now = time.time()
        found = [run for run in find_run_directories(self.runs) if self._can_show(run)]
        statuses = [status for status in (read_status(run, now) for run in found) if status is not None]
        runs = [status.directory for status in statuses]
        taken = {COMPARISON}
        wanted: dict[Path, Path] = {}
        for run, words in zip(runs, run_labels([status.record for status in statuses]), strict=True):
            wanted[run / TENSORBOARD_FOLDER] = self.folder / unique_name(plain_name(words), taken)
        for target, link in self.links.items():
            if wanted.get(target) != link:
                link.unlink()
        for target, link in wanted.items():
            if self.links.get(target) != link:
                link.symlink_to(target)
        self.links = wanted

    def _can_show(self, run: Path) -> bool:
        """Return whether TensorBoard can read a run's event files; print once why not."""
        if run not in self.can_show and (run / TENSORBOARD_FOLDER).is_dir():
            try:
                check_events(run)
                self.can_show[run] = True
            except DataError as error:
                print(f"headstart: {run.name} is not shown: {error}.", file=sys.stderr)
                self.can_show[run] = False
        return self.can_show.get(run, False)


def serve(folder: Path, port: int | None, view: str) -> str:
    """Start TensorBoard in a thread and return its address, which opens with the settings in the query ``view``.

    Raises ConfigError if the port cannot be used.
    """
    from tensorboard.program import (
        TensorBoard,
        TensorBoardPortInUseError,
        TensorBoardServerException,
        create_port_scanning_werkzeug_server,
    )

    if port is not None and not 0 <= port <= 65535:
        raise ConfigError(f"--port {port}: expected a number from 1 to 65535, or 0 for any free port.")
    program = TensorBoard(
        server_class=lambda app, flags: create_port_scanning_werkzeug_server(redirecting(app, view), flags)
    )
    program.configure(argv=("tensorboard",), logdir=str(folder), host=HOST, port=port)
    try:
        with contextlib.redirect_stderr(io.StringIO()):  # hide its advice about fast loading
            address: str = program.launch()
    except TensorBoardPortInUseError:
        raise ConfigError(f"Port {port} is taken by another program; choose another, such as --port 0.") from None
    except (TensorBoardServerException, OSError) as error:
        raise ConfigError(f"TensorBoard cannot serve on port {port} ({error}); choose another.") from error
    return address


def redirecting(app: Callable[..., Iterable[bytes]], view: str) -> Callable[..., Iterable[bytes]]:
    """Return the WSGI application with its bare address redirected to the query ``view``."""

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        if environ.get("PATH_INFO") != "/" or environ.get("QUERY_STRING"):
            return app(environ, start_response)
        start_response("302 Found", [("Location", f"/?{view}"), ("Content-Length", "0"), ("Cache-Control", "no-store")])
        return [b""]

    return answer
