"""The processes of one run on several devices: started here, or by torchrun or srun before.

The run itself is the process of rank 0. It starts the others of its machine, which take the same steps with their
shares of the images and write nothing; only it writes the run directory, and speaks.
"""

import contextlib
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import torch
import torch.distributed as dist
from lightning_fabric.plugins.environments import (
    ClusterEnvironment,
    LightningEnvironment,
    SLURMEnvironment,
    TorchElasticEnvironment,
)
from omegaconf import DictConfig
from pytorch_lightning.strategies import ParallelStrategy

import headstart
from headstart import ranks
from headstart.errors import ConfigError, HeadstartError
from headstart.workers import usable_cores

log = logging.getLogger(__name__)
HERE = "127.0.0.1"
READY, GO = b"r", b"g"
PATIENCE = timedelta(days=1)  # for a peer that computes features; one that dies is seen at once
LAST_WORDS = 5.0  # seconds for a process to end after its connection was cut
_JOINED = [0]  # how often this process has met others in a store that outlives the run
_STARTED_AS = [0]  # its rank, if a run has started it


class StartedHere(LightningEnvironment):
    """The ranks that the run starts itself: Lightning is to start none."""

    @property
    def creates_processes_externally(self) -> bool:
        """Yes, as far as Lightning is concerned."""
        return True

    def local_rank(self) -> int:
        """0 in the run's own process."""
        return _STARTED_AS[0]

    def node_rank(self) -> int:
        """There is one machine."""
        return 0


def environment() -> ClusterEnvironment:
    """Who started the ranks: torchrun, srun, or else this run. Raises ConfigError for a job that cannot be read."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and SLURMEnvironment.detect():
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise ConfigError(f"srun: {str(error).splitlines()[0]}") from error
    return StartedHere()


def started_elsewhere(env: ClusterEnvironment) -> bool:
    """Whether all ranks exist already."""
    return not isinstance(env, StartedHere)


def follows() -> bool:
    """Whether this process is one of the ranks above 0, which write nothing."""
    env = environment()
    return env.global_rank() > 0 if started_elsewhere(env) else env.local_rank() > 0


def check_world(trainer: Any, settings: DictConfig) -> None:
    """Raise ConfigError unless there is a process for every device of the trainer, and a strategy for several."""
    env = environment()
    wanted = trainer.num_devices * trainer.num_nodes
    if started_elsewhere(env) and env.world_size() != wanted:
        raise ConfigError(
            f"trainer.devices={trainer.num_devices} on trainer.num_nodes={trainer.num_nodes} is {wanted} in all, but"
            f" {env.world_size()} processes were started; the two have to agree (with trainer=ddp)."
        )
    if wanted > 1 and settings.get("strategy") is None:
        raise ConfigError(
            f"trainer.devices: trainer=default takes one device, not {wanted}; use trainer=ddp, or trainer.devices=1."
        )
    if not started_elsewhere(env) and trainer.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer.num_nodes}: a run on several machines is started on each of them, by torchrun"
            " or srun; on one machine use trainer.num_nodes=1."
        )


def on_one_device(settings: DictConfig) -> None:
    """Change the trainer's settings so that one process does all, whatever a run was made with; in place."""
    for name in ("strategy", "num_nodes", "sync_batchnorm"):
        settings.pop(name, None)
    settings.devices = 1


