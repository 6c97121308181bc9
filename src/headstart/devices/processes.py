"""Manage the processes of one run on several devices, started here or earlier by torchrun or srun.

The run itself is the process of rank 0. It starts the other ranks of its machine. They take the same steps with their
part of the images. Only rank 0 writes the run directory and logs.
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
PATIENCE = timedelta(days=1)  # a peer may compute features for long; a dead one is noticed at once
EXIT_TIMEOUT = 5.0  # seconds in which a process must end after its connection was cut
_JOINED = [0]  # how many process groups used the same store, which outlives a run
_STARTED_AS = [0]  # this process's rank, if a run started it


class StartedHere(LightningEnvironment):
    """The environment of ranks that the run starts itself; Lightning must start none."""

    @property
    def creates_processes_externally(self) -> bool:
        """Return True, so that Lightning starts no processes."""
        return True

    def local_rank(self) -> int:
        """Return the rank; 0 in the run's own process."""
        return _STARTED_AS[0]

    def node_rank(self) -> int:
        """Return 0, as there is one machine."""
        return 0


def environment() -> ClusterEnvironment:
    """Return the environment of torchrun, of srun, or of this run. Raises ConfigError for an invalid srun job."""
    if TorchElasticEnvironment.detect():
        return TorchElasticEnvironment()
    if int(os.environ.get("SLURM_NTASKS", 1)) > 1 and SLURMEnvironment.detect():
        try:
            return SLURMEnvironment(auto_requeue=False)
        except RuntimeError as error:
            raise ConfigError(f"srun: {str(error).splitlines()[0]}") from error
    return StartedHere()


def started_elsewhere(env: ClusterEnvironment) -> bool:
    """Return whether torchrun or srun started all ranks."""
    return not isinstance(env, StartedHere)


def follows() -> bool:
    """Return whether this process has a rank above 0, which writes nothing."""
    env = environment()
    return env.global_rank() > 0 if started_elsewhere(env) else env.local_rank() > 0


def check_world(trainer: Any, settings: DictConfig) -> None:
    """Raise ConfigError unless there is one process per device, and a strategy for several devices."""
    env = environment()
    wanted = trainer.num_devices * trainer.num_nodes
    if started_elsewhere(env) and env.world_size() != wanted:
        raise ConfigError(
            f"trainer.devices={trainer.num_devices} on trainer.num_nodes={trainer.num_nodes} is {wanted} in all, but"
            f" {env.world_size()} processes were started; the numbers must be equal (with trainer=ddp)."
        )
    if wanted > 1 and settings.get("strategy") is None:
        raise ConfigError(
            f"trainer.devices: trainer=default takes one device, not {wanted}; use trainer=ddp, or trainer.devices=1."
        )
    if not started_elsewhere(env) and trainer.num_nodes > 1:
        raise ConfigError(
            f"trainer.num_nodes={trainer.num_nodes}: start a run for several machines on each of them, with torchrun"
            " or srun; on one machine use trainer.num_nodes=1."
        )


def on_one_device(settings: DictConfig) -> None:
    """Change the trainer's settings in place to a single process on one device."""
    for name in ("strategy", "num_nodes", "sync_batchnorm"):
        settings.pop(name, None)
    settings.devices = 1


