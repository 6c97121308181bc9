"""Read the finished runs below some folders. Damaged and unfinished runs become named problems."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.boundary.opening import unreadable
from headstart.boundary.tables import CURVE_CELLS, MOST_CURVE, open_table
from headstart.errors import DataError
from headstart.kinds import Kind, kind_of, metric_of
from headstart.kinds.objectives import PatchKind, ReconstructionKind
from headstart.progress import counted
from headstart.records.explained import explained_in
from headstart.records.finding import find_run_directories
from headstart.records.manifest import SCHEMA
from headstart.records.names import CURVE_FILE, RUN_FILE, SETTINGS_FILE
from headstart.records.record import LARGEST, LONGEST, RunRecord, finite_numbers, is_name, record_of, shown

if TYPE_CHECKING:
    import pandas as pd

TRIED = ("l2", "neighbours", "candidate")
"""Columns of metrics.csv whose rows are settings, not epochs."""


class Run(RunRecord):
    """One finished run whose entries have been checked: its names, its metrics and its seed can be relied on."""

    @cached_property
    def cost(self) -> dict[str, float]:
        """Return what the run cost: seconds, bytes, parameters."""
        return {name: value for name, value in finite_numbers(self.get("cost")).items() if is_cost(value)}

    @property
    def skipped(self) -> int:
        """Return how many images could not be read and were left out."""
        found = self.get("skipped")
        return len(found) if isinstance(found, list) else 0

    @cached_property
    def finished_at(self) -> float:
        """Return when the run finished, in seconds since 1970; else when run.json was written."""
        stated = self.moment("finished_at")
        if stated is not None:
            return stated
        with suppress(OSError):  # removed meanwhile
            return (self.directory / RUN_FILE).stat().st_mtime
        return 0.0

    @cached_property
    def _settings(self) -> tuple[Mapping[str, Any], str]:
        """Return the flat settings, or none and the reason. ``pair`` needs seeds and folds that are no lists."""
        settings, problem = super()._settings
        for key, value in settings.items():
            if key.startswith(("seeds.", "dataset.fold")) and not isinstance(value, str | int | float | None):
                return {}, f"{SETTINGS_FILE} has a {key} that is neither a number nor a word"
        return settings, problem

    @property
    def kind(self) -> Kind:
        """Return the kind of target."""
        return kind_of(self.content)

    @property
    def weights_only(self) -> str:
        """Return what a run of ``headstart pretrain`` is for, as it predicts nothing; "" for any other run."""
        if not isinstance(self.kind, PatchKind | ReconstructionKind):
            return ""
        return (
            "this is a pretraining, which gives weights only; train on your images with"
            f" backbone.weights={self.directory}, and use that run"
        )

    @property
    def test(self) -> float:
        """Return the primary metric on test."""
        return self.metrics[f"test/{self.metric.name}"]

    @property
    def pair(self) -> tuple[Any, ...]:
        """Return what two runs have to share to be compared as a pair: the seed, the seed of each stream, the fold."""
        streams = sorted((key, value) for key, value in self.config.items() if key.startswith("seeds."))
        return self.seed, self.fold, *streams

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Return a digest of the content of each split by its name; none if run.json has none."""
        found = self.get("provenance", "split_fingerprints")
        return {str(name): of for name, of in found.items() if isinstance(of, str)} if isinstance(found, dict) else {}

    @property
    def fold(self) -> int | None:
        """Return the fold that was tested on; None without cross-validation."""
        return self.config.get("dataset.fold") if self.config.get("dataset.folds") is not None else None

    @cached_property
    def _curve(self) -> pd.DataFrame:
        import pandas as pd

        with open_table(self.directory, CURVE_FILE, MOST_CURVE, CURVE_CELLS).file as file:
            try:
                curve = pd.read_csv(file)
            except (OSError, ValueError) as error:
                raise unreadable(CURVE_FILE, error) from None
        if "epoch" not in curve:
            raise DataError(f"{CURVE_FILE} has no column 'epoch'")
        if not all(pd.api.types.is_numeric_dtype(kind) for kind in curve.dtypes):
            curve = curve.apply(pd.to_numeric, errors="coerce")
        curve = curve.astype(float).where(lambda values: values.abs() < LARGEST).dropna(subset=["epoch"])
        if not ((curve["epoch"] >= 0) & (curve["epoch"] < LONGEST)).all():
            raise DataError(f"{CURVE_FILE} has an epoch that is below 0 or too large")
        return curve.drop_duplicates("epoch", keep="last").sort_values("epoch", ignore_index=True)

    def read_curve(self) -> pd.DataFrame:
        """Return metrics.csv, read once: a row an epoch, or a row a setting if it has a column of ``TRIED``.

        Of several rows of one epoch the last one counts. Raises DataError if the file is missing or damaged.
        """
        return self._curve


@dataclass(frozen=True)
class Problem:
    """Something about one run directory that a reader of a report has to know."""

    directory: Path
    status: str
    reason: str
    counted: bool = False
    """Whether the results of the run are in the report all the same."""
    id: str | None = None


