"""Test failures of the machine: a run ends clearly or recovers, and finished results are kept."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import SMALLEST, TINY, digits, make_strategy, make_trainer, runs_below, toy_backbone  # noqa: F401
from omegaconf import OmegaConf

from headstart.cli import main
from headstart.crashes import crash_of, happens_again
from headstart.errors import CrashError, HeadstartError
from headstart.strategies import FinetuneAll, Strategy
from headstart.training import checkpoints
from headstart.training.prepare import prepare

TUNED = ["train", *SMALLEST, *TINY, "strategy=finetune_all", "strategy.batch_norm=frozen", "dataset.batch_size=24"]


class SmallDevice:
    """A device with memory to train on this number of images at once."""

    def __init__(self, room: int) -> None:
        self.room, self.refused = room, 0
        self.plain = Strategy.features

    def features(self, strategy: Strategy, inputs: torch.Tensor, entry: int = 0) -> torch.Tensor:
        if strategy.training and len(inputs) > self.room:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return self.plain(strategy, inputs, entry)


@pytest.mark.slow
def test_a_batch_in_parts_makes_the_same_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    assert main([*TUNED, "output_dir=whole"]) == 0
    device = SmallDevice(6)
    monkeypatch.setattr(Strategy, "features", lambda *args: device.features(*args))
    assert main([*TUNED, "output_dir=parts", "trainer.auto_batch=true"]) == 0
    assert device.refused == 2  # 24 and 12 images did not fit
    whole, parts = (runs_below(Path(folder))[0] for folder in ("whole", "parts"))
    assert whole["config_hash"] == parts["config_hash"]
    assert parts["batch_parts"] == 4
    assert "batch_parts" not in whole
    for name, value in whole["metrics"].items():
        assert parts["metrics"][name] == pytest.approx(value, abs=1e-4), name


def test_without_auto_batch_a_run_ends_when_memory_runs_out(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    device = SmallDevice(6)
    monkeypatch.setattr(Strategy, "features", lambda *args: device.features(*args))
    assert main([*TUNED, "output_dir=o", "sweep.retry=0"]) == 1
    said = capsys.readouterr().err
    assert "trainer.auto_batch=true" in said
    assert "Traceback" not in said
    assert runs_below(Path("o"))[0]["status"] == "failed"


def test_a_loss_that_is_nan_ends_the_run_with_step_and_group(tmp_path: Path, digits: Any) -> None:  # noqa: F811
    strategy = make_strategy(FinetuneAll)

    def spoil(step: int) -> None:
        if step == 2:
            with torch.no_grad():
                next(iter(strategy.backbone.stages["stage2"].parameters())).fill_(torch.nan)

    plain = strategy.on_train_batch_start
    strategy.on_train_batch_start = lambda batch, idx: (plain(batch, idx), spoil(idx))[0]  # type: ignore[method-assign]
    with pytest.raises(HeadstartError, match=r"at step 3, in epoch 1, the loss is nan; weights of backbone are no"):
        strategy.fit(make_trainer(tmp_path), digits)


def test_divergence_by_a_high_rate_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    wild = ["strategy=head_only", "optimizer=sgd", "optimizer.lr=1e38"]
    assert main(["train", *SMALLEST, *TINY, *wild, "output_dir=o"]) == 2
    assert "Training diverged: at step" in capsys.readouterr().err
    (found,) = runs_below(Path("o"))
    assert found["status"] == "failed"
    assert "head" in found["error"]["message"]


def test_divergence_in_the_last_step_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    step = ["optimizer=sgd", "optimizer.lr=1e30", "dataset.batch_size=512", "trainer.max_epochs=1"]
    assert main(["train", *SMALLEST, *TINY, "strategy=finetune_all", *step]) == 2
    assert "Training diverged: after epoch 1 the validation loss is" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_is_reported_by_checkpoints_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch's own message would name a failed check in its writer."""

    @contextmanager
    def full(path: Path, durable: bool = False) -> Iterator[Any]:
        with Path("/dev/full").open("wb", buffering=0) as file:
            yield file

    monkeypatch.setattr(checkpoints, "atomic_file", full)
    with pytest.raises(OSError, match="No space left") as told:
        checkpoints.AtomicCheckpoints().save_checkpoint({"weights": torch.zeros(1000)}, tmp_path / "a.ckpt")
    assert told.value.errno == errno.ENOSPC
    assert "the disk is full" in str(crash_of(told.value))


