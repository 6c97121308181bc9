"""How far runs and sweeps are: what is done, what lives, what is left and how long it will take. Knows no torch."""

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from headstart.errors import DataError
from headstart.kinds import Metric, metric_or_default
from headstart.records.documents import expect_mapping, read_json
from headstart.records.finding import SWEEP, homes_below
from headstart.records.lock import held
from headstart.records.manifest import MANIFEST, read_manifest, read_settings
from headstart.records.opening import first_line
from headstart.records.outcomes import GOOD, is_trial, read_outcomes
from headstart.records.repeats import is_repeat
from headstart.records.runs import TRIED, shown
from headstart.records.tables import read_rows

MOST = 10**15  # no count and no number of seconds reaches it
SLOWEST = 1e-6  # images a second
FINISHED, RUNNING, STOPPED, DAMAGED = "finished", "running", "stopped", "damaged"
STATUSES = (FINISHED, RUNNING, STOPPED, "interrupted", "pruned", "failed", DAMAGED)  # as they are told, in this order


@dataclass(frozen=True)
class RunStatus:
    """One run; seconds are None where they cannot be told."""

    directory: Path
    status: str
    """One of ``STATUSES``; ``stopped`` is a run that says it is running, while no process is at it."""
    epochs: int | None = None
    """Epochs that are over; None for a classifier on features, which has none."""
    max_epochs: int | None = None
    seconds: float | None = None
    """That it took, or has taken since its process began."""
    remaining: float | None = None
    """Seconds to go, of a running one."""
    score: float | None = None
    """The primary metric on test; None for trials of a search, which go by validation alone."""
    message: str | None = None
    """Why it failed."""
    kind: tuple[str, str, str] = ("", "", "")
    """Data set, backbone and strategy: runs that take about as long as each other."""
    source: tuple[str, str] = ("", "")
    """The settings that name the source of the data set, and the hash of what it held."""
    started: float | None = None
    """When its process began, in seconds since 1970."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """What run.json holds; nothing where it is damaged."""

    @property
    def metric(self) -> Metric:
        """The primary metric, that of a classifier where run.json does not say."""
        return metric_or_default(self.record)


@dataclass(frozen=True)
class SweepStatus:
    """One sweep."""

    directory: Path
    lives: bool
    jobs: int | None
    left: int | None
    """Jobs that have not begun, or have to begin again; None where the sweeper decides how many there are."""
    remaining: float | None
    """Seconds to go with as many processes as are at work now, or with one where none is."""
    command: tuple[str, ...]
    outdated: int = 0
    """Runs that finished on data which were changed since."""
    message: str | None = None
    """Why sweep.json cannot be read; nothing else is known then."""


@dataclass(frozen=True)
class Overview:
    """What lies below some folders."""

    runs: tuple[RunStatus, ...]
    sweeps: tuple[SweepStatus, ...]

    @property
    def counts(self) -> dict[str, int]:
        """How many runs there are of each status that occurs."""
        found = [run.status for run in self.runs]
        return {status: found.count(status) for status in STATUSES if status in found}


def overview(folders: Iterable[Path], now: float | None = None) -> Overview:
    """Read every run and sweep at or below the folders, repeats left out; ``now`` in seconds since 1970.

    Raises DataError for a folder that does not exist.
    """
    now = time.time() if now is None else now
    homes, sweep_homes = find(folders)
    runs = [run for directory in homes if (run := read_status(directory, now)) is not None]
    took = durations(runs)
    runs = [_estimated(run, took) for run in runs]
    return Overview(tuple(runs), tuple(read_sweep(home, runs) for home in sweep_homes))


def find(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Run directories, and folders of sweeps, at or below the folders: each once, sorted, hidden folders left out."""
    runs: set[Path] = set()
    sweeps: set[Path] = set()
    for given in folders:
        if not given.is_dir():
            raise DataError(f"There is no folder '{given}'; expected one that holds runs (folders with a run.json).")
        for kind, home in homes_below(given.resolve(), hidden=False):
            (runs if kind == "run" else sweeps).add(home)
    return sorted(runs), sorted(sweeps)


def read_status(directory: Path, now: float) -> RunStatus | None:
    """Return what one run directory says, and whether its process lives; None for what `headstart reproduce` made."""
    try:
        content = read_manifest(directory)
    except DataError as error:
        return RunStatus(directory, DAMAGED, message=str(error))
    if is_repeat(content):
        return None
    status = content.get("status")
    if status not in STATUSES:
        return RunStatus(directory, DAMAGED, message=f"run.json has the unknown status {shown(status)}")
    kind = (str(content.get("dataset")), str(content.get("backbone")), str(content.get("strategy")))
    started, source = _moment(content.get("started_at")), _mapping(content.get("source"))
    held_then = (f"{source.get('root')} {source.get('settings')}", str(source.get("hash")))
    same: dict[str, Any] = {"kind": kind, "started": started, "source": held_then, "record": content}
    if status != RUNNING:
        cost, metrics = _mapping(content.get("cost")), _mapping(content.get("metrics"))
        given = _mapping(content.get("provenance")).get("overrides")
        overrides = given if isinstance(given, list) else []
        epochs, maximum = _whole(cost.get("epochs")), None
        if status == "interrupted":
            epochs = _progress(directory, content, None)[0]
            maximum = _max_epochs(directory) if epochs is not None else None
        return RunStatus(
            directory, status, epochs=epochs, max_epochs=maximum, seconds=_number(cost.get("wall_seconds")),
            score=None if is_trial(overrides) else _number(metrics.get(f"test/{metric_or_default(content).name}")),
            message=_message(content.get("error")) if status == "failed" else None, **same,
        )  # fmt: skip
    lives = held(directory)
    epochs, per_epoch, last = _progress(directory, content, started)
    maximum = _max_epochs(directory) if epochs is not None else None
    remaining = None
    if lives and epochs and maximum and per_epoch is not None:
        remaining = _number(max(0.0, (maximum - epochs) * per_epoch - (now - last)))
    seconds = max(0.0, (now if lives else last) - started) if started is not None else None
    status = RUNNING if lives else STOPPED
    return RunStatus(directory, status, epochs, maximum, seconds, remaining, **same)