@dataclass(frozen=True)
class RunSet:
    """Finished runs in a fixed order, problems, and directories that repeat a counted run."""

    runs: tuple[Run, ...]
    problems: tuple[Problem, ...] = ()
    repeated: tuple[Path, ...] = ()
    checks: int = 0
    """How many runs of ``headstart reproduce`` were left out."""


def read_runs(paths: Iterable[Path | str]) -> RunSet:
    """Read every run directory at or under the paths.

    Of several finished runs with the same id only the latest counts. Runs of ``headstart reproduce`` never count.
    Raises DataError for a path that does not exist.
    """
    runs: list[Run] = []
    problems: list[Problem] = []
    checks = 0
    directories = find_run_directories(paths)
    for directory in counted(directories, "reading runs", len(directories), "runs"):
        record = record_of(directory)
        if record.is_repeat:
            checks += 1
            continue
        found = _run_or_problem(record)
        if isinstance(found, Run):
            runs.append(found)
        else:
            problems.append(found)
    latest: dict[str, Run] = {}
    for run in sorted(runs, key=lambda run: (run.finished_at, str(run.directory))):
        latest[run.id] = run
    kept = sorted(latest.values(), key=run_order)
    kept_directories = {run.directory for run in kept}
    repeated = sorted(run.directory for run in runs if run.directory not in kept_directories)
    problems = [
        replace(problem, reason=f"{problem.reason} (repeated since: {latest[problem.id].directory.name} finished)")
        if problem.id in latest
        else problem
        for problem in problems
    ]
    for run in kept:
        problems.extend(_notes(run))
    problems.sort(key=lambda problem: (problem.counted, str(problem.directory), problem.reason))
    return RunSet(tuple(kept), tuple(problems), tuple(repeated), checks)


def run_order(run: RunRecord) -> tuple[Any, ...]:
    """Return a sort key that depends on what a run is, not on its directory."""
    seed = -1 if run.seed is None else run.seed
    return run.dataset, run.backbone, run.augmentation, run.strategy, seed, run.id


def read_run(directory: Path) -> Run | Problem:
    """Read one run directory; a Problem if it is unfinished, damaged or of another schema."""
    return _run_or_problem(record_of(directory))


def _run_or_problem(record: RunRecord) -> Run | Problem:
    def problem(status: str, reason: str) -> Problem:
        return Problem(record.directory, status, reason, id=record.id)

    if record.unread:
        return problem("damaged", record.unread)
    if record.get("schema") != SCHEMA:
        reason = f"{RUN_FILE} has schema {shown(record.get('schema'))}, this version reads {SCHEMA}"
        return problem("other schema", reason)
    if not record.finished:
        return problem(record.status, record.problem or record.error_text() or "not finished")
    try:
        return _finished_run(record)
    except DataError as error:
        return problem("damaged", str(error))


def _finished_run(record: RunRecord) -> Run:
    """Return the run. Raises DataError for an entry that cannot be used."""
    for name in ("backbone", "dataset", "strategy"):
        if not is_name(record.get(name)):
            raise DataError(f"{RUN_FILE} has no name of the {name}")
    augmentation = record.get("augmentation") or []
    names = [augmentation] if isinstance(augmentation, str) else augmentation
    if not isinstance(names, list) or not all(map(is_name, names)):
        raise DataError(f"{RUN_FILE} has an augmentation that is not a list of names")
    seed = record.get("seed")
    if seed is not None and not isinstance(seed, int):
        raise DataError(f"{RUN_FILE} has the seed {shown(seed)}, which is not a whole number")
    metric = metric_of(record.content)
    for split in ("test", "validation"):
        name = f"{split}/{metric.name}"
        if name in record.metrics:
            metric.check(name, record.metrics[name])
        elif split == "test":
            raise DataError(f"{RUN_FILE} has no {name}")
    return Run(record.directory, record.content)


def _notes(run: Run) -> list[Problem]:
    """Return what is left out of a finished run, or could not be read."""
    reasons = []
    if not run.config:
        reasons.append(run.config_problem or f"{SETTINGS_FILE} is empty")
    try:
        run.read_curve()
    except DataError as error:
        reasons.append(f"{error}, so its curve is not drawn")
    costs = run.get("cost")
    reasons += [
        f"{RUN_FILE} has a {shown(name)} of {value:g}, which no run costs: it is left out"
        for name, value in (costs.items() if isinstance(costs, dict) else ())
        if isinstance(value, int | float) and not is_cost(value)
    ]
    if run.skipped:
        images = "1 image was" if run.skipped == 1 else f"{run.skipped} images were"
        reasons.append(f"{images} unreadable and skipped")
    reasons += [f"{reason}, so it is not shown" for reason in explained_in(run.directory)[1]]
    return [Problem(run.directory, "finished", reason, counted=True, id=run.id) for reason in reasons]


def is_cost(value: float) -> bool:
    """Return whether a run can have cost so many seconds, bytes or parameters."""
    return 0 <= value < LONGEST
