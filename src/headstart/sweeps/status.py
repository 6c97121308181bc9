"""Report how far runs and sweeps are: what is done, running and left, and how long it will take. Knows no torch."""

import statistics
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from headstart.boundary.tables import read_rows
from headstart.errors import DataError
from headstart.kinds import Metric
from headstart.records.finding import find_homes
from headstart.records.lock import is_locked
from headstart.records.names import CURVE_FILE, RUN_FILE
from headstart.records.outcomes import GOOD, is_trial, read_outcomes
from headstart.records.record import LONGEST, RunRecord, record_of, whole_number
from headstart.records.runs import TRIED
from headstart.records.sweep_file import sweep_record

SLOWEST = 1e-6  # images a second
FINISHED, RUNNING, STOPPED = "finished", "running", "stopped"
STATUSES = (FINISHED, RUNNING, STOPPED, "interrupted", "pruned", "failed", "damaged")  # in the order of the summary


@dataclass(frozen=True)
class RunStatus:
    """One run. Seconds are None if they are not known."""

    record: RunRecord
    status: str
    """One of ``STATUSES``. ``stopped``: run.json says that the run is running, but no process works at it."""
    epochs: int | None = None
    """Finished epochs; None for a classifier on features, which has none."""
    max_epochs: int | None = None
    seconds: float | None = None
    """How long the run took, or has taken since its process began."""
    remaining: float | None = None
    """Seconds that a running run still needs."""
    score: float | None = None
    """The primary metric on test; None for trials of a search, which are judged by validation alone."""
    message: str | None = None
    """Why the run failed, or why run.json cannot be read."""

    @property
    def metric(self) -> Metric:
        """Return the primary metric."""
        return self.record.metric

    @property
    def directory(self) -> Path:
        """Return the run directory."""
        return self.record.directory

    @property
    def kind(self) -> tuple[str, str, str]:
        """Return data set, backbone and strategy: runs that share them take about equally long."""
        return self.record.dataset, self.record.backbone, self.record.strategy

    @property
    def source(self) -> tuple[str, str]:
        """Return the settings that name the source of the data, and the hash of what it held."""
        root, settings, found = (self.record.get("source", name) for name in ("root", "settings", "hash"))
        return f"{root} {settings}", str(found)


@dataclass(frozen=True)
class SweepStatus:
    """One sweep."""

    directory: Path
    is_running: bool
    jobs: int | None
    left: int | None
    """Jobs that have not begun, or have to begin again; None if the number of jobs is not known."""
    remaining: float | None
    """Seconds to go with as many processes as work now, or with one if none does."""
    command: tuple[str, ...]
    outdated: int = 0
    """Runs that finished on data that have changed since."""
    message: str | None = None
    """Why sweep.json cannot be read; then nothing else is known."""


