"""Test that the start-up script measures commands and checks their limits."""

import subprocess
import sys

import pytest
from conftest import CHECKOUT

SCRIPT = CHECKOUT / "scripts" / "startup.py"


def startup(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True, timeout=300)


def test_unknown_names_are_refused() -> None:
    done = startup("speed")
    assert done.returncode == 2
    assert "there is no command speed; choose from help, cfg, choice," in done.stderr
    assert startup("--rounds", "0", "help").returncode == 2


def test_a_command_that_ends_otherwise_is_no_measurement() -> None:
    code = (
        "import startup; startup.seconds(['-c', 'raise SystemExit(3)'], 3, '.')\n"
        "try: startup.seconds(['-c', 'raise SystemExit(3)'], 2, '.')\n"
        "except RuntimeError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, capture_output=True, text=True)
    assert "ended with 3, not 2" in done.stdout


def test_the_limit_is_passed_or_not() -> None:
    code = (
        "import startup\n"
        "slow = startup.Question('slow', ('-c', 'sum(range(10**8))'), base=('-c', 'pass'))\n"
        "quick = startup.Question('quick', ('-c', 'pass'))\n"
        "for question in (slow, quick):\n"
        "    startup.QUESTIONS = (question,)\n"
        "    print('exit', startup.main())"
    )
    command = [sys.executable, "-c", code, "--rounds", "1"]
    done = subprocess.run(command, cwd=SCRIPT.parent, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("exit", "| `-c"))]
    assert [line.split()[-4] if line.startswith("|") else line for line in lines] == ["NO", "exit 1", "yes", "exit 0"]


@pytest.mark.slow
def test_every_command_ends_as_it_should() -> None:
    """The script itself measures the times, on an idle machine."""
    names = ["help", "choice", "folder", "status"]
    done = startup("--rounds", "1", *names)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    rows = [line for line in done.stdout.splitlines() if line.startswith("| `")]
    assert len(rows) == len(names)
    assert any("| NO |" in row for row in rows) == bool(done.returncode)
