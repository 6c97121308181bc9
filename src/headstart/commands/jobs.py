"""One run of a command: anew, from where it was stopped, or not at all, as it has finished before."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from headstart.devices import processes
from headstart.errors import HeadstartError, Pruned, RunError
from headstart.records.lock import RunLock
from headstart.records.outcomes import TRIAL
from headstart.records.runs import first_line
from headstart.settings import identity
from headstart.sweeps.earlier import UNFINISHED, Earlier, abandoned, earlier_runs, folders_to_search
from headstart.training.crashes import happens_again
from headstart.training.run import Described, carry_out, describe, follow

POLL_SECONDS = 0.02


@dataclass(frozen=True)
class Result:
    """What became of a run: a word of ``sweeps.outcomes.WORDS``, where it lies, its primary metric on validation."""

    word: str
    directory: Path
    score: float


@dataclass(frozen=True)
class ResumePolicy:
    """What a command does about runs that it finds (the group ``sweep``)."""

    skip_finished: bool = True
    resume: bool = True
    retry: int = 1

    @classmethod
    def of(cls, config: DictConfig) -> "ResumePolicy":
        """The settings, or their defaults; ``early_checks`` has looked at them."""
        given = config.get("sweep") or {}
        return cls(**{field.name: given[field.name] for field in fields(cls) if field.name in given})


def do(
    config: DictConfig, parent: Path, choices: Mapping[str, Any], overrides: Sequence[str] = (), in_sweep: bool = False
) -> Result:
    """Carry a run out, or find that it was.

    A run is found by its settings and by what its data hold. In a sweep finished runs are left alone. Unfinished and
    failed ones go on in their own directory. A run that fails by no fault of its settings is tried again,
    ``sweep.retry`` times. Raises RunError for one that began and failed.
    """
    policy = ResumePolicy.of(config)
    described = describe(config, choices)
    tries = 0
    while True:
        follows = processes.follows()
        found = _found(described, parent)
        if in_sweep and (standing := _standing(described, found, policy, follows, overrides)):
            return standing
        if follows:  # torchrun or srun has started it beside the process that writes
            return Result("finished", parent, follow(described.config, parent / described.name))
        with _turn(Path(str(config.output_dir))):
            if _states(_found(described, parent)) != _states(found):
                continue  # another process has just taken it up
            directory, word = _place(described, found, policy, parent)
            if word == "failed" and not policy.retry and in_sweep:
                raise HeadstartError(f"failed before, and sweep.retry is 0: {_error(found, directory)}")
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


def _found(described: Described, parent: Path) -> list[Earlier]:
    return earlier_runs(folders_to_search(Path(str(described.config.output_dir)), parent), described.config_hash)


def _states(found: Sequence[Earlier]) -> list[tuple[Path, str, bool]]:
    return [(run.directory, run.status, run.lives) for run in found]


@contextmanager
def _turn(output_dir: Path) -> Iterator[None]:
    """One process at a time settles where its run goes, so that two never settle on the same one."""
    output_dir.mkdir(parents=True, exist_ok=True)
    lock = RunLock(output_dir, ".turn")
    while not lock.acquire():
        time.sleep(POLL_SECONDS)
    try:
        yield
    finally:
        lock.release()


def _standing(
    described: Described, found: Sequence[Earlier], policy: ResumePolicy, follows: bool, overrides: Sequence[str]
) -> Result | None:
    """What need not be run: finished, or at work in another process, unless that is the one to follow.

    What a search has pruned stands for that trial of that search alone.
    """
    trial = [override for override in overrides if override.startswith(TRIAL)]
    for run in reversed(found):
        if run.status == "pruned" and trial and trial[0] in (run.provenance("overrides") or []):
            return Result("pruned", run.directory, run.score)
        if run.status == "finished" and policy.skip_finished:
            other = "" if run.provenance("source_sha256") == _source() else ", with another version of headstart"
            print(f"skipped: finished before{other}, {run.metric.named(run.score)} on validation: {run.directory}")
            return Result("skipped", run.directory, run.score)
        if run.lives and not follows:
            print(f"skipped: another process is at it: {run.directory}")
            return Result("elsewhere", run.directory, run.score)
    return None


def _place(described: Described, found: Sequence[Earlier], policy: ResumePolicy, parent: Path) -> tuple[Path, str]:
    """The directory to run in, and the status that it has: "new" for a fresh one."""
    for run in reversed(found):
        if policy.resume and run.status in (*UNFINISHED, "failed") and not run.lives:
            return run.directory, run.status
    left = abandoned(parent, described.name) if policy.resume else None
    return left or identity.make_run_directory(parent, described.name), "new"


def _error(found: Sequence[Earlier], directory: Path) -> str:
    record = next(run.record for run in found if run.directory == directory)
    return str((record.get("error") or {}).get("message"))


def _source() -> Any:
    from headstart.records.provenance import git_state

    return git_state()["source_sha256"]