class ProcessGroup:
    """The processes of a run, as a context around all their common work."""

    def __init__(self, directory: Path, log_name: str) -> None:
        self.directory, self.log_name = directory, log_name  # formatted with the rank
        self.children: list[Child] = []
        self.store: Any = None
        self.threads = torch.get_num_threads()

    def __enter__(self) -> "ProcessGroup":
        return self

    def start(self, trainer: Any) -> None:
        """Start the other ranks of this machine unless they exist; they wait until ``join`` lets them proceed."""
        if not isinstance(trainer.strategy, ParallelStrategy) or started_elsewhere(environment()) or follows():
            return
        self.store = dist.TCPStore(HERE, 0, trainer.world_size, is_master=True, wait_for_workers=False)
        for number in range(1, trainer.world_size):
            file = self.directory / self.log_name.format(number)
            self.children.append(Child(self.directory, file, number, trainer.world_size, self.store.port))

    def join(self, trainer: Any, ready: Callable[[], object] = lambda: None) -> None:
        """Wait until every rank is ready and connect them. Raises HeadstartError if one is missing.

        ``ready`` is called before waiting for the others.
        """
        if not isinstance(trainer.strategy, ParallelStrategy):
            return
        ready()
        for child in self.children:
            child.proceed()
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
            store=self.store or _rendezvous_store(trainer),
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
            elif isinstance(error, RuntimeError):  # a broken connection, for example
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
    """A rank that the run starts. It ends when its pipe is closed, however the run ends."""

    def __init__(self, directory: Path, output: Path, number: int, world: int, port: int) -> None:
        self.log, self.number, self.world = output, number, world
        variables: dict[str, object] = {"RANK": number, "LOCAL_RANK": number, "NODE_RANK": 0, "WORLD_SIZE": world}
        variables |= {"MASTER_ADDR": HERE, "MASTER_PORT": port}
        code = [str(Path(headstart.__file__).absolute().parents[1]), os.environ.get("PYTHONPATH", "")]
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, code))  # the same code as in this process
        ours, theirs = os.pipe()
        with self.log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headstart.training.following", str(directory), str(theirs)],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **{name: str(value) for name, value in variables.items()}},
                pass_fds=[theirs],
            )
        os.close(theirs)
        self.answers: IO[bytes] = os.fdopen(ours, "rb", buffering=0)

    def proceed(self) -> None:
        """Let it read its settings, which this process has already accepted."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # wait_until_ready reports it
            self.process.stdin.write(GO)
            self.process.stdin.flush()

    def wait_until_ready(self) -> None:
        """Wait for it; raise HeadstartError if it ends before it is ready."""
        if self.answers.read(1) != READY:
            self.process.wait()
            raise HeadstartError(self.reason() or self.described("ended early"))

    def finish(self) -> None:
        """Wait for its end; raise HeadstartError if it failed."""
        if self.process.wait() != 0:
            raise HeadstartError(self.reason() or self.described("ended early"))

    def reason(self) -> str | None:
        """Return one sentence on why it failed; None while it runs, or after it ended well."""
        try:
            code = self.process.wait(EXIT_TIMEOUT)
        except subprocess.TimeoutExpired:
            return None
        if code == 0:
            return None
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return self.described(
            f"was killed by signal {-code}" if code < 0 else f"failed: {lines[-1] if lines else code}"
        )

    def described(self, event: str) -> str:
        """Return a sentence with its rank, an event, and the path of its log."""
        return f"Process {self.number} of the run's {self.world} (counted from 0) {event}; its output is in {self.log}."

    def end(self) -> None:
        """Kill it, and delete its log if that is empty."""
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.answers.close()
        if self.log.exists() and not self.log.stat().st_size:
            self.log.unlink()


def _rendezvous_store(trainer: Any) -> Any:
    """Return the store through which ranks connect: the parent's, torchrun's, or srun's."""
    env = environment()
    if not started_elsewhere(env):
        return dist.TCPStore(HERE, int(os.environ["MASTER_PORT"]), trainer.world_size, is_master=False)
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = env.main_address, str(env.main_port)
    store = next(iter(dist.rendezvous("env://", rank=env.global_rank(), world_size=env.world_size())))[0]
    _JOINED[0] += 1  # keeps the keys of an earlier run in a sweep separate
    return dist.PrefixStore(f"run{_JOINED[0]}", store)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Hide headstart's log lines inside the block, as rank 0 logs the same."""
    logger, nothing = logging.getLogger("headstart"), logging.NullHandler()
    before, logger.propagate = logger.propagate, False
    logger.addHandler(nothing)
    try:
        yield
    finally:
        logger.removeHandler(nothing)
        logger.propagate = before