class ProcessGroup:
    """The processes of a run, from their start to their end: a context around everything that they do together."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.children: list[Child] = []
        self.store: Any = None
        self.threads = torch.get_num_threads()

    def __enter__(self) -> "ProcessGroup":
        return self

    def start(self, trainer: Any) -> None:
        """Start the other ranks of this machine, unless they exist; they read their settings when told to go on."""
        if not isinstance(trainer.strategy, ParallelStrategy) or started_elsewhere(environment()) or follows():
            return
        self.store = dist.TCPStore(HERE, 0, trainer.world_size, is_master=True, wait_for_workers=False)
        for number in range(1, trainer.world_size):
            self.children.append(Child(self.directory, number, trainer.world_size, self.store.port))

    def join(self, trainer: Any, ready: Callable[[], object] = lambda: None) -> None:
        """Wait until every rank is there; from here on they act together. Raises HeadstartError if one is not.

        ``ready`` is called before the others are waited for.
        """
        if not isinstance(trainer.strategy, ParallelStrategy):
            return
        ready()
        for child in self.children:
            child.go_on()
        for child in self.children:
            child.wait_until_ready()
        ranks.set_neighbours(trainer.num_devices)
        device = trainer.strategy.root_device
        if device.type == "cpu":
            torch.set_num_threads(max(1, usable_cores() // trainer.num_devices))
        else:
            torch.cuda.set_device(device)
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            store=self.store or _meeting_place(trainer),
            rank=trainer.global_rank,
            world_size=trainer.world_size,
            timeout=PATIENCE,
            device_id=device if device.type == "cuda" else None,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for child in self.children:
                    child.finish()
            elif isinstance(error, RuntimeError):  # as when a connection breaks
                for child in self.children:
                    if (reason := child.reason()) is not None:
                        raise HeadstartError(reason) from error
        finally:
            for child in self.children:
                child.end()
            if dist.is_initialized():
                dist.destroy_process_group()
            ranks.set_neighbours(1)
            torch.set_num_threads(self.threads)


class Child:
    """A rank that the run has started: it ends when its pipe is closed, however the run ends."""

    def __init__(self, directory: Path, number: int, world: int, port: int) -> None:
        self.number, self.world = number, world
        self.log = directory / f"rank{number}.log"
        told: dict[str, object] = {"RANK": number, "LOCAL_RANK": number, "NODE_RANK": 0, "WORLD_SIZE": world}
        told |= {"MASTER_ADDR": HERE, "MASTER_PORT": port}
        code = [str(Path(headstart.__file__).absolute().parents[1]), os.environ.get("PYTHONPATH", "")]
        told["PYTHONPATH"] = os.pathsep.join(filter(None, code))  # the same code as here, wherever that came from
        ours, theirs = os.pipe()
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headstart.training.following", str(directory), str(theirs)],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **{name: str(value) for name, value in told.items()}},
                pass_fds=[theirs],
            )
        os.close(theirs)
        self.answers: IO[bytes] = os.fdopen(ours, "rb", buffering=0)

    def go_on(self) -> None:
        """Let it read its settings: the run's own process has refused nothing."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # told below
            self.process.stdin.write(GO)
            self.process.stdin.flush()

    def wait_until_ready(self) -> None:
        """Raise HeadstartError if it ends before."""
        if self.answers.read(1) != READY:
            self.process.wait()
            raise HeadstartError(self.reason() or self.told("went away"))

    def finish(self) -> None:
        """Wait for its end. Raises HeadstartError if that is a bad one."""
        if self.process.wait() != 0:
            raise HeadstartError(self.reason() or self.told("went away"))

    def reason(self) -> str | None:
        """Why it has ended, in a sentence; None where it lives, or has ended well."""
        try:
            code = self.process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            return None
        if code == 0:
            return None
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return self.told(f"was killed by signal {-code}" if code < 0 else f"failed: {lines[-1] if lines else code}")

    def told(self, what: str) -> str:
        """A sentence about it."""
        return f"Process {self.number} of the run's {self.world} (counted from 0) {what}; {self.log} has what it said."

    def end(self) -> None:
        """Whatever it does, leave nothing of it behind but words."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.answers.close()
        if self.log.exists() and not self.log.stat().st_size:
            self.log.unlink()


def _meeting_place(trainer: Any) -> Any:
    """The store where ranks find each other: of the process that started this one, or of torchrun, or of srun."""
    env = environment()
    if not started_elsewhere(env):
        return dist.TCPStore(HERE, int(os.environ["MASTER_PORT"]), trainer.world_size, is_master=False)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = env.main_address, str(env.main_port)
    store = next(iter(dist.rendezvous("env://", rank=env.global_rank(), world_size=env.world_size())))[0]
    _JOINED[0] += 1  # what an earlier run of a sweep has left in it is of no use
    return dist.PrefixStore(f"run{_JOINED[0]}", store)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Nothing that headstart logs is shown meanwhile: the leader says the same."""
    logger, nothing = logging.getLogger("headstart"), logging.NullHandler()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(nothing)
    try:
        yield
    finally:
        logger.removeHandler(nothing)
        logger.propagate = before
