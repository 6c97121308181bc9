"""Carry out one run: start it, resume it, or skip it if it has finished before."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from headstart.boundary.opening import first_line
from headstart.crashes import happens_again
from headstart.devices import processes
from headstart.errors import HeadstartError, Pruned, RunError
from headstart.records.lock import RunLock
from headstart.records.outcomes import TRIAL
from headstart.records.provenance import code_of_parts, git_state
from headstart.records.record import RunRecord
from headstart.settings import identity
from headstart.sweeps.earlier import UNFINISHED, abandoned, earlier_runs, folders_to_search
from headstart.training.prepare import DescribedRun, describe
from headstart.training.run import carry_out, follow

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Result:
    """The outcome of a run: a word of ``records.outcomes.WORDS``, its directory and its validation score."""

    word: str
    directory: Path
    score: float


@dataclass(frozen=True)
class ResumePolicy:
    """How a command treats earlier runs that it finds (the group ``sweep``)."""

    skip_finished: bool = True
    resume: bool = True
    retry: int = 1

    @classmethod
    def of(cls, config: DictConfig) -> "ResumePolicy":
        """Return the settings or their defaults; ``early_checks`` has checked them."""
        given = config.get("sweep") or {}
        return cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})


def run_or_skip(
    config: DictConfig, parent: Path, choices: Mapping[str, Any], overrides: Sequence[str] = (), in_sweep: bool = False
) -> Result:
    """Carry out a run, unless an earlier run with the same settings and data makes it unnecessary.

    A sweep skips finished runs, and resumes unfinished and failed ones in their own directory. A run that fails is
    tried again ``sweep.retry`` times, unless it would fail in the same way. Raises RunError for a run that started and
    failed.
    """
    policy = ResumePolicy.of(config)
    described = describe(config, choices)
    tries = 0
    while True:
        follows = processes.follows()
        found = _found(described, parent)
        if in_sweep and (earlier := _earlier_result(described, found, policy, follows, overrides)):
            return earlier
        if follows:  # started by torchrun or srun beside the process that writes
            return Result("finished", parent, follow(described.config, parent / described.name))
        with _one_at_a_time(Path(str(config.output_dir))):
            if _states(_found(described, parent)) != _states(found):
                continue  # another process has just started or resumed this run
            directory, word = _place(described, found, policy, parent)
            if word == "failed" and not policy.retry and in_sweep:
                raise HeadstartError(f"The run failed before, and sweep.retry is 0: {_error(found, directory)}")
            lock = RunLock(directory)
            if not lock.acquire():
                continue
        try:
            score = carry_out(described, directory, overrides)
        except Pruned:
            return Result("pruned", directory, math.nan)
        except Exception as error:
            tries += 1
            if happens_again(error) or tries > policy.retry:
                raise RunError(directory) from error
            print(f"the run failed and is tried again: {first_line(error)}")
            continue
        finally:
            lock.release()
        return Result({"failed": "retried", "new": "finished"}.get(word, "resumed"), directory, score)


def _found(described: DescribedRun, parent: Path) -> list[RunRecord]:
    return earlier_runs(folders_to_search(Path(str(described.config.output_dir)), parent), described.config_hash)


def _states(found: Sequence[RunRecord]) -> list[tuple[Path, str, bool]]:
    return [(run.directory, run.status, run.is_running) for run in found]


@contextmanager
def _one_at_a_time(output_dir: Path) -> Iterator[None]:
    """Let one process at a time choose the directory of its run, so that two never choose the same one."""
    output_dir.mkdir(parents=True, exist_ok=True)
    lock = RunLock(output_dir, ".turn")
    while not lock.acquire():
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _earlier_result(
    described: DescribedRun, found: Sequence[RunRecord], policy: ResumePolicy, follows: bool, overrides: Sequence[str]
) -> Result | None:
    """Return the result of an earlier run that makes this one unnecessary, or None.

    That run is finished and has all wanted references, or is running in a process that this one does not follow, or
    was pruned in the same trial of the same search.
    """
    own = code_of_parts(described.config).get("own_code", {})
    trial = [override for override in overrides if override.startswith(TRIAL)]
    wanted = set(described.config.get("references") or [])
    changed: RunRecord | None = None
    incomplete = ""
    for run in reversed(found):
        if run.status == "pruned" and trial and trial[0] in (run.get("provenance", "overrides") or []):
            return Result("pruned", run.directory, _score(run))
        if run.status == "finished" and policy.skip_finished:
            if (run.get("provenance", "own_code") or {}) != own:
                changed = changed or run
                continue
            if lacking := wanted.difference(run.references):
                incomplete = f"runs again: no {' and '.join(sorted(lacking))} in {run.directory}"
                continue
            same = run.get("provenance", "source_sha256") == git_state()["source_sha256"]
            other = "" if same else ", with another version of headstart"
            print(f"skipped: finished before{other}, {run.metric.named(_score(run))} on validation: {run.directory}")
            return Result("skipped", run.directory, _score(run))
        if run.is_running and not follows:
            print(f"skipped: running in another process: {run.directory}")
            return Result("elsewhere", run.directory, _score(run))
    if changed is not None:
        print(f"runs again: the code of {', '.join(own)} has changed since {changed.directory}")
    elif incomplete:
        print(incomplete)
    return None


def _score(run: RunRecord) -> float:
    """Return the primary metric on validation, of the chosen epoch; NaN if there is none."""
    return math.nan if run.validation is None else run.validation


def _place(described: DescribedRun, found: Sequence[RunRecord], policy: ResumePolicy, parent: Path) -> tuple[Path, str]:
    """Return the directory to run in and the status of its run: "new" for a new directory."""
    for run in reversed(found):
        if policy.resume and run.status in (*UNFINISHED, "failed") and not run.is_running:
            return run.directory, run.status
    left = abandoned(parent, described.name) if policy.resume else None
    return left or identity.make_run_directory(parent, described.name), "new"


def _error(found: Sequence[RunRecord], directory: Path) -> str:
    return next(str(run.get("error", "message")) for run in found if run.directory == directory)
