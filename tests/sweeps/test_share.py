"""Test that parallel jobs have their own cores and GPUs, wait for them, and free them even when killed."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from headstart.sweeps import share

LISTED = """GPU 0: NVIDIA A100 (UUID: GPU-aaaa-1)
GPU 1: NVIDIA A100 (UUID: GPU-bbbb-2)
  MIG 1g.5gb     Device  0: (UUID: MIG-cccc-3)
  MIG 1g.5gb     Device  1: (UUID: MIG-dddd-4)
"""
JOBLIB = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": 2}
LOCAL = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher", "cpus_per_task": 1}
SLURM = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", "cpus_per_task": 1}
RAY = {"_target_": "hydra_plugins.hydra_ray_launcher.ray_launcher.RayLauncher", "ray": {"remote": {"num_cpus": 3}}}
BASIC = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Install a driver that lists two GPUs, the second divided in two."""
    script = tmp_path / "bin" / "nvidia-smi"
    script.parent.mkdir()
    script.write_text(f"#!/bin/sh\ncat <<END\n{LISTED}END\n")
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}:{os.environ['PATH']}")
    monkeypatch.delenv(share.VISIBLE, raising=False)


def hydra_config(launcher: dict[str, object], mode: str = "MULTIRUN") -> object:
    return OmegaConf.create({"mode": mode, "launcher": launcher})


def cores_of(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr(share, "core_numbers", lambda: set(range(count)))


@given(present=st.integers(1, 12), taken=st.lists(st.integers(1, 4), max_size=4), gpus=st.integers(0, 3))
def test_what_is_leased_is_nobody_elses(present: int, taken: list[int], gpus: int, tmp_path_factory: object) -> None:
    locks = tmp_path_factory.mktemp("locks")  # type: ignore[attr-defined]
    cores, names = set(range(10, 10 + present)), [f"GPU-{n}" for n in range(gpus)]
    held: list[share.Share] = []

    def more(rest: list[int]) -> None:
        free = present - sum(len(one.cores) for one in held)
        if not rest or rest[0] > free or len(held) >= gpus > 0:
            return
        with share.leased(cores, rest[0], names, 1, locks) as got:
            assert len(got.cores) == rest[0]
            assert set(got.cores) <= cores
            assert len(got.gpus) == min(1, gpus)
            assert not any(set(got.cores) & set(one.cores) or set(got.gpus) & set(one.gpus) for one in held)
            held.append(got)
            more(rest[1:])
            held.pop()

    more(taken)
    with share.leased(cores, present, names, gpus, locks) as everything:  # all of it was given back
        assert set(everything.cores) == cores
        assert list(everything.gpus) == names


def test_more_than_there_is_is_all_there_is(tmp_path: Path) -> None:
    with share.leased({4, 5}, 8, ["GPU-1"], 2, tmp_path) as got:
        assert got == share.Share((4, 5), ("GPU-1",))


def test_a_job_waits_until_another_ends(tmp_path: Path) -> None:
    got: list[share.Share] = []

    def second() -> None:
        with share.leased({0, 1}, 2, locks=tmp_path) as mine:
            got.append(mine)

    with share.leased({0, 1}, 1, locks=tmp_path):
        waiting = threading.Thread(target=second)
        waiting.start()
        time.sleep(0.5)
        assert not got
    waiting.join(timeout=10)
    assert got == [share.Share((0, 1))]


def test_a_killed_job_holds_nothing(tmp_path: Path) -> None:
    code = (
        "import sys, time, pathlib; from headstart.sweeps.share import leased\n"
        "with leased({0}, 1, locks=pathlib.Path(sys.argv[1])): print('mine', flush=True); time.sleep(60)"
    )
    job = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert job.stdout is not None
    assert job.stdout.readline() == "mine\n"
    job.kill()
    job.wait()
    with share.leased({0}, 1, locks=tmp_path) as got:
        assert got.cores == (0,)


@pytest.mark.parametrize(
    ("launcher", "cores", "wanted"),
    [
        (JOBLIB, 8, 4),
        (JOBLIB | {"n_jobs": -1}, 8, 1),
        (JOBLIB | {"n_jobs": -7}, 8, 4),
        (JOBLIB | {"n_jobs": 3}, 2, 1),
        (LOCAL | {"cpus_per_task": 3}, 8, 3),
        (LOCAL | {"cpus_per_task": 9}, 8, 8),
        (RAY, 8, 3),
        (SLURM, 8, 1),
    ],
)
def test_cores_of_a_job(launcher: dict[str, object], cores: int, wanted: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cores_of(monkeypatch, cores)
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    assert share.cores_wanted(launcher) == wanted


def test_slurm_says_how_many_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    cores_of(monkeypatch, 8)
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "6")
    assert share.cores_wanted(SLURM) == 6


@pytest.mark.parametrize(("cores", "jobs", "each"), [(1, 1, 1), (2, 2, 1), (4, 2, 2), (8, 2, 4), (64, 16, 4)])
def test_how_many_jobs_suit_a_machine(cores: int, jobs: int, each: int, monkeypatch: pytest.MonkeyPatch) -> None:
    cores_of(monkeypatch, cores)
    monkeypatch.setattr(share, "visible_gpus", list)
    assert (share.jobs_at_once(), share.cores_a_job()) == (jobs, each)


@pytest.mark.usefixtures("nvidia_smi")
def test_one_job_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    cores_of(monkeypatch, 64)
    assert (share.jobs_at_once(), share.cores_a_job(), share.gpus_a_job()) == (3, 21, 1)


@pytest.mark.usefixtures("nvidia_smi")
@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, ["GPU-aaaa-1", "MIG-cccc-3", "MIG-dddd-4"]),
        ("", []),
        ("0", ["GPU-aaaa-1"]),
        ("GPU-aaaa-1, MIG-dddd-4", ["GPU-aaaa-1", "MIG-dddd-4"]),
        ("0,-1,2", ["GPU-aaaa-1"]),
        ("7", []),
    ],
)
def test_gpus_are_found_without_torch(visible: str | None, found: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if visible is not None:
        monkeypatch.setenv(share.VISIBLE, visible)
    assert share.visible_gpus() == found


def test_gpus_without_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(share.VISIBLE, raising=False)
    monkeypatch.setattr(share, "DRIVER", tmp_path / "gpus")
    assert share.visible_gpus() == []
    for slot in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / "gpus" / slot).mkdir(parents=True)
        (tmp_path / "gpus" / slot / "information").write_text(f"Model: A100\nGPU UUID:\t GPU-{slot[6]}-x\n")
    assert share.visible_gpus() == ["GPU-1-x", "GPU-2-x"]


