"""Test that processes end with the process that they work for."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SMALLEST, TINY
from forking import Server

from headstart import orphans

LONG = 90.0  # seconds until a busy machine has started everything
WATCHED = """
import os, signal, sys, time
from headstart.orphans import end_with
signal.signal(signal.SIGTERM, lambda *_: print("asked", flush=True))
end_with(int(sys.argv[1]) or os.getppid(), last_step=float(sys.argv[2]))
print(os.getpid(), flush=True)
while True: time.sleep(0.1)
"""
STARTS = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", *sys.argv[1:]])
child.wait()
"""


def lives(pid: int) -> bool:
    """Return whether a process runs; one that nobody waited for does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def offspring(pid: int) -> set[int]:
    """Return every process started by this one, directly or not."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
        except (FileNotFoundError, ProcessLookupError):
            continue
    found, new = set(), {pid}
    while new:
        new = {child for child, parent in parents.items() if parent in new}
        found |= new
    return found


def until(condition, seconds: float) -> bool:
    """Wait for a condition."""
    end = time.monotonic() + seconds
    while not (met := condition()) and time.monotonic() < end:
        time.sleep(0.1)
    return bool(met)


@pytest.mark.parametrize(("parent", "last_step", "said"), [("0", "0.5", "asked\n"), ("0", "0", ""), ("1", "0", None)])
def test_a_process_ends_with_the_parent_that_it_works_for(parent: str, last_step: str, said: str | None) -> None:
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTS, WATCHED, parent, last_step], stdout=subprocess.PIPE, text=True
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    starter.kill()
    starter.wait()
    if said is None:  # it works for another one
        assert not until(lambda: not lives(pid), orphans.EVERY + 1)
        os.kill(pid, signal.SIGKILL)
    else:
        assert until(lambda: not lives(pid), orphans.EVERY + 5)
        assert starter.stdout.read() == said


@pytest.mark.slow
def test_a_killed_sweep_leaves_no_job(tmp_path: Path, warm: Server) -> None:
    words = [*TINY, *SMALLEST, "-m", "seed=0,1", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    words += ["strategy=finetune_all", "trainer.max_epochs=1000", f"output_dir={tmp_path}"]
    words += ["dataset.num_workers=1"]
    with Path("said").open("w") as said:
        command = [sys.executable, "-m", "headstart.cli", "train", *words]
        sweep = warm.popen(command, stdout=said, stderr=said)
    jobs: set[int] = set()
    try:
        # Two jobs, joblib's tracker of resources, and a loader for each job.
        assert until(lambda: len(offspring(sweep.pid)) >= 5, LONG), Path("said").read_text()
        jobs = offspring(sweep.pid)
        sweep.kill()
        sweep.wait()
        assert until(lambda: not any(map(lives, jobs)), 10.0)
    finally:
        for pid in {sweep.pid, *jobs}:
            if lives(pid):
                os.kill(pid, signal.SIGKILL)
