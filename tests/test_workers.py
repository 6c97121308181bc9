"""Test the processes that load images: errors name their first cause, and no run waits for ever."""

import errno
import os
import resource
import sys
from multiprocessing import Process
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import PREPROCESSING, SIZE
from forking import Server
from torch.utils.data import DataLoader, Dataset

from headstart.crashes import crash_of, happens_again
from headstart.data import ImageFolder
from headstart.errors import CrashError, DataError
from headstart.workers import (
    CONTEXT,
    EXIT_BASE,
    PATIENCE,
    SHORTAGES,
    as_raised,
    begin,
    causes,
    end_all,
    failure_of,
    rehearse,
)

DIED = "DataLoader worker (pid 31) exited unexpectedly with exit code {}. Details are lost due to multiprocessing."
CAUGHT = "Caught {0} in DataLoader worker process 1.\nOriginal Traceback (most recent call last):\n  File ...\n{1}\n"


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RuntimeError(DIED.format(EXIT_BASE + errno.EMFILE)), "too many files are open"),
        (RuntimeError(DIED.format(EXIT_BASE + errno.ENOSPC)), "/dev/shm"),
        (RuntimeError(DIED.format(1)), "has died"),
        (RuntimeError("DataLoader worker (pid 31) is killed by signal: Killed."), "has died"),
        (RuntimeError("DataLoader worker (pid 31) is killed by signal: Bus error. It is possible that"), "/dev/shm"),
        (RuntimeError("DataLoader timed out after 600 seconds"), "sent none within 10 minutes"),
        (RuntimeError("received 0 items of ancdata"), "too many files"),
        (RuntimeError("Too many open files. Communication with the workers is no longer possible."), "ulimit -n"),
        (RuntimeError("unable to open shared memory object </torch_1> in mode: No space left (28)"), "/dev/shm"),
        (OSError(CAUGHT.format("OSError", "OSError: [Errno 24] Too many open files: 'a.jpg'")), "too many files"),
    ],
)  # fmt: skip
def test_the_missing_resource_is_named(error: BaseException, words: str) -> None:
    crash = failure_of(error)
    assert isinstance(crash, CrashError)
    assert words in str(crash)
    assert str(crash_of(error)) == str(crash)
    assert happens_again(error) is ("dataset.num_workers=0, " not in str(crash) and "cannot work" in str(crash))


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("exit code 124"),
        OSError(errno.EMFILE, "Too many open files"),  # of no such process
        RuntimeError(CAUGHT.format("RuntimeError", "RuntimeError: exit code 3")[:6]),
        ValueError("ancdata"),
    ],
)
def test_other_errors_are_not_blamed_on_workers(error: BaseException) -> None:
    assert failure_of(error) is None


def raised(number: int) -> OSError:
    """Return the error of a process that cannot be started, raised inside multiprocessing's code."""

    def fork() -> int:
        raise OSError(number, os.strerror(number))

    before, os.fork = os.fork, fork
    try:
        Process(target=print).start()
    except OSError as error:
        return error
    finally:
        os.fork = before
    raise AssertionError


@pytest.mark.parametrize("number", sorted(SHORTAGES))
def test_the_first_cause_counts(number: int) -> None:
    def unfinished() -> None:
        try:
            raise raised(number)
        except OSError:
            raise RuntimeError("Please call `iter(combined_loader)` first.")  # noqa: B904 - as Lightning does

    with pytest.raises(RuntimeError) as found:
        unfinished()
    assert [type(cause) for cause in causes(found.value)] == [type(raised(number)), RuntimeError]
    crash = crash_of(found.value)
    assert crash is not None
    assert SHORTAGES[number][0] in str(crash)
    assert happens_again(found.value)  # under the same limits, so that it is not tried again


def test_an_error_of_the_data_keeps_its_message() -> None:
    error = DataError(CAUGHT.format("DataError", "headstart.errors.DataError: The image 'a: b' was changed."))
    assert str(as_raised(error)) == "The image 'a: b' was changed."
    assert type(as_raised(error)) is DataError
    plain = DataError("Caught")
    assert as_raised(plain) is plain
    hidden = RuntimeError("Please call `iter(combined_loader)` first.")
    hidden.__context__ = plain
    assert as_raised(hidden) is plain


def test_resources_are_tested_before_workers_start(monkeypatch: pytest.MonkeyPatch) -> None:
    rehearse(2)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(list(Path("/proc/self/fd").iterdir())) + 4, hard))
    try:
        with pytest.raises(CrashError, match="too many files are open"):
            rehearse(8)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_loaders_use_these_checks(make_folder: Any) -> None:
    data = ImageFolder(root=str(make_folder({"train/a": 4, "train/b": 4})), image_size=SIZE, num_workers=1)
    data.prepare(PREPROCESSING)
    loader = data.val_dataloader()
    assert (loader.timeout, loader.worker_init_fn) == (PATIENCE, begin)
    assert loader.multiprocessing_context is CONTEXT  # and not that of joblib, in whose processes it cannot start any


class Unsendable(Dataset[Any]):
    """A data set whose items cannot be sent, because of the error ``number``."""

    def __init__(self, number: int | None) -> None:
        self.number = number

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        return Failing(self.number)


class Failing:
    def __init__(self, number: int | None) -> None:
        self.number = number

    def __reduce__(self) -> Any:
        if self.number is None:
            raise TypeError("cannot pickle it")
        raise RuntimeError(
            f"unable to open shared memory object </torch_1>: {os.strerror(self.number)} ({self.number})"
        )


def as_it_is(batch: Any) -> Any:
    return batch


@pytest.mark.parametrize(("number", "words"), [(errno.EMFILE, "too many files are open"), (None, "has died")])
def test_no_run_waits_for_a_batch_that_cannot_be_passed_on(number: int | None, words: str) -> None:
    loader = DataLoader(Unsendable(number), num_workers=1, collate_fn=as_it_is, worker_init_fn=begin, timeout=30)
    with pytest.raises(RuntimeError) as found:
        next(iter(loader))
    assert words in str(failure_of(found.value))
    end_all()


def test_all_workers_are_ended() -> None:
    loader = DataLoader(torch.zeros(64, 1), num_workers=2, worker_init_fn=begin, timeout=30)  # type: ignore[arg-type]
    batches = iter(loader)
    next(batches)
    end_all()
    assert not [process for process in batches._workers if process.is_alive()]  # type: ignore[attr-defined]


@pytest.mark.slow
def test_too_few_files_end_the_command_in_one_sentence(make_folder: Any, tmp_path: Path, warm: Server) -> None:
    root = make_folder({"train/a": 40, "train/b": 40, "validation/a": 4, "validation/b": 4, "test/a": 4, "test/b": 4})
    words = [
        "train", "dataset=image_folder", f"dataset.root={root}", "dataset.image_size=32", "dataset.num_workers=2",
        "backbone=timm", "backbone.name=test_efficientnet", "backbone.weights=null", "strategy=finetune_all",
        "trainer.max_epochs=1", "trainer.accelerator=cpu", f"output_dir={tmp_path / 'runs'}",
    ]  # fmt: skip
    limit = "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (26, 26))"
    code = f"{limit}\nimport sys; from headstart.cli import main; sys.exit(main({words!r}))"
    done = warm.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    lines = done.stderr.splitlines()
    assert (done.returncode, [line for line in lines if "Traceback" in line]) == (1, []), done.stderr
    assert [line for line in lines if "too many files are open" in line.lower()] == lines[-1:], done.stderr