@pytest.mark.parametrize(
    ("trainer", "wanted"),
    [
        ({"accelerator": "cpu"}, 0),
        ({"accelerator": "auto", "devices": 1}, 1),
        ({"devices": 2}, 2),
        ({"devices": "auto"}, 1),
    ],
)
def test_gpus_of_a_job(trainer: dict[str, object], wanted: int) -> None:
    assert share.gpus_wanted(trainer) == wanted


@pytest.mark.parametrize(("launcher", "mode"), [(BASIC, "MULTIRUN"), (JOBLIB, "RUN")])
def test_one_run_after_the_other_changes_nothing(launcher: dict[str, object], mode: str, tmp_path: Path) -> None:
    before = dict(os.environ), share.core_numbers()
    with share.shared(hydra_config(launcher, mode), {}, tmp_path) as got:
        assert got is None
        assert (dict(os.environ), share.core_numbers()) == before
    assert not list(tmp_path.iterdir())


def test_a_job_keeps_to_its_cores_with_all_its_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cores = share.core_numbers()
    if len(cores) < 2:
        pytest.skip("one core cannot be shared")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    done, seen = threading.Event(), []
    older = threading.Thread(target=lambda: (done.wait(), seen.append(share.core_numbers())))  # type: ignore[func-returns-value]
    older.start()
    with share.shared(hydra_config(JOBLIB | {"n_jobs": len(cores)}), {"accelerator": "cpu"}, tmp_path) as got:
        assert got is not None
        assert share.core_numbers() == set(got.cores)
        assert len(got.cores) == 1
        assert os.environ["OMP_NUM_THREADS"] == "1"
        done.set()
        older.join()
    assert seen == [set(got.cores)]
    assert share.core_numbers() == cores
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.usefixtures("nvidia_smi")
def test_jobs_side_by_side_have_different_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(share.VISIBLE, "0,2")
    share.remember_gpus()
    monkeypatch.setenv("SUBMITIT_EXECUTOR", "local")
    monkeypatch.setenv(share.VISIBLE, "")  # what submitit's local executor shows to its jobs
    config = hydra_config(LOCAL)
    seen = []
    with share.shared(config, {"devices": 1}, tmp_path / "a") as one:
        seen.append(os.environ[share.VISIBLE])
        with share.leased(set(), 0, ["GPU-aaaa-1", "MIG-dddd-4"], 1, tmp_path / "a") as other:
            assert one is not None
            assert {*one.gpus, *other.gpus} == {"GPU-aaaa-1", "MIG-dddd-4"}
    assert seen == ["GPU-aaaa-1"]


@pytest.mark.usefixtures("nvidia_smi")
def test_a_job_on_the_cpu_sees_no_gpu(tmp_path: Path) -> None:
    with share.shared(hydra_config(LOCAL), {"accelerator": "cpu"}, tmp_path) as got:
        assert got is not None
        assert got.gpus == ()
        assert os.environ[share.VISIBLE] == ""