def test_a_full_disk_ends_a_run_in_a_sentence_and_the_next_try_resumes(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "somewhere")

    with monkeypatch.context() as patch:
        patch.setattr("headstart.training.run.keep_network", full)
        assert main(["train", *SMALLEST, *TINY, "output_dir=o", "sweep.retry=0"]) == 1
    said = capsys.readouterr().err
    assert "the disk is full ('somewhere')" in said
    assert "Traceback" not in said
    assert main(["train", *SMALLEST, *TINY, "output_dir=o"]) == 0
    (found,) = runs_below(Path("o"))  # in the same directory
    assert found["status"] == "finished"


def test_a_folder_that_cannot_be_written_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").write_text("in the way")
    assert main(["train", *SMALLEST, *TINY, "output_dir=file/runs"]) == 1
    said = capsys.readouterr().err
    assert "a part of its path is a file" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (MemoryError(), "memory is used up"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:121] DefaultCPUAllocator: can't allocate memory"), "memory is"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly"), "num_workers"),
        (RuntimeError("shape mismatch"), None),
        (FileNotFoundError(errno.ENOENT, "No such file"), None),
    ],
)
def test_errors_of_machine_and_settings_are_no_bugs(error: Exception, words: str | None) -> None:
    crash = crash_of(error)
    assert (crash is None) if words is None else (words in str(crash))


@pytest.mark.slow
def test_a_worker_that_is_killed_ends_the_run_in_a_sentence(
    make_folder: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = make_folder({"train/a": 8, "train/b": 8, "test/a": 2, "test/b": 2})
    monkeypatch.setattr("headstart.augmentations.CropResize.apply", _dies)
    tiny = [setting for setting in TINY if "counts" not in setting and "workers" not in setting]
    own = ["dataset=image_folder", f"dataset.root={root}", "dataset.num_workers=1", "augmentation=crop_resize"]
    assert main(["train", *tiny, *own, "output_dir=o", "sweep.retry=0", "logger=csv"]) == 1
    said = capsys.readouterr().err
    assert "A process that loads images has died" in said
    assert "Traceback" not in said


def _dies(*args: object) -> None:
    os._exit(9)


@pytest.mark.parametrize(
    ("error", "making", "again"),
    [
        (HeadstartError("wrong"), False, True),
        (TypeError("wrong"), True, True),
        (RuntimeError("wrong"), True, True),
        (RuntimeError("wrong"), False, False),
        (CrashError("the disk"), True, False),
        (ConnectionError("no network"), True, False),
        (MemoryError(), True, False),
    ],
)
def test_only_errors_that_may_pass_are_tried_again(
    error: Exception, making: bool, again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr("headstart.training.prepare.check_settings", fail)
    with pytest.raises(type(error)) as caught:
        prepare(OmegaConf.create({}), Path()) if making else fail()
    assert happens_again(caught.value) is again


@pytest.mark.parametrize("where", ["training.compose.make_strategy", "strategies.GradientStrategy.fit"])
def test_a_run_that_fails_while_it_is_made_is_tried_once(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    tries: list[int] = []

    def fail(*args: object) -> None:
        tries.append(1)
        raise TypeError("a setting that nobody has looked at")

    monkeypatch.setattr(f"headstart.{where}", fail)
    assert main(["train", *SMALLEST, *TINY, "output_dir=o"]) == 1
    assert len(tries) == (1 if "make" in where else 2)
