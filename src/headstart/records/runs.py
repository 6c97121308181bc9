"""Run directories to dataclasses; damaged and unfinished runs are named, never fatal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from headstart.errors import DataError
from headstart.kinds import Kind, Metric, kind_of, metric_of
from headstart.progress import counted
from headstart.records.finding import homes_below
from headstart.records.images import read_png
from headstart.records.manifest import MANIFEST, read_manifest, read_settings
from headstart.records.opening import MissingFileError, first_line, is_inside, unreadable
from headstart.records.outcomes import read_outcomes
from headstart.records.repeats import is_repeat
from headstart.records.tables import CURVE_CELLS, MOST_CURVE, open_table
from headstart.settings.effects import flatten

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
TRIED = ("l2", "neighbours", "candidate")  # columns of metrics.csv where a row is a setting, not an epoch
EXPLAINED = {"mistakes": "Most confident mistakes", "grad_cam": "Grad-CAM", "embedding": "Embedding"}
STATUSES = ("finished", "failed", "interrupted", "pruned", "running")
LARGEST = 1e39
"""No loss in 32 bits reaches it; what does was not measured."""
LONGEST = 1e15
"""No count, and no number of seconds or bytes that a run cost, reaches it."""
LONGEST_NAME = 200
"""Characters of the name of a backbone, data set, strategy or augmentation."""


@dataclass(frozen=True)
class Run:
    """One finished run: shares such as accuracies are fractions of 1, times are seconds."""

    directory: Path
    id: str
    backbone: str
    dataset: str
    augmentation: tuple[str, ...]
    strategy: str
    seed: int | None
    metrics: Mapping[str, float]
    cost: Mapping[str, float] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    """config.yaml as one flat dictionary with dotted keys."""
    record: Mapping[str, Any] = field(default_factory=dict)
    """run.json as it stands."""
    skipped: int = 0
    """Images that could not be read and were left out."""
    finished_at: float = 0.0
    """Seconds since 1970."""

    @cached_property
    def kind(self) -> Kind:
        """The kind of target."""
        return kind_of(self.record)

    @cached_property
    def metric(self) -> Metric:
        """The primary metric, by which runs are chosen and compared."""
        return metric_of(self.record)

    @property
    def test(self) -> float:
        """The primary metric on test."""
        return self.metrics[f"test/{self.metric.name}"]

    @property
    def validation(self) -> float | None:
        """The primary metric on validation; None where run.json does not say."""
        return self.metrics.get(f"validation/{self.metric.name}")

    @property
    def pair(self) -> tuple[Any, ...]:
        """What two runs share that are compared as a pair: seed, every stream's seed, and the fold."""
        streams = sorted((key, value) for key, value in self.config.items() if key.startswith("seeds."))
        return self.seed, self.fold, *streams

    @property
    def fingerprints(self) -> Mapping[str, str]:
        """Digests of the contents of each split, by its name; empty where run.json does not say."""
        provenance = self.record.get("provenance")
        found = provenance.get("split_fingerprints") if isinstance(provenance, dict) else None
        return {str(name): of for name, of in found.items() if isinstance(of, str)} if isinstance(found, dict) else {}

    @property
    def data_hash(self) -> str | None:
        """The hash of all that the source of its data held; None where run.json does not say."""
        source = self.record.get("source")
        found = source.get("hash") if isinstance(source, dict) else None
        return found if isinstance(found, str) else None

    @property
    def fold(self) -> int | None:
        """The fold that was tested on; None without cross-validation."""
        return self.config.get("dataset.fold") if self.config.get("dataset.folds") is not None else None

    @cached_property
    def _curve(self) -> pd.DataFrame:
        import pandas as pd

        with open_table(self.directory, "metrics.csv", MOST_CURVE, CURVE_CELLS).file as file:
            try:
                curve = pd.read_csv(file)
            except (OSError, ValueError) as error:
                raise unreadable("metrics.csv", error) from None
        if "epoch" not in curve:
            raise DataError("metrics.csv has no column 'epoch'")
        if not all(pd.api.types.is_numeric_dtype(kind) for kind in curve.dtypes):
            curve = curve.apply(pd.to_numeric, errors="coerce")
        curve = curve.astype(float).where(lambda values: values.abs() < LARGEST).dropna(subset=["epoch"])
        if not ((curve["epoch"] >= 0) & (curve["epoch"] < LONGEST)).all():
            raise DataError("metrics.csv has an epoch that is below 0 or too large")
        return curve.drop_duplicates("epoch", keep="last").sort_values("epoch", ignore_index=True)

    def read_curve(self) -> pd.DataFrame:
        """metrics.csv, read once: a row an epoch (the last one written), or a row a setting with a column of ``TRIED``.

        Raises DataError when the file is missing or damaged.
        """
        return self._curve


