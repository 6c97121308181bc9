"""Test that the time in which a run was suspended does not count as waiting for images."""

import os
import queue
import signal
import time
from multiprocessing import get_context
from typing import Any

import pytest
import torch
from torch.utils.data import Dataset

from headstart.data import loader
from headstart.data.loader import PatientLoader, SteppedLoaderIterator


class Gives:
    """A queue that gives a batch after this number of empty steps."""

    def __init__(self, empty: int) -> None:
        self.empty = empty
        self.waited: list[float] = []

    def get(self, timeout: float) -> str:
        self.waited.append(timeout)
        if len(self.waited) <= self.empty:
            raise queue.Empty
        return "batch"


@pytest.mark.parametrize(("empty", "found", "steps"), [(0, True, 1), (1, True, 2), (119, True, 120), (120, False, 120)])
def test_the_loader_waits_in_steps(empty: int, found: bool, steps: int) -> None:
    waiting: Any = object.__new__(SteppedLoaderIterator)
    waiting._data_queue, waiting._workers, waiting._workers_status, waiting._shutdown = Gives(empty), [], [], True
    assert waiting._try_get_data(600) == (found, "batch" if found else None)
    assert waiting._data_queue.waited == [loader.STEP] * steps


class Slow(Dataset[torch.Tensor]):
    def __len__(self) -> int:
        return 1

    def __getitem__(self, index: int) -> torch.Tensor:
        time.sleep(1.5)
        return torch.ones(1)


def _load(answers: Any) -> None:
    os.setpgid(0, 0)
    loader.STEP = 0.25
    slow: Any = PatientLoader(Slow(), num_workers=1, timeout=3)  # type: ignore[arg-type]
    answers.put("begun")
    try:
        answers.put([batch.tolist() for batch in slow])
    except RuntimeError as error:
        answers.put(str(error))


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="nothing can be stopped here")
def test_time_in_which_the_run_was_stopped_does_not_count() -> None:
    context = get_context("fork")
    answers = context.Queue()
    process = context.Process(target=_load, args=(answers,))
    process.start()
    assert answers.get(timeout=60) == "begun"
    time.sleep(0.7)
    os.killpg(process.pid or 0, signal.SIGSTOP)
    time.sleep(3.5)
    os.killpg(process.pid or 0, signal.SIGCONT)
    assert answers.get(timeout=60) == [[[1.0]]]
    process.join()
