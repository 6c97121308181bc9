"""Give each parallel job of a machine its own cores and its own GPU.

Every core and every GPU has a lock file. A job locks its share, uses only those cores and that GPU, and unlocks them at
its end; if the job is killed, the kernel unlocks them. If too little is free, the job waits before torch is loaded. The
locks hold for all jobs of one user on one machine, in any sweep.
"""

import fcntl
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from headstart.workers import core_numbers

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
VISIBLE = "CUDA_VISIBLE_DEVICES"
GIVEN = "HEADSTART_VISIBLE_GPUS"  # the value of VISIBLE when the sweep started, as submitit overwrites it
DRIVER = Path("/proc/driver/nvidia/gpus")
MOST_CORES = 4  # small networks gain little from more threads
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Share:
    """The cores of one job by number, and its GPUs as CUDA_VISIBLE_DEVICES names them."""

    cores: tuple[int, ...]
    gpus: tuple[str, ...] = ()


def jobs_at_once() -> int:
    """Return how many parallel jobs suit this machine: one a GPU, or without any, two or one for every four cores."""
    cores = len(core_numbers())
    gpus = len(visible_gpus())
    return max(1, min(gpus, cores) if gpus else max(min(cores, 2), cores // MOST_CORES))


def cores_a_job() -> int:
    """Return how many cores each of ``jobs_at_once()`` jobs gets."""
    return max(1, len(core_numbers()) // jobs_at_once())


def at_once(launcher: Mapping[str, Any]) -> int:
    """Return how many jobs of a search a launcher runs in parallel: 4 on a cluster, as a search learns from results."""
    target = str(launcher["_target_"])
    if target.endswith("BasicLauncher"):
        return 1
    if "joblib" in target:
        return max(1, len(core_numbers()) // cores_wanted(launcher))
    return 4 if "Slurm" in target else jobs_at_once()


def known_at_once(hydra: Any) -> int | None:
    """Return how many jobs of a sweep run in parallel; None if a cluster decides. ``hydra`` is Hydra's own config."""
    target, asked = str(hydra.launcher["_target_"]), hydra.sweeper.get("n_jobs")
    if "Slurm" in target or "ray" in target:
        return None
    return min(at_once(hydra.launcher), asked or 1 << 30)


def gpus_a_job() -> int:
    """Return 1 if this machine has a GPU, else 0."""
    return min(1, len(visible_gpus()))


def remember_gpus() -> None:
    """Keep the user's choice of visible GPUs for jobs whose launcher changes it. Called when a sweep starts."""
    if VISIBLE in os.environ:
        os.environ[GIVEN] = os.environ[VISIBLE]
    else:
        os.environ.pop(GIVEN, None)


@contextmanager
def shared(hydra: Any, trainer: Any = None, locks: Path | None = None) -> Iterator[Share | None]:
    """Restrict this process to its share while a job of a parallel launcher runs, if possible before torch is loaded.

    ``hydra`` is Hydra's own config and ``trainer`` the run's group of that name. Runs one after the other are not
    restricted: then this yields None.
    """
    if not is_parallel(hydra):
        yield None
        return
    if os.environ.get("SUBMITIT_EXECUTOR") == "local":
        _restore_visible_gpus()
    wanted, cores = cores_wanted(hydra.launcher), core_numbers()
    bound = "Slurm" in str(hydra.launcher["_target_"]) and wanted == len(cores)  # Slurm has reserved them
    gpus = visible_gpus() if gives_gpus(hydra.launcher) else []
    with ExitStack() as stack:
        if bound:
            share = Share(tuple(sorted(cores)))
        else:
            share = stack.enter_context(leased(cores, wanted, gpus, gpus_wanted(trainer), locks))
        stack.enter_context(_kept_to(share, wanted))
        if gpus:
            stack.enter_context(_environment({VISIBLE: ",".join(share.gpus)}))
        yield share


def is_parallel(hydra: Any) -> bool:
    """Return whether other jobs may run in parallel to this one."""
    alone = str(hydra.launcher.get("_target_")).endswith("BasicLauncher")
    return "MULTIRUN" in str(hydra.get("mode")) and not alone


def cores_wanted(launcher: Mapping[str, Any]) -> int:
    """Return the cores of one job: as the launcher or Slurm sets, at most those of the machine."""
    target, cores = str(launcher["_target_"]), len(core_numbers())
    if "joblib" in target:
        jobs = int(launcher.get("n_jobs") or 1)
        wanted = cores // (jobs if jobs > 0 else max(1, cores + 1 + jobs))
    elif "ray" in target:
        wanted = int((launcher["ray"].get("remote") or {}).get("num_cpus") or 1)
    elif "Slurm" in target:
        wanted = int(os.environ.get("SLURM_CPUS_PER_TASK") or launcher.get("cpus_per_task") or 1)
    else:
        wanted = int(launcher.get("cpus_per_task") or cores_a_job())
    return max(1, min(wanted, cores))


def gives_gpus(launcher: Mapping[str, Any]) -> bool:
    """Return whether we choose the GPU of a job. Slurm and Ray choose it themselves."""
    return "Slurm" not in str(launcher["_target_"]) and "ray" not in str(launcher["_target_"])


def gpus_wanted(trainer: Any) -> int:
    """Return the GPUs of one job: 0 for trainer.accelerator=cpu, trainer.devices if it is a number, else 1."""
    settings = trainer or {}
    if settings.get("accelerator") == "cpu":
        return 0
    devices = settings.get("devices")
    return devices if isinstance(devices, int) and devices > 0 else 1


def visible_gpus() -> list[str]:
    """Return the NVIDIA GPUs that CUDA_VISIBLE_DEVICES allows, by UUID if the driver gives it; without torch."""
    present = _present_gpus()
    if VISIBLE not in os.environ:
        return present
    chosen = []
    for name in (part.strip() for part in os.environ[VISIBLE].split(",")):
        if not re.fullmatch(r"\d+|(GPU|MIG)-.+", name):  # CUDA stops at the first invalid name
            break
        number = int(name) if name.isdigit() else None
        if number is not None and present and number >= len(present):
            break
        chosen.append(present[number] if number is not None and present else name)
    return chosen


def _present_gpus() -> list[str]:
    """Return the UUIDs of the GPUs of this machine; for a divided GPU (MIG), those of its parts."""
    try:
        listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        texts = (file.read_text() for file in sorted(DRIVER.glob("*/information")))
        return [match[1] for text in texts if (match := re.search(r"(GPU-[\w-]+)", text))]
    found: list[tuple[str, list[str]]] = []
    for kind, rest in re.findall(r"UUID: (GPU|MIG)(-[^)\s]+)", listed):
        if kind == "GPU":
            found.append((kind + rest, []))
        elif found:
            found[-1][1].append(kind + rest)
    return [part for whole, parts in found for part in (parts or [whole])]


@contextmanager
def leased(
    cores: set[int], wanted: int, gpus: Sequence[str] = (), gpus_wanted: int = 0, locks: Path | None = None
) -> Iterator[Share]:
    """Lock that many of these cores and GPUs for this process; wait until they are free, first come, first served.

    ``locks`` is the folder of the lock files, by default one for each user and machine.
    """
    folder = locks or Path(tempfile.gettempdir()) / f"headstart-{os.getuid()}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    wanted, gpus_wanted = min(wanted, len(cores)), min(gpus_wanted, len(gpus))
    with ExitStack() as held:
        with (folder / "turn").open("a") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)  # held while waiting, so that a large share is not starved
            own_cores = _take(folder, [f"core-{number}" for number in sorted(cores)], wanted, held)
            own_gpus = _take(folder, [f"gpu-{_safe(name)}" for name in gpus], gpus_wanted, held)
        by_file = {f"gpu-{_safe(name)}": name for name in gpus}
        yield Share(tuple(int(name[5:]) for name in own_cores), tuple(by_file[name] for name in own_gpus))


def _take(folder: Path, names: Sequence[str], wanted: int, held: ExitStack) -> list[str]:
    taken: dict[str, TextIO] = {}
    while len(taken) < wanted:
        for name in names:
            if name in taken or len(taken) == wanted:
                continue
            file = (folder / name).open("a")
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.close()
                continue
            taken[name] = held.enter_context(file)
        if len(taken) < wanted:
            time.sleep(POLL_SECONDS)
    return [name for name in names if name in taken]


def _safe(name: str) -> str:
    return re.sub(r"[^\w-]", "_", name)


def _restore_visible_gpus() -> None:
    """Restore the user's choice: submitit's local executor shows the same ones to every job."""
    os.environ.pop(VISIBLE, None)
    if GIVEN in os.environ:
        os.environ[VISIBLE] = os.environ[GIVEN]


@contextmanager
def _kept_to(share: Share, threads: int) -> Iterator[None]:
    """Keep all threads of this process on these cores, with as many threads for arithmetic as cores."""
    before = core_numbers()
    limits = [int(value) for name in THREADS if (value := os.environ.get(name, "")).isdigit()]
    threads = min([threads, *limits])  # the user may ask for fewer
    with _environment({name: str(threads) for name in THREADS}):
        if "torch" in sys.modules:  # this worker process has run a job before
            sys.modules["torch"].set_num_threads(threads)
        _pin(set(share.cores))
        try:
            yield
        finally:
            _pin(before)


def _pin(cores: set[int]) -> None:
    """Pin all threads, also those left by an earlier job: each thread has its own set of cores."""
    if not hasattr(os, "sched_setaffinity"):
        return
    for thread in Path("/proc/self/task").iterdir():
        try:
            os.sched_setaffinity(int(thread.name), cores)
        except ProcessLookupError:  # the thread has ended meanwhile
            continue


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
