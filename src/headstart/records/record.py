"""Read one run directory, whatever the state of its run."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from headstart.boundary.opening import first_line
from headstart.errors import DataError, nearest
from headstart.kinds import Metric, metric_or_default, task_name
from headstart.records.finding import find_run_directories
from headstart.records.lock import is_locked
from headstart.records.manifest import REPEATS, SCHEMA, read_manifest
from headstart.records.names import BEST_NETWORK, RUN_FILE
from headstart.records.settings_file import read_settings
from headstart.settings.effects import flatten

STATUSES = ("finished", "failed", "interrupted", "pruned", "running")
LARGEST = 1e39  # no loss in 32 bits reaches it, so a larger number was not measured
LONGEST = 1e15  # no count, and no number of seconds or bytes that a run cost, reaches it
LONGEST_NAME = 200  # characters of the name of a backbone, data set, strategy or augmentation
ENTRIES: dict[tuple[str, ...], type] = {  # the types of entries of run.json that are not null
    ("augmentation",): list,
    ("classes",): list,
    ("provenance", "git_commit"): str,
    ("provenance", "source_sha256"): str,
    ("provenance", "dataset_fingerprint"): str,
}
WORDS: dict[type, str] = {list: "a list", str: "text"}


@dataclass(frozen=True)
class RunRecord:
    """What run.json and config.yaml say of a run. Any entry may be missing or of a wrong type."""

    directory: Path
    content: Mapping[str, Any]
    """The content of run.json; empty if it cannot be read."""
    unread: str = ""
    """Why run.json cannot be read."""
    planned: Mapping[str, Any] | None = None
    """The flat settings of a run that has not started, so that there is no config.yaml."""

    def get(self, *path: str) -> Any:
        """Return an entry of run.json by its path, or None."""
        value: Any = self.content
        for name in path:
            value = value.get(name) if isinstance(value, Mapping) else None
        return value

    def number(self, *path: str) -> float | None:
        """Return an entry as a finite number below ``LONGEST``, or None."""
        value = self.get(*path)
        return float(value) if is_number(value) and abs(value) < LONGEST else None  # NaN is not below it either

    def moment(self, name: str) -> float | None:
        """Return a time in seconds since 1970, or None. run.json states it as a number or as an ISO date."""
        if is_number(self.content.get(name)):
            return self.number(name)
        with suppress(TypeError, ValueError, OverflowError, OSError):
            return datetime.fromisoformat(self.content[name]).timestamp() if name in self.content else None
        return None

    @property
    def problem(self) -> str:
        """Return why the status is not known; "" if it is."""
        if self.unread or self.content.get("status") in STATUSES:
            return self.unread
        return f"{RUN_FILE} has the unknown status {shown(self.content.get('status'))}"

    @property
    def status(self) -> str:
        """Return one of ``STATUSES``, or "damaged"."""
        return "damaged" if self.problem else str(self.content["status"])

    @property
    def finished(self) -> bool:
        """Return whether there is a result."""
        return self.status == "finished"

    @property
    def is_running(self) -> bool:
        """Return whether a process works in the directory now."""
        return is_locked(self.directory)

    @property
    def is_repeat(self) -> bool:
        """Return whether ``headstart reproduce`` made the run. No comparison and no sweep counts it."""
        return self.content.get(REPEATS) is not None

    def error_text(self, limit: int = 160) -> str:
        """Return the first line of the error that ended the run; "" if there is none."""
        error = self.content.get("error")
        if isinstance(error, dict):
            error = error.get("message") or error.get("type")
        return first_line(error, limit) if error else ""

    @property
    def id(self) -> str:
        """Return the id, or else the path, which is as unique."""
        found = self.content.get("id")
        return str(found) if is_name(found) else str(self.directory)

    @property
    def backbone(self) -> str:
        """Return the name of the backbone."""
        return str(self.content.get("backbone"))

    @property
    def dataset(self) -> str:
        """Return the name of the data set."""
        return str(self.content.get("dataset"))

    @property
    def strategy(self) -> str:
        """Return the name of the strategy."""
        return str(self.content.get("strategy"))

    @property
    def augmentation(self) -> tuple[str, ...]:
        """Return the names of views and mixes in their order."""
        found = self.content.get("augmentation")
        names = [found] if isinstance(found, str) else found if isinstance(found, list) else []
        return tuple(str(name) for name in names if name != "none")

    @property
    def seed(self) -> int | None:
        """Return the seed, or None."""
        found = self.content.get("seed")
        return found if isinstance(found, int) else None

    @property
    def title(self) -> str:
        """Return a title for figures and tables on this run."""
        augmentation = f", {'+'.join(self.augmentation)}" if self.augmentation else ""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"{self.strategy} of {self.backbone} on {self.dataset}{augmentation}{seed}"

    @property
    def data_hash(self) -> str | None:
        """Return the hash of everything that the source of the data held, or None."""
        found = self.get("source", "hash")
        return found if isinstance(found, str) else None

    @cached_property
    def metrics(self) -> dict[str, float]:
        """Return the finite numbers among the metrics; shares such as accuracies are fractions of 1."""
        return finite_numbers(self.content.get("metrics"))

    @cached_property
    def references(self) -> dict[str, dict[str, float]]:
        """Return the scores of simple predictors on the same data, by their names."""
        found = self.get("references")
        return {str(name): finite_numbers(scores) for name, scores in found.items()} if isinstance(found, dict) else {}

    @property
    def task(self) -> str:
        """Return what two runs share that may be compared: the task, and its metric if it is not the usual one."""
        return task_name(self.content)

    @property
    def metric(self) -> Metric:
        """Return the primary metric, by which runs are chosen and compared; a classifier's if run.json has none."""
        return metric_or_default(self.content)

    @property
    def validation(self) -> float | None:
        """Return the primary metric on validation, or None."""
        return self.metrics.get(f"validation/{self.metric.name}")

    @property
    def config(self) -> Mapping[str, Any]:
        """Return the settings of config.yaml with dotted keys; none if the file is missing or damaged."""
        return self._settings[0]

    @property
    def config_problem(self) -> str:
        """Return why config.yaml cannot be read; "" if it can."""
        return self._settings[1]

    @cached_property
    def _settings(self) -> tuple[Mapping[str, Any], str]:
        if self.planned is not None:
            return self.planned, ""
        try:
            return flatten(read_settings(self.directory)), ""
        except DataError as error:
            return {}, str(error)


