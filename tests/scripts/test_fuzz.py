"""The fuzzer finds hangs, crashes and tracebacks, repeats its cases, and finds none in a small round."""

import importlib.util
import os
import signal
import sys
import time
from types import ModuleType

import numpy as np
import pytest
from conftest import CHECKOUT
from hypothesis import given
from hypothesis import strategies as st


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz", CHECKOUT / "scripts" / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


fuzz = load()


def fails() -> int:
    raise ZeroDivisionError("deep inside")


def crashes() -> int:
    os.kill(os.getpid(), signal.SIGUSR1)
    return 0


def mumbles() -> int:
    print("something is wrong")
    return 2


def tells() -> int:
    print("headstart: seed=x: expected a whole number.", file=sys.stderr)
    return 2


def sleeps() -> int:
    os.fork()  # what a case starts has to end with it
    time.sleep(60)
    return 0


@pytest.mark.parametrize(
    ("work", "wrong"),
    [
        (lambda: 0, None),
        (tells, None),
        (mumbles, "exit code 2 without a sentence"),
        (fails, "traceback: ZeroDivisionError: deep inside"),
        (crashes, "killed by SIGUSR1"),
        (sleeps, "hang"),
    ],
)
def test_what_is_wrong_is_found(work, wrong: str | None) -> None:  # type: ignore[no-untyped-def]
    start = time.monotonic()
    assert fuzz.complaint(fuzz.limited(work, 2)) == wrong
    assert time.monotonic() - start < 20


@given(st.integers(0, 10_000))
def test_a_case_depends_on_its_number_only(number: int) -> None:
    made = []
    for _ in range(2):
        rng = np.random.default_rng([0, 0, number])
        content, suffix = fuzz.seed_picture(rng)
        made.append((suffix, fuzz.mutated(content, rng)))
    assert made[0] == made[1]


def test_sixty_pictures(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--pictures", "60", "--configs", "0", "--seed", "1"]) == 0
    said = capfd.readouterr().out
    assert said.startswith("pictures: 60 cases, ")
    assert said.endswith(" 0 hangs, 0 tracebacks\n")
    assert " 0 well" not in said
    assert " 0 refused" not in said


@pytest.mark.slow
def test_twenty_five_configs(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--pictures", "0", "--configs", "25", "--seed", "1"]) == 0, capfd.readouterr().out
    assert capfd.readouterr().out.endswith(" 0 hangs, 0 tracebacks\n")
