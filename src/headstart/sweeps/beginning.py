"""Where a sweep lies: the same command goes on in the folder that it began in."""

import json
import os
import re
import socket
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from headstart.errors import DataError
from headstart.files import write_atomically
from headstart.records.documents import read_json
from headstart.records.finding import SWEEP as FILE
from headstart.records.lock import RunLock
from headstart.records.outcomes import forget_outcomes
from headstart.settings.leaves import is_whole
from headstart.settings.samples import settings_of

SETTINGS = "multirun.yaml"  # which Hydra writes
STAMPED = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d(-\d+)?")  # a folder named by the time, as conf/train.yaml has it
# How a sweep is carried out, not what it consists of.
APART = ("sweep.", "hydra.", "+sweep.", "+hydra.", "++sweep.", "++hydra.")


@dataclass(frozen=True)
class Sweep:
    """A sweep that this process carries out."""

    folder: Path
    jobs: int | None  # how many there are to be, where that is known
    lock: RunLock


_BEGUN: list[Sweep] = []


class GoOn(Callback):
    """Hydra tells it that a sweep begins, before anything is settled."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Find the sweep's folder, take it, and write down what is to be done."""
        if follows():
            return
        try:
            _begin(config)
        except OSError as error:  # Hydra would only warn, and go on
            print(
                f"headstart: the sweep cannot begin: {error.strerror or error} ('{error.filename}').", file=sys.stderr
            )
            raise SystemExit(2) from error


def _begin(config: DictConfig) -> None:
    folder = Path(str(config.hydra.sweep.dir))
    overrides = _telling(OmegaConf.to_container(config.hydra.overrides.task, resolve=False))
    stamped = STAMPED.fullmatch(folder.name) is not None
    earlier = _same_sweep(Path(str(config.output_dir)), overrides) if stamped else None
    if earlier is not None and config.sweep.resume:
        lock, folder = _claimed(earlier), earlier
        _move(config, folder)
        if lock is not None:
            print(f"headstart: goes on in {folder}, where this command began before")
    elif stamped:
        folder, lock = _stamped(folder, overrides)
        _move(config, folder)
    else:
        lock = _claimed(folder)
    if lock is None:
        print(f"headstart: '{folder}' is being swept by another process; wait for it, or name another output_dir.",
              file=sys.stderr)  # fmt: skip
        raise SystemExit(2)
    jobs = count_jobs(config)
    content = {
        "schema": 1,
        "command": sys.argv,
        "overrides": overrides,
        "jobs": jobs,
        "started_at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "process": {"id": os.getpid(), "host": socket.gethostname()},
    }
    try:
        write_atomically(folder / FILE, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
        forget_outcomes(folder)
    except OSError:
        lock.release()
        raise
    _BEGUN.append(Sweep(folder, jobs, lock))


def _claimed(folder: Path) -> RunLock | None:
    """The lock of a folder, made if need be; None where another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = RunLock(folder)
    return lock if lock.acquire() else None


def _stamped(folder: Path, overrides: Sequence[str]) -> tuple[Path, RunLock | None]:
    """A folder named by the time, with a number where another sweep began in the same second."""
    number, path = 1, folder
    while True:
        lock = _claimed(path)
        if lock is not None and not (path / FILE).exists():
            return path, lock
        if _overrides(path) == list(overrides):
            return path, lock
        if lock is not None:
            lock.release()
        number += 1
        path = folder.with_name(f"{folder.name}-{number}")


def expect(folder: Path, jobs: int, left: int) -> None:
    """A sweeper has settled how many jobs the sweep in a folder has, and how many of them are left to this command."""
    if not _BEGUN or _BEGUN[-1].folder.resolve() != folder.resolve():
        return
    _BEGUN[-1] = replace(_BEGUN[-1], jobs=left)
    content = read_json(folder, FILE)
    write_atomically(folder / FILE, json.dumps({**content, "jobs": jobs}, indent=2, ensure_ascii=False) + "\n")


def follows() -> bool:
    """Whether torchrun or srun started this process beside another, which takes care of the sweep."""
    torchrun = "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("RANK", 0)) > 0
    srun = int(os.environ.get("SLURM_NTASKS", 1)) > 1 and int(os.environ.get("SLURM_PROCID", 0)) > 0
    return torchrun or srun


def ended() -> Sweep | None:
    """The sweep that this process began, whose folder is free from here on; None where it began none.

    One that was refused before its first job leaves no folder.
    """
    if not _BEGUN:
        return None
    sweep = _BEGUN.pop()
    sweep.lock.release()
    if {path.name for path in sweep.folder.iterdir()} <= {FILE, SETTINGS}:
        for name in (FILE, SETTINGS):
            (sweep.folder / name).unlink(missing_ok=True)
        sweep.folder.rmdir()
    return sweep


def own_settings(sweep: Path, overrides: Sequence[str]) -> list[str]:
    """What a job of a sweep is given that not all of them are."""
    typed = {override.lower() for override in _overrides(sweep) or []}  # Hydra writes False for a false that was typed
    return [override for override in overrides if override.lower() not in typed and not override.startswith(APART)]


def jobs_of(sweep: Path) -> int | None:
    """How many jobs the sweep in a folder has, where that is known."""
    jobs = _content(sweep).get("jobs")
    return jobs if is_whole(jobs) else None


def process_of(sweep: Path) -> int | None:
    """The number of the process that carries out the sweep in a folder, where it is one of this machine."""
    process = _content(sweep).get("process")
    if not isinstance(process, dict) or process.get("host") != socket.gethostname():
        return None
    number = process.get("id")
    return number if is_whole(number) else None


def count_jobs(config: DictConfig) -> int | None:
    """How many runs the sweep has; None where its sweeper decides that on the way."""
    trials = OmegaConf.select(config, "hydra.sweeper.n_trials")
    if trials is not None:
        return int(trials) if is_whole(trials) else None  # the sweeper refuses what is no number
    given: Any = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)
    try:
        items = settings_of(config, given).values()
        lengths = [len(list(item.sweep_iterator())) for item in items if item.is_sweep_override()]
    except HydraException:  # told by the sweeper itself
        return None
    count = 1
    for length in lengths:
        count *= length
    return count


def _telling(overrides: Any) -> list[str]:
    return sorted(override for override in overrides if not override.startswith(APART))


def _same_sweep(output_dir: Path, overrides: Sequence[str]) -> Path | None:
    """The latest folder in which a sweep of the same settings began."""
    for path in sorted(output_dir.glob(f"*/{FILE}"), reverse=True):
        if _overrides(path.parent) == list(overrides):
            return path.parent
    return None


def _overrides(folder: Path) -> list[str] | None:
    """What the sweep in a folder consists of; None where that cannot be read."""
    found = _content(folder).get("overrides")
    return [str(override) for override in found] if isinstance(found, list) else None


def _content(folder: Path) -> dict[str, Any]:
    """What is written down of the sweep in a folder; nothing where that cannot be read."""
    try:
        content = read_json(folder, FILE)
    except DataError:
        return {}
    return content if isinstance(content, dict) else {}


def _move(config: DictConfig, folder: Path) -> None:
    """Each job composes its settings anew, from the overrides."""
    escaped = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    with read_write(config), read_write(config.hydra), open_dict(config):
        config.hydra.sweep.dir = str(folder)
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{escaped}'")