def record_of(directory: Path) -> RunRecord:
    """Read a run directory that was found. A run.json that cannot be read gives a record with a ``problem``."""
    try:
        return RunRecord(directory, read_manifest(directory))
    except DataError as error:
        return RunRecord(directory, {}, str(error))


def name_of_source(weights: Path) -> str | None:
    """Return the name of the run whose best.ckpt a file is, such as "contrast on textures 61ab"; None for other files.

    The last four digits are those of its config_hash.
    """
    directory = weights.absolute().parent.parent
    if weights.absolute() != directory / BEST_NETWORK or not (directory / RUN_FILE).is_file():
        return None
    run = record_of(directory)
    names = [run.get(name) for name in ("strategy", "dataset", "config_hash")]
    if run.unread or not all(is_name(name) for name in names):
        return None
    return f"{names[0]} on {names[1]} {names[2][:4]}"


def read_record(path: Path) -> RunRecord:
    """Read a run directory, or its run.json, that a user named. Raises DataError if it cannot be read."""
    directory = path.parent if path.name == RUN_FILE else path
    file = directory / RUN_FILE
    if not os.path.lexists(file):
        raise DataError(_no_run(directory))
    record = record_of(directory)
    if record.unread:
        raise DataError(f"'{file}'{record.unread.removeprefix(RUN_FILE)}.")
    if record.get("schema") != SCHEMA:
        raise DataError(f"'{file}' has schema {shown(record.get('schema'))}; this version reads {SCHEMA}.")
    for name in ("backbone", "dataset", "strategy"):
        if record.get(name) is not None and not is_name(record.get(name)):
            raise DataError(f"'{file}' is damaged: its {name} is {shown(record.get(name))}; expected a name.")
    for entry, expected in ENTRIES.items():
        value = record.get(*entry)
        if value is not None and not isinstance(value, expected):
            found = first_line(json.dumps(value), limit=40)
            raise DataError(f"'{file}' is damaged: its {'.'.join(entry)} is {found}; expected {WORDS[expected]}.")
    return record


def is_name(value: object) -> bool:
    """Return whether a value of run.json is text that can stand in a table."""
    return isinstance(value, str) and 0 < len(value) <= LONGEST_NAME and "\n" not in value


def is_number(value: object) -> bool:
    """Return whether a value of run.json is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def whole_number(value: object) -> int | None:
    """Return a value that is a whole number below ``LONGEST``, or None."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LONGEST else None


def finite_numbers(values: object) -> dict[str, float]:
    """Return the numbers of a mapping that were measured: not NaN, not infinite, below ``LARGEST``."""
    if not isinstance(values, dict):
        return {}
    return {str(name): float(value) for name, value in values.items() if is_number(value) and abs(value) < LARGEST}


def shown(value: object) -> str:
    """Return a value of a damaged file as a message can hold it."""
    return first_line(repr(value), limit=40)


def _no_run(directory: Path) -> str:
    if not directory.is_dir():
        near = [str(entry) for entry in directory.parent.iterdir()] if directory.parent.is_dir() else []
        hint = nearest(str(directory), near)
        return f"There is no folder '{directory}'.{hint if hint.startswith(' Did') else ''}"
    below = find_run_directories([directory])
    hint = f"; it holds {len(below)} runs: name one, such as '{below[0]}'" if below else ""
    return f"'{directory}' is no run directory, as it has no {RUN_FILE}{hint}."