@dataclass(frozen=True)
class Problem:
    """Something about one run directory that a reader of the report has to know."""

    directory: Path
    status: str
    reason: str
    counted: bool = False
    """Whether the run's results are in the report all the same."""
    id: str | None = None


@dataclass(frozen=True)
class RunSet:
    """What was found: finished runs in a fixed order, problems, and directories that repeat a counted run."""

    runs: tuple[Run, ...]
    problems: tuple[Problem, ...] = ()
    repeated: tuple[Path, ...] = ()
    checks: int = 0
    """How many runs of `headstart reproduce` were left out."""


def read_runs(paths: Iterable[Path | str]) -> RunSet:
    """Read every run directory at or under the paths.

    Of several finished runs with the same id only the latest counts; what `headstart reproduce` made never does.
    Raises DataError when a path does not exist.
    """
    runs: list[Run] = []
    problems: list[Problem] = []
    checks = 0
    directories = find_run_directories(paths)
    for directory in counted(directories, "reading runs", len(directories), "runs"):
        content = _read_content(directory)
        if is_repeat(content):
            checks += 1
            continue
        found = content if isinstance(content, Problem) else _understood(directory, content)
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


def run_order(run: Run) -> tuple[Any, ...]:
    """Sort key that depends on what a run is, not on where it lies."""
    seed = -1 if run.seed is None else run.seed
    return run.dataset, run.backbone, run.augmentation, run.strategy, seed, run.id


def find_run_directories(paths: Iterable[Path | str]) -> list[Path]:
    """List the directories that hold a run.json at or under the paths, each real directory once, sorted.

    The runs that a sweep left alone, as they had finished in another folder before, are its runs as well.
    """
    found: set[Path] = set()
    for given in paths:
        path = Path(given)
        if path.name == MANIFEST and path.is_file():
            path = path.parent
        if not path.is_dir():
            raise DataError(f"There is no folder '{given}'; expected one that holds runs (folders with a run.json).")
        for kind, home in homes_below(path):
            found.update([home.resolve()] if kind == "run" else _left_elsewhere(home))
    return sorted(found)


def _left_elsewhere(sweep: Path) -> Iterator[Path]:
    """Where finished runs lie that a sweep did not repeat."""
    for outcome in read_outcomes(sweep):
        if outcome.word == "skipped" and outcome.directory and is_inside(Path(outcome.directory), MANIFEST):
            yield Path(outcome.directory).resolve()


def read_run(directory: Path) -> Run | Problem:
    """Read one run directory; a Problem when it is unfinished, damaged or of another schema."""
    content = _read_content(directory)
    return content if isinstance(content, Problem) else _understood(directory, content)


def _read_content(directory: Path) -> dict[str, Any] | Problem:
    """Return what run.json holds, or why it cannot be read."""
    try:
        return read_manifest(directory)
    except DataError as error:
        return Problem(directory, "damaged", str(error))


def _understood(directory: Path, content: dict[str, Any]) -> Run | Problem:
    identity = content["id"] if is_name(content.get("id")) else None
    if content.get("schema") != SCHEMA:
        reason = f"run.json has schema {shown(content.get('schema'))}, this version reads {SCHEMA}"
        return Problem(directory, "other schema", reason, id=identity)
    status = content.get("status")
    if status not in STATUSES:
        return Problem(directory, "damaged", f"run.json has the unknown status {shown(status)}", id=identity)
    if status != "finished":
        return Problem(directory, status, _error_text(content.get("error")) or "not finished", id=identity)
    try:
        return _finished_run(directory, content, identity)
    except DataError as error:
        return Problem(directory, "damaged", str(error), id=identity)


