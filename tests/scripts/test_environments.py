"""Test the script of environments: its verdicts, and one pair of each kind that can run here."""

import subprocess
import sys

import pytest
from conftest import CHECKOUT

sys.path.append(str(CHECKOUT / "scripts"))
import environments as script

SENTENCE = "a warning of a library\nheadstart: Nothing can be written.\n"


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        ((0, True, "", ""), "result"),
        ((0, False, "", ""), "FAILS: no result"),
        ((2, False, "", SENTENCE), "sentence (2)"),
        ((1, False, "", SENTENCE), "sentence (1)"),
        ((1, False, "", ""), "FAILS: 0 sentences"),
        ((1, False, "", SENTENCE * 2), "FAILS: 2 sentences"),
        ((1, False, "", SENTENCE + "Traceback (most recent call last):"), "FAILS: a traceback"),
        ((0, True, "Traceback (most recent call last):", ""), "FAILS: a traceback"),
        ((1, False, "", "", False), "sentence (1)"),  # which nobody can read
        ((141, False, "", ""), "silent (141)"),
        ((139, False, "", ""), "FAILS: exit code 139"),
        ((124, False, "", ""), "FAILS: not within its time"),
    ],
)
def test_how_a_command_ended(end: tuple[int, bool, str, str], expected: str) -> None:
    assert script.judged(*end).splitlines()[0] == expected


def test_there_are_enough_and_no_two_share_a_name() -> None:
    names = [one.name for one in script.ENVIRONMENTS]
    assert len(set(names)) == len(names) >= 48


@pytest.mark.slow
def test_a_pair_of_a_kind() -> None:
    chosen = ("full disk", "output that nobody reads", "a line break in the path")
    only = [word for name in chosen for word in ("--only", name)]
    arguments = [sys.executable, str(CHECKOUT / "scripts/environments.py"), *only, "--command", "report"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert "| output that nobody reads | streams | silent (141) |" in done.stdout
    assert "| a line break in the path | paths | result |" in done.stdout
