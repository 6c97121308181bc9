"""Test that the fuzzer finds hangs, crashes and tracebacks, repeats its cases, and finds none in a small round."""

import importlib.util
import math
import os
import re
import shutil
import signal
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import made_runs
import numpy as np
import pytest
from conftest import CHECKOUT
from forking import Server
from hypothesis import given, settings
from hypothesis import strategies as st


def load() -> ModuleType:
    sys.path.append(str(CHECKOUT / "scripts"))  # where the script finds what lies beside it
    spec = importlib.util.spec_from_file_location("fuzz", CHECKOUT / "scripts" / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["fuzz"] = module  # where dataclasses look
    spec.loader.exec_module(module)
    return module


fuzz = load()
damage: Any = sys.modules["damage"]


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


@settings(deadline=None)
@given(st.integers(0, 10_000))
def test_a_case_depends_on_its_number_only(number: int) -> None:
    made = []
    for _ in range(2):
        rng = np.random.default_rng([0, 0, number])
        content, suffix = fuzz.seed_image(rng)
        made.append((suffix, fuzz.mutated(content, rng)))
    assert made[0] == made[1]


def test_thirty_images(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--images", "30", "--configs", "0", "--runs", "0", "--seed", "1"]) == 0
    output = capfd.readouterr().out
    assert output.startswith("images: 30 cases, ")
    assert output.endswith(" 0 hangs, 0 tracebacks\n")
    assert " 0 well" not in output
    assert " 0 refused" not in output


@pytest.mark.slow
def test_ten_configs(capfd: pytest.CaptureFixture[str]) -> None:
    assert fuzz.main(["--images", "0", "--configs", "10", "--runs", "0", "--seed", "1"]) == 0, capfd.readouterr().out
    assert capfd.readouterr().out.endswith(" 0 hangs, 0 tracebacks\n")


def test_each_damage_is_another(tmp_path: Path) -> None:
    entries = damage.catalogue()
    assert math.gcd(len(entries), damage.STRIDE) == 1
    names = [f"{file}: {kind}" for file, kind, _ in entries]
    assert len(set(names)) > 0.95 * len(names)  # the settings of a stranger go by their key
    whole = made_runs.write_tested_run(tmp_path / "whole", "scratch", 0, np.array([True, False, True]))
    for number in range(0, len(entries), 5):
        if not (whole / entries[damage.STRIDE * number % len(entries)][0]).is_file():
            continue  # a run by hand has not all files
        made = []
        for part in "ab":
            run = Path(shutil.copytree(whole, tmp_path / f"{number}{part}" / "run"))
            made.append((damage.damage(run, number, 0), contents(run.parent)))
        assert made[0] == made[1]


def contents(folder: Path) -> dict[str, bytes | str]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.stat().st_size < 10**7 else "large"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink()
    }


@pytest.mark.parametrize(
    ("word", "outcome", "wrong"),
    [
        ("report", fuzz.Outcome(0, "", 4, 2**20), None),
        ("report", fuzz.Outcome(2, "headstart: no.\n"), "one damaged run stopped the command: headstart: no."),
        ("diff", fuzz.Outcome(2, "headstart: no.\n"), None),
        ("diff", fuzz.Outcome(2, "headstart: no.\n", 6.0), "6.0 s"),
        ("explain", fuzz.Outcome(0, "", 60.0, 2**40), None),
        ("explain", fuzz.Outcome(2, "headstart: no.\n", 1.0, 2**30), "1024 MB"),
        ("explain", fuzz.Outcome(None, ""), "hang"),
    ],
)
def test_what_is_wrong_with_reading(word: str, outcome: Any, wrong: str | None) -> None:
    assert fuzz.complaint_about_reading(word, outcome) == wrong


@pytest.mark.slow
def test_a_damaged_run(warm: Server) -> None:
    options = ["--images", "0", "--configs", "0", "--runs", "1", "--seconds", "60"]
    command = [sys.executable, str(CHECKOUT / "scripts" / "fuzz.py"), *options]
    done = warm.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("runs: 1 damaged directories, 0 failures\n")
    for word in fuzz.COMMANDS:
        assert re.search(rf"^ *{word} +\d+ +\d+ +0 +0 +0 +0 ", done.stdout, re.MULTILINE), done.stdout