def is_name(value: object) -> bool:
    """Return whether a value of run.json is text that can stand in a table."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and "\n" not in value


def shown(value: object) -> str:
    """Return a value of a damaged file as a message can hold it."""
    return first_line(repr(value), limit=40)


def _finished_run(directory: Path, content: dict[str, Any], identity: str | None) -> Run:
    names = {}
    for name in ("backbone", "dataset", "strategy"):
        if not is_name(content.get(name)):
            raise DataError(f"run.json has no name of the {name}")
        names[name] = content[name]
    augmentation = content.get("augmentation") or []
    if isinstance(augmentation, str):
        augmentation = [augmentation]
    if not isinstance(augmentation, list) or not all(map(is_name, augmentation)):
        raise DataError("run.json has an augmentation that is not a list of names")
    seed = content.get("seed")
    if seed is not None and not isinstance(seed, int):
        raise DataError(f"run.json has the seed {shown(seed)}, which is not a whole number")
    metrics = finite_numbers(content.get("metrics"))
    metric = metric_of(content)
    for split in ("test", "validation"):
        name = f"{split}/{metric.name}"
        if name in metrics:
            metric.check(name, metrics[name])
        elif split == "test":
            raise DataError(f"run.json has no {name}")
    references = content.get("references")
    references = references if isinstance(references, dict) else {}
    skipped = content.get("skipped")
    config, _ = _read_config(directory)
    return Run(
        directory=directory,
        id=identity or str(directory),
        augmentation=tuple(str(name) for name in augmentation if name != "none"),
        seed=seed,
        metrics=metrics,
        cost={name: value for name, value in finite_numbers(content.get("cost")).items() if is_cost(value)},
        references={str(name): finite_numbers(of) for name, of in references.items()},
        config=config,
        record=content,
        skipped=len(skipped) if isinstance(skipped, list) else 0,
        finished_at=_finish_time(directory, content.get("finished_at")),
        **names,
    )


def _read_config(directory: Path) -> tuple[dict[str, Any], str | None]:
    """The flat config and, when it cannot be had, the reason."""
    try:
        flat = flatten(read_settings(directory))
    except DataError as error:
        return {}, str(error)
    for key, value in flat.items():
        if key.startswith(("seeds.", "dataset.fold")) and not (value is None or isinstance(value, str | int | float)):
            return {}, f"config.yaml has a {key} that is neither a number nor a word"
    return flat, None


def _notes(run: Run) -> list[Problem]:
    reasons = []
    if not run.config:
        reasons.append(_read_config(run.directory)[1] or "config.yaml is empty")
    try:
        run.read_curve()
    except DataError as error:
        reasons.append(f"{error}, so its curve is not drawn")
    told = run.record.get("cost")
    reasons += [
        f"run.json has a {shown(name)} of {value:g}, which no run costs: it is left out"
        for name, value in (told.items() if isinstance(told, dict) else ())
        if isinstance(value, int | float) and not is_cost(value)
    ]
    if run.skipped:
        images = "1 image was" if run.skipped == 1 else f"{run.skipped} images were"
        reasons.append(f"{images} unreadable and skipped")
    reasons += [f"{reason}, so it is not shown" for reason in explained_in(run.directory)[1]]
    return [Problem(run.directory, "finished", reason, counted=True, id=run.id) for reason in reasons]


def explained_in(directory: Path) -> tuple[list[str], list[str]]:
    """Return which of ``EXPLAINED`` are whole in a run's folder explain, and what is wrong with the others."""
    whole, wrong = [], []
    for name in EXPLAINED:
        try:
            read_png(directory, f"explain/{name}.png")
        except MissingFileError:
            continue
        except DataError as error:
            wrong.append(str(error))
            continue
        if is_inside(directory, f"explain/{name}.pdf"):
            whole.append(name)
    return whole, wrong


def is_cost(value: float) -> bool:
    """Return whether a run can have cost so many seconds, bytes or parameters."""
    return 0 <= value < LONGEST


def finite_numbers(values: object) -> dict[str, float]:
    """Return the numbers of a mapping that can have been measured: no NaN, no infinity, none from ``LARGEST`` on."""
    if not isinstance(values, dict):
        return {}
    return {
        str(name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST
    }


def _error_text(error: object) -> str:
    if isinstance(error, dict):
        error = error.get("message") or error.get("type")
    return first_line(error) if error else ""


def _finish_time(directory: Path, stated: object) -> float:
    """Seconds since 1970: as stated in run.json (a number or an ISO date), else when run.json was written."""
    if isinstance(stated, int | float) and math.isfinite(stated):
        return float(stated)
    if isinstance(stated, str):
        with suppress(ValueError, OverflowError, OSError):
            return datetime.fromisoformat(stated).timestamp()
    with suppress(OSError):  # removed meanwhile
        return (directory / MANIFEST).stat().st_mtime
    return 0.0


def settings_of(directory: Path) -> Mapping[str, Any]:
    """Return the settings of config.yaml with dotted keys; none where the file is missing or damaged."""
    return _read_config(directory)[0]
