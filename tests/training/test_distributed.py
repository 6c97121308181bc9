"""Test that a run on several devices gives the results of one device, and leaves no process behind."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from conftest import SMALLEST, TINY, runs_below, using_threads
from forking import Server
from hypothesis import given
from hypothesis import strategies as st
from resuming import check_equal, only_run, stop_at

from headstart import ranks
from headstart.cli import main
from headstart.data.batches import EvenBatches, batches_in_order
from headstart.devices import processes
from headstart.settings import identity
from headstart.settings.configs import composed
from headstart.training import compose
from headstart.training.prepare import run_settings

TWO = ["trainer=ddp", "trainer.devices=2"]
SHARDED = ["trainer=fsdp", "trainer.devices=2"]
ANY = [*TINY, *SMALLEST]
STORED = "strategy.batch_norm=frozen"
HEAD = ["-m", "strategy=head_only", "features.enabled=true,false", "sweep.skip_finished=false"]
ALL = ["strategy=finetune_all", STORED]
GRADUAL = ["strategy=gradual_unfreeze", STORED]
# A probe of random features has losses beyond all rounding, and steps from it are small here for the same reason.
WISE = ["strategy=wise_ft", "backbone.weights=imagenet", "optimizer.lr=1e-4", "strategy.l2=[10,1]"]
WISE += ["strategy.mixes_tried=[0,0.5,1]"]
ODD = ["dataset.counts=[6,3,3]", "dataset.batch_size=7", "optimizer=sgd", "optimizer.lr=0.01"]


@pytest.fixture
def at_once(warm: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start the other ranks as copies of a warm process, except in a test of their start and end."""
    monkeypatch.setattr(processes, "subprocess", SimpleNamespace(**vars(subprocess) | {"Popen": warm.popen}))


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Use one thread, as each of two processes does on two cores."""
    with using_threads(1):
        yield


def as_rank(monkeypatch: pytest.MonkeyPatch, number: int, world: int) -> None:
    monkeypatch.setattr(ranks, "rank", lambda: number)
    monkeypatch.setattr(ranks, "world", lambda: world)


@given(length=st.integers(4, 200), batch_size=st.integers(4, 40), world=st.integers(1, 4))
def test_every_image_goes_to_one_process_in_as_many_batches(length: int, batch_size: int, world: int) -> None:
    for in_order in (True, False):
        shares = []
        for number in range(world):
            with pytest.MonkeyPatch.context() as monkeypatch:
                as_rank(monkeypatch, number, world)
                batches = EvenBatches(length, batch_size, 3)
                shares.append(batches_in_order(length, batch_size) if in_order else batches.positions())
        if not in_order and length // len(batches) < world:  # refused before
            continue
        assert len({len(share) for share in shares}) == 1
        whole = [np.concatenate(parts) for parts in zip(*shares, strict=True)]
        assert all(len(part) for share in shares for part in share)
        assert sorted(np.concatenate(whole).tolist()) == list(range(length))
        if in_order:
            assert np.concatenate(whole).tolist() == list(range(length))
        else:  # the very batches of a single process
            alone = EvenBatches(length, batch_size, 3).positions()
            assert [batch.tolist() for batch in whole] == [batch.tolist() for batch in alone]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["trainer.devices=2"], "trainer=default takes one device, not 2; use trainer=ddp"),
        ([*TWO, "dataset.batch_size=1"], "batches of 1, too few for 2 processes"),
        ([*TWO, "strategy=linear_probe"], "strategy=linear_probe computes its head in one process"),
        ([*TWO, "trainer.strategy=dpp"], "trainer.strategy=dpp: expected ddp or fsdp"),
        ([*SHARDED, "strategy=ridge"], "strategy=ridge computes its head in one process"),
        ([*SHARDED, "strategy=l2_sp"], "the penalty of L2SP needs the weights of all stages at once"),
        ([*SHARDED, "head=cosine"], "cannot shard scale, a single number (of head=cosine)"),
        ([*SHARDED, "trainer.precision=16-mixed"], "trainer=fsdp expects 32-true or bf16-mixed"),
        ([*SHARDED, "+trainer.sync_batchnorm=true"], "trainer=fsdp has no batch norm over all processes"),
        (
            ["trainer=ddp", "trainer.devices=1", "trainer.num_nodes=2"],
            "start a run for several machines on each",
        ),
        (["trainer=ddp", "trainer.devices=49"], "batches of 24, too few for 49 processes"),
    ],
)
def test_runs_that_cannot_be_divided_are_refused(
    arguments: list[str], sentence: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(processes.ProcessGroup, "start", lambda self, trainer: None)  # none is needed to be refused
    assert main(["train", *TINY, *arguments, "output_dir=o"]) == 2
    assert sentence in capsys.readouterr().err
    assert [run["status"] for run in runs_below(Path("o"))] == ["failed"]


def test_processes_of_others_have_to_agree_with_the_devices(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 3, "TORCHELASTIC_RUN_ID": "a"}.items():
        monkeypatch.setenv(name, str(value))
    assert main(["train", *TINY, *TWO, "output_dir=o"]) == 2
    assert "trainer.devices=2 on trainer.num_nodes=1 is 2 in all, but 3 processes" in capsys.readouterr().err


def test_the_hash_does_not_depend_on_the_number_of_devices() -> None:
    hashes = {identity.config_hash(run_settings(composed([*TINY, *extra])[0])) for extra in ([], TWO, SHARDED)}
    assert len(hashes) == 1


def test_ddp_searches_for_unused_weights_only_if_there_may_be_some() -> None:
    found = {
        name: compose._device_arguments(composed([*TINY, *TWO, f"strategy={name}"])[0])["strategy"]
        for name in ("finetune_all", "gradual_unfreeze")
    }
    assert found == {"finetune_all": "ddp", "gradual_unfreeze": "ddp_find_unused_parameters_true"}


def test_alone_a_process_has_every_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dist, "is_initialized", lambda: True)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    assert (ranks.rank(), ranks.world(), ranks.key(), ranks.leads()) == (1, 2, (1,), False)
    with ranks.alone():
        assert (ranks.rank(), ranks.world(), ranks.key(), ranks.leads()) == (0, 1, (), False)
        assert [len(batch) for batch in batches_in_order(10, 4)] == [4, 4, 2]
    assert [len(batch) for batch in batches_in_order(10, 4)] == [2, 2, 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trainer", "arguments"),
    [
        *((TWO, arguments) for arguments in (HEAD, ALL, [*GRADUAL, "callbacks=ema"])),
        (TWO, [*ALL, "dataset.balance=sampler"]),
        *((SHARDED, arguments) for arguments in ([*ALL, "trainer.gradient_clip_val=0.1"], GRADUAL, WISE)),
        (SHARDED, ["strategy=bias_only", STORED, "callbacks=ema"]),
    ],
    ids=lambda arguments: " ".join(arguments),
)
@pytest.mark.usefixtures("at_once", "one_thread")
def test_two_processes_give_the_results_of_one(trainer: list[str], arguments: list[str]) -> None:
    """Batches of 7 are divided into 4 and 3, and the 36th image of a split is alone in its batch."""
    given = {setting.split("=")[0] for setting in (*ODD, *arguments)}
    tiny = [setting for setting in TINY if setting.split("=")[0] not in given]
    tiny += [] if arguments is WISE else SMALLEST
    for folder, shared_out in (("one", []), ("two", trainer)):
        assert main(["train", *tiny, *ODD, *arguments, *shared_out, f"output_dir={folder}"]) == 0
    one, two = (sorted(Path(folder).rglob("run.json")) for folder in ("one", "two"))
    assert len(one) == len(two) == (2 if "-m" in arguments else 1)
    for a, b in zip(one, two, strict=True):
        _equal(a.parent, b.parent)
        assert not list(b.parent.glob("rank*"))  # which had nothing to say
        assert {path.name for path in a.parent.iterdir()} == {path.name for path in b.parent.iterdir()}
        assert len(list(b.parent.rglob("events.out*"))) == len(list(a.parent.rglob("events.out*")))
    assert not dist.is_initialized()


@pytest.mark.slow
def test_a_sharded_run_saves_the_files_of_one_process(at_once: None) -> None:
    """best.ckpt holds complete plain tensors that another run can start from; frozen tensors are unchanged."""
    upper = [*SMALLEST, "strategy=finetune_upper", "strategy.stages=1", STORED]
    for folder, shared_out in (("one", []), ("two", SHARDED)):
        assert main(["train", *TINY[1:], *ODD, *upper, *shared_out, f"output_dir={folder}"]) == 0
    one, two = (_weights(next(Path(folder).rglob("best.ckpt"))) for folder in ("one", "two"))
    assert list(one) == list(two)
    assert all(type(tensor) is torch.Tensor and tensor.shape == one[name].shape for name, tensor in two.items())
    frozen = [name for name in two if name.startswith(("backbone.stages.stem", "backbone.stages.stage1"))]
    assert len(frozen) > 10
    assert all(torch.equal(one[name], two[name]) for name in frozen)
    assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-4
    weights = next(Path("two").rglob("best.ckpt")).absolute()
    single = [
        *SMALLEST,
        *ODD,
        "strategy=head_only",
        f"backbone.weights={weights}",
        "output_dir=three",
        "trainer.max_epochs=1",
    ]
    assert main(["train", *TINY[1:3], "trainer.accelerator=cpu", *single]) == 0
    three = _weights(next(Path("three").rglob("best.ckpt")))
    assert all(torch.equal(tensor, two[name]) for name, tensor in three.items() if name.startswith("backbone."))


@pytest.mark.slow
@pytest.mark.parametrize("shared_out", [TWO, SHARDED], ids=["ddp", "fsdp"])
def test_two_processes_resume_after_a_stop(
    shared_out: list[str], at_once: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [*ANY, *shared_out, "strategy=finetune_all", STORED, "dataset.batch_size=24", "augmentation=crop_resize"]
    assert main(["train", *few, "output_dir=a"]) == 0
    with monkeypatch.context() as patch:
        stop_at(patch, 2, "SIGTERM")  # told to the first process only
        assert main(["train", *few, "output_dir=b"]) == 143
    assert [run["status"] for run in runs_below(Path("b"))] == ["interrupted"]
    assert (only_run("b") / "checkpoints/resume.ckpt").is_file()
    assert main(["train", *few, "output_dir=b"]) == 0
    check_equal(only_run("a"), only_run("b"))


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        ["contrast", "task.hidden=0"],  # a hidden layer has batch norm, which sees the share of a process
        ["autoencoder", "task.masked=0.5", "task.noise=0.2"],
    ],
    ids=" ".join,
)
def test_two_processes_pretrain_as_one(objective: list[str], at_once: None) -> None:
    """Images of all processes are compared, and every process draws the numbers of its images."""
    few = [*TINY[1:], *SMALLEST, STORED, "dataset.counts=[4,3,3]", "dataset.batch_size=10", "optimizer=sgd"]
    for folder, shared_out in (("one", []), ("two", TWO)):
        given = [f"objective={objective[0]}", *objective[1:], *few, "optimizer.lr=0.01", *shared_out]
        assert main(["pretrain", *given, f"output_dir={folder}"]) == 0
    one, two = (next(Path(folder).rglob("run.json")).parent for folder in ("one", "two"))
    for row, other in zip(_rows(one / "metrics.csv"), _rows(two / "metrics.csv"), strict=True):
        scores = {name: float(value) for name, value in row.items() if name.startswith(("train/", "validation/"))}
        assert {name: float(other[name]) for name in scores} == pytest.approx(scores, abs=1e-4)
    a, b = (_weights(folder / "checkpoints/best.ckpt") for folder in (one, two))
    assert max(float((a[name] - b[name]).abs().max()) for name in a) < 1e-4


def _weights(path: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def _equal(one: Path, two: Path, images: int = 36) -> None:
    """Assert equal curves, scores and predictions for each image, and the same hash."""
    a, b = (_rows(folder / "metrics.csv") for folder in (one, two))
    assert len(a) == len(b) > 0
    for row, other in zip(a, b, strict=True):
        scores = [name for name in row if name.startswith(("train/", "validation/", "learning_rate/"))]
        assert len(scores) > 4
        for name in scores:
            assert float(other[name]) == pytest.approx(float(row[name]), abs=1e-4), name
    for file in ("predictions.csv", "validation_predictions.csv"):
        a, b = (_rows(folder / file) for folder in (one, two))
        assert [row["id"] for row in b] == [row["id"] for row in a]
        assert len({row["id"] for row in b}) == len(b) == images
        for row, other in zip(a, b, strict=True):
            assert other["target"] == row["target"]
            for name in list(row)[3:]:
                assert float(other[name]) == pytest.approx(float(row[name]), abs=1e-4)
    a_run, b_run = (json.loads((folder / "run.json").read_text()) for folder in (one, two))
    assert a_run["id"] == b_run["id"]
    assert b_run["metrics"] == pytest.approx(a_run["metrics"], abs=1e-4)


def _rows(path: Path) -> list[dict[str, Any]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_a_process_that_dies_ends_the_run_in_one_sentence(
    at_once: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    children: list[processes.Child] = []
    proceed = processes.Child.proceed

    def noted(child: processes.Child) -> None:
        children.append(child)
        proceed(child)

    monkeypatch.setattr(processes.Child, "proceed", noted)
    monkeypatch.setattr(
        "headstart.training.progress.EpochProgress.on_train_epoch_start", lambda *args: children[0].process.kill()
    )
    before = dict(os.environ)
    assert main(["train", *TINY, *TWO, "output_dir=o"]) == 2
    assert "Process 1 of the run's 2 (counted from 0) was killed by signal 9" in capsys.readouterr().err
    (found,) = runs_below(Path("o"))
    assert found["status"] == "failed"
    assert children[0].process.poll() is not None
    assert not dist.is_initialized()
    assert {name: os.environ.get(name) for name in before} == before
    assert not {"RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT"} & (set(os.environ) - set(before))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks Linux for the children of a process")
def test_no_process_outlives_a_run_that_is_killed(warm: Server) -> None:
    command = f"from headstart.cli import main; main({['train', *TINY, *TWO, 'trainer.max_epochs=1000']!r})"
    with Path("said.txt").open("w") as said:
        run = warm.popen([sys.executable, "-c", command], stdout=said, stderr=said)
    started = Path(f"/proc/{run.pid}/task/{run.pid}/children")
    try:
        _wait_for(lambda: " 2/1000: " in Path("said.txt").read_text())
        children = [int(pid) for pid in started.read_text().split()]
        assert children
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    _wait_for(lambda: all(_has_ended(pid) for pid in children))


def _has_ended(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def _wait_for(done: Any, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