@dataclass(frozen=True)
class Overview:
    """The runs and sweeps below some folders."""

    runs: tuple[RunStatus, ...]
    sweeps: tuple[SweepStatus, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many runs there are of each status that occurs."""
        found = [run.status for run in self.runs]
        return {status: found.count(status) for status in STATUSES if status in found}


def overview(folders: Iterable[Path], now: float | None = None) -> Overview:
    """Read every run and sweep at or below the folders, without repeats; ``now`` is in seconds since 1970.

    Raises DataError for a folder that does not exist.
    """
    now = time.time() if now is None else now
    homes, sweep_homes = find_homes(folders)
    runs = [run for directory in homes if (run := read_status(directory, now)) is not None]
    took = durations(runs)
    runs = [_estimated(run, took) for run in runs]
    return Overview(tuple(runs), tuple(read_sweep(home, runs) for home in sweep_homes))


def read_status(directory: Path, now: float) -> RunStatus | None:
    """Return how far one run is; None for a run of ``headstart reproduce``."""
    record = record_of(directory)
    if record.is_repeat:
        return None
    if record.problem:
        return RunStatus(record, "damaged", message=record.problem)
    status, started = record.status, record.moment("started_at")
    if status != RUNNING:
        given = record.get("provenance", "overrides")
        trial = is_trial(given) if isinstance(given, list) else False
        epochs, maximum = whole_number(record.get("cost", "epochs")), None
        if status == "interrupted":
            epochs = _progress(record, None)[0]
            maximum = whole_number(record.config.get("trainer.max_epochs")) if epochs is not None else None
        return RunStatus(
            record, status, epochs, maximum, record.number("cost", "wall_seconds"),
            score=None if trial else record.number("metrics", f"test/{record.metric.name}"),
            message=(record.error_text(400) or "no reason is given") if status == "failed" else None,
        )  # fmt: skip
    is_running = record.is_running
    epochs, per_epoch, last = _progress(record, started)
    maximum = whole_number(record.config.get("trainer.max_epochs")) if epochs is not None else None
    remaining = None
    if is_running and epochs and maximum and per_epoch is not None:
        remaining = max(0.0, (maximum - epochs) * per_epoch - (now - last))
        remaining = remaining if remaining < LONGEST else None
    seconds = max(0.0, (now if is_running else last) - started) if started is not None else None
    return RunStatus(record, RUNNING if is_running else STOPPED, epochs, maximum, seconds, remaining)


def durations(runs: Iterable[RunStatus]) -> dict[tuple[str, str, str] | None, float]:
    """Return the mean seconds of finished runs: by kind, and of all runs under None; empty if none has finished."""
    by_kind: dict[tuple[str, str, str] | None, list[float]] = {}
    for run in runs:
        if run.status == FINISHED and run.seconds is not None:
            for key in (run.kind, None):
                by_kind.setdefault(key, []).append(run.seconds)
    return {key: statistics.fmean(values) for key, values in by_kind.items()}


def read_sweep(directory: Path, runs: Sequence[RunStatus]) -> SweepStatus:
    """Return how far a sweep is, by its sweep.json and the runs below it."""
    record, is_running = sweep_record(directory), is_locked(directory)
    if record.problem:
        return SweepStatus(directory, is_running, None, None, None, (), message=record.problem)
    outcomes, jobs = read_outcomes(directory), record.jobs
    own = [run for run in runs if directory in run.directory.parents]
    running = [run for run in own if run.status == RUNNING]
    ended = (*GOOD, "failed", "interrupted") if is_running else (*GOOD, "failed")  # interrupted runs begin again
    done = sum(outcome.word in ended for outcome in outcomes)
    # A command that was repeated just now has only the outcomes of its own jobs.
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
    return SweepStatus(directory, is_running, jobs, left, remaining, record.command, outdated)


def _outdated(runs: Sequence[RunStatus]) -> int:
    """Return how many runs finished on data that have changed since, as a later run on the same source shows."""
    latest = dict(run.source for run in sorted(runs, key=lambda run: run.record.moment("started_at") or 0.0))
    return sum(run.status in (FINISHED, "pruned") and latest[run.source[0]] != run.source[1] for run in runs)


def _estimated(run: RunStatus, took: Mapping[tuple[str, str, str] | None, float]) -> RunStatus:
    """Estimate the time of a run in its first epoch: as long as finished runs of its kind took, else as all others."""
    expected = took.get(run.kind, took.get(None))
    if run.status != RUNNING or run.remaining is not None or run.seconds is None or expected is None:
        return run
    return replace(run, remaining=max(0.0, expected - run.seconds))


def _progress(record: RunRecord, started: float | None) -> tuple[int | None, float | None, float]:
    """Return finished epochs, seconds an epoch, and when the last one ended; None for epochs if rows are settings.

    A resumed run has rows from before it started. Then only the speed of training tells the seconds.
    """
    try:
        rows = read_rows(record.directory, CURVE_FILE)
        last = _changed(record.directory / CURVE_FILE)
    except DataError:
        return 0, None, _changed(record.directory / RUN_FILE)
    if rows and any(name in rows[0] for name in TRIED):
        return None, None, last
    images = record.number("pictures", "train")
    speeds = [speed for row in rows if SLOWEST < (speed := _parsed(row.get("samples_per_second"))) < LONGEST]
    trained = images / statistics.fmean(speeds) if images and speeds else 0.0
    whole = (last - started) / len(rows) if started is not None and rows else 0.0
    return len(rows), max(trained, whole) or None, last


def _changed(path: Path) -> float:
    """Return when a file was last written; 0 if it was removed meanwhile."""
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _parsed(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
