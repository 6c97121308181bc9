"""Choose the folder of a sweep: the same command resumes in the folder in which it began."""

import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from headstart.errors import ConfigError, HeadstartError
from headstart.records.lock import RunLock
from headstart.records.names import HYDRA_FILE, SWEEP_FILE
from headstart.records.outcomes import forget_outcomes
from headstart.records.sweep_file import sweep_record, write_job_count, write_sweep
from headstart.settings.leaves import is_whole
from headstart.settings.samples import settings_of

STAMPED = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?")  # a folder named by the time, as conf/train.yaml has it
# Settings of how a sweep is run. They do not change which runs it consists of.
INDIFFERENT = ("sweep.", "hydra.", "+sweep.", "+hydra.", "++sweep.", "++hydra.")


@dataclass(frozen=True)
class Sweep:
    """A sweep that this process runs."""

    folder: Path
    jobs: int | None  # None if the number is not known
    lock: RunLock


_BEGUN: list[Sweep] = []


class SweepRefused(BaseException):
    """Ends a whole sweep before its next job. Hydra and launchers would continue after an Exception."""

    def __init__(self, error: HeadstartError) -> None:
        super().__init__(error)
        self.error = error


class BeginSweep(Callback):
    """Hydra's callback at the start of a sweep, before anything is decided."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Find the folder of the sweep, lock it, and write sweep.json."""
        if follows():
            return
        try:
            _begin(config)
        except OSError as error:
            text = f"the sweep cannot begin: {error.strerror or error} ('{error.filename}')."
            raise SweepRefused(ConfigError(text)) from error


def _begin(config: DictConfig) -> None:
    folder = Path(str(config.hydra.sweep.dir))
    overrides = _defining(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))
    stamped = STAMPED.fullmatch(folder.name) is not None
    earlier = _same_sweep(Path(str(config.output_dir)), overrides) if stamped else None
    if earlier is not None and config.sweep.resume:
        lock, folder = _locked(earlier), earlier
        _move(config, folder)
        if lock is not None:
            print(f"headstart: resumes in {folder}, where this command began before")
    elif stamped:
        folder, lock = _stamped(folder, overrides)
        _move(config, folder)
    else:
        lock = _locked(folder)
    if lock is None:
        raise SweepRefused(
            ConfigError(f"'{folder}' is being swept by another process; wait for it, or name another output_dir.")
        )
    jobs = count_jobs(config)
    try:
        write_sweep(folder, overrides, jobs)
        forget_outcomes(folder)
    except OSError:
        lock.release()
        raise
    _BEGUN.append(Sweep(folder, jobs, lock))


def _locked(folder: Path) -> RunLock | None:
    """Make a folder if it is missing and lock it; None if another process holds the lock."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = RunLock(folder)
    return lock if lock.acquire() else None


def _stamped(folder: Path, overrides: Sequence[str]) -> tuple[Path, RunLock | None]:
    """Return a folder named by the time, with a number if another sweep began in the same second."""
    number, path = 1, folder
    while True:
        lock = _locked(path)
        if lock is not None and not (path / SWEEP_FILE).exists():
            return path, lock
        if sweep_record(path).overrides == list(overrides):
            return path, lock
        if lock is not None:
            lock.release()
        number += 1
        path = folder.with_name(f"{folder.name}-{number}")


def set_job_count(folder: Path, jobs: int, left: int) -> None:
    """Record how many jobs a sweeper has chosen, and how many of them this command has to run."""
    if not _BEGUN or _BEGUN[-1].folder.resolve() != folder.resolve():
        return
    _BEGUN[-1] = replace(_BEGUN[-1], jobs=left)
    write_job_count(folder, jobs)


def follows() -> bool:
    """Return whether torchrun or srun started this process beside another, which runs the sweep."""
    torchrun = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("RANK", 0)) > 0
    srun = int(os.environ.get("SLURM_NTASKS", 1)) > 1 and int(os.environ.get("SLURM_PROCID", 0)) > 0
    return torchrun or srun


def end_sweep() -> Sweep | None:
    """Unlock and return the sweep that this process began; None if it began none.

    The folder of a sweep that was refused before its first job is removed.
    """
    if not _BEGUN:
        return None
    sweep = _BEGUN.pop()
    sweep.lock.release()
    if {path.name for path in sweep.folder.iterdir()} <= {SWEEP_FILE, HYDRA_FILE}:
        for name in (SWEEP_FILE, HYDRA_FILE):
            (sweep.folder / name).unlink(missing_ok=True)
        sweep.folder.rmdir()
    return sweep


def own_settings(sweep: Path, overrides: Sequence[str]) -> list[str]:
    """Return the settings of a job that not all jobs of the sweep have."""
    # Hydra writes False for a false that was typed.
    typed = {override.lower() for override in sweep_record(sweep).overrides or []}
    return [
        override for override in overrides if override.lower() not in typed and not override.startswith(INDIFFERENT)
    ]


def count_jobs(config: DictConfig) -> int | None:
    """Return how many runs the sweep has; None if its sweeper decides that later."""
    trials = OmegaConf.select(config, "hydra.sweeper.n_trials")
    if trials is not None:
        return int(trials) if is_whole(trials) else None  # the sweeper refuses anything else
    given: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    try:
        items = settings_of(config, given).values()
        lengths = [len(list(item.sweep_iterator())) for item in items if item.is_sweep_override()]
    except HydraException:  # the sweeper reports it
        return None
    return math.prod(lengths)


def _defining(overrides: Any) -> list[str]:
    """Return the settings that define the runs of a sweep, sorted."""
    return sorted(override for override in overrides if not override.startswith(INDIFFERENT))


def _same_sweep(output_dir: Path, overrides: Sequence[str]) -> Path | None:
    """Return the latest folder in which a sweep of the same settings began."""
    for path in sorted(output_dir.glob(f"*/{SWEEP_FILE}"), reverse=True):
        if sweep_record(path.parent).overrides == list(overrides):
            return path.parent
    return None


def _move(config: DictConfig, folder: Path) -> None:
    """Set the folder of the sweep, for the jobs as well: each composes its settings again from the overrides."""
    escaped = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    with read_write(config), read_write(config.hydra), open_dict(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{escaped}'")