def durations(runs: Iterable[RunStatus]) -> dict[tuple[str, str, str] | None, float]:
    """Mean seconds of finished runs: by kind, and of all under None; empty where none has finished."""
    by_kind: dict[tuple[str, str, str] | None, list[float]] = {}
    for run in runs:
        if run.status == FINISHED and run.seconds is not None:
            for key in (run.kind, None):
                by_kind.setdefault(key, []).append(run.seconds)
    return {key: statistics.fmean(values) for key, values in by_kind.items()}


def read_sweep(directory: Path, runs: Sequence[RunStatus]) -> SweepStatus:
    """What sweep.json in a folder says, together with the runs below it; or why it cannot be read."""
    try:
        content = expect_mapping(read_json(directory, SWEEP), f"{SWEEP} does not hold a JSON object")
    except DataError as error:
        return SweepStatus(directory, held(directory), None, None, None, (), message=str(error))
    outcomes = read_outcomes(directory)
    own = [run for run in runs if directory in run.directory.parents]
    running = [run for run in own if run.status == RUNNING]
    lives, jobs = held(directory), _whole(content.get("jobs"))
    ended = (*GOOD, "failed", "interrupted") if lives else (*GOOD, "failed")  # what was interrupted begins again
    done = sum(outcome.word in ended for outcome in outcomes)
    # A command that has just begun once more has outcomes of its own jobs only.
    outdated = _outdated(own)
    done = max(done, sum(run.status in (FINISHED, "pruned") for run in own) - outdated)
    left = None if jobs is None else max(0, jobs - done - len(running))
    took = durations(own).get(None)
    waits = [run.remaining for run in running]
    remaining = None
    if left == 0 and not running:
        remaining = 0.0
    elif left is not None and None not in waits and (took is not None or not left):
        remaining = (left * (took or 0.0) + sum(wait or 0.0 for wait in waits)) / max(1, len(running))
    command = content.get("command")
    words = tuple(str(word) for word in command) if isinstance(command, list) else ()
    return SweepStatus(directory, lives, jobs, left, remaining, words, outdated)


def _outdated(runs: Sequence[RunStatus]) -> int:
    """Return how many have finished on data that were changed since, as a later run on the same source shows."""
    latest = dict(run.source for run in sorted(runs, key=lambda run: run.started or 0.0))
    return sum(run.status in (FINISHED, "pruned") and latest[run.source[0]] != run.source[1] for run in runs)


def _estimated(run: RunStatus, took: Mapping[tuple[str, str, str] | None, float]) -> RunStatus:
    """Before its first epoch is over, a run is expected to take as long as those of its kind, else as all others."""
    expected = took.get(run.kind, took.get(None))
    if run.status != RUNNING or run.remaining is not None or run.seconds is None or expected is None:
        return run
    return replace(run, remaining=max(0.0, expected - run.seconds))


def _progress(
    directory: Path, content: Mapping[str, Any], started: float | None
) -> tuple[int | None, float | None, float]:
    """Epochs that are over, seconds that one takes, and when the last ended; None for epochs where rows are settings.

    A run that was taken up again has rows from before it started: then the speed of training alone tells.
    """
    try:
        rows = read_rows(directory, "metrics.csv")
        last = _changed(directory / "metrics.csv")
    except DataError:
        return 0, None, _changed(directory / MANIFEST)
    if rows and any(name in rows[0] for name in TRIED):
        return None, None, last
    images = _number(_mapping(content.get("pictures")).get("train"))
    speeds = [speed for row in rows if SLOWEST < (speed := _parsed(row.get("samples_per_second"))) < MOST]
    trained = images / statistics.fmean(speeds) if images and speeds else 0.0
    whole = (last - started) / len(rows) if started is not None and rows else 0.0
    return len(rows), max(trained, whole) or None, last


def _max_epochs(directory: Path) -> int | None:
    try:
        return _whole(_mapping(read_settings(directory).get("trainer")).get("max_epochs"))
    except DataError:
        return None


def _changed(path: Path) -> float:
    """Return when a file was last written; 0 where it was removed meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < MOST else None  # NaN is not below it either


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < MOST else None


def _parsed(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0


def _moment(text: object) -> float | None:
    try:
        return datetime.fromisoformat(str(text)).timestamp()
    except (ValueError, OverflowError, OSError):
        return None


def _message(error: object) -> str | None:
    told = _mapping(error)
    return first_line(told.get("message") or told.get("type") or "no reason is given", limit=400)
