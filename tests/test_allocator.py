"""Test whether freed memory stays in the process."""

import platform

import pytest
from conftest import answer_of

from headstart import allocator

CODE = """
import resource
from headstart.allocator import keep_freed_memory
print(keep_freed_memory({wanted}))
import torch
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for number in range(5):
        del [torch.ones(100_000 * size + number * 1000) for size in range(1, 20)][:]
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(min(faults() for _ in range(6)))
"""
PAGES = 5 * 100_000 * 4 * sum(range(1, 20)) // 4096  # that the tensors of a call of faults() fill


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries are left as they are")
def test_freed_memory_is_used_again() -> None:
    for wanted in (True, False):
        effective, faults = answer_of(CODE.format(wanted=wanted)).split()
        assert effective == "True"
        assert int(faults) < PAGES / 20 if wanted else int(faults) > PAGES / 2


def test_other_systems_are_left_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    assert not allocator.keep_freed_memory(True)
