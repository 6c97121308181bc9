"""The benchmark measures both ways and prints a table of ratios."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from headstart.reports import analyse, read_runs

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


def lines(*arguments: str) -> list[str]:
    two_threads = os.environ | {"OMP_NUM_THREADS": "2"}  # with which stored features change no bit
    command = [sys.executable, str(SCRIPT), *arguments]
    done = subprocess.run(command, env=two_threads, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith("|")][2:]


@pytest.mark.slow
def test_it_prints_ratios() -> None:
    rows = lines("overhead", "--size", "32", "--rounds", "2", "--batch", "64")
    assert re.match(r"\| finetune_all, 32 px, batches of 64: headstart / plain loop \| \d\.\d{3} \| 0.95 \|", rows[0])


@pytest.mark.slow
def test_commands_are_measured_from_a_cold_and_a_warm_store() -> None:
    tiny = ["--set", "dataset.counts=[4,2,2]", "backbone.weights=null", "dataset.num_workers=0"]
    rows = lines("head_only", "finetune_upper", "--size", "32", "--rounds", "1", *tiny)
    assert [row.split(" | ")[0] for row in rows] == [
        "| head_only, 20 epochs: fit, cold store",
        "| the same, warm store",
        "| the same, whole command, cold",
        "| finetune_upper, last stage, 10 epochs: fit, cold store",
    ]
    ratios = [float(row.split(" | ")[1]) for row in rows]
    assert all(ratio > 0 for ratio in ratios)
    assert "metrics equal bit for bit" in rows[-1]


def test_made_up_runs_are_reported(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from benchmarks.report import make_runs; make_runs(Path({str(tmp_path)!r}), 12)"
    subprocess.run([sys.executable, "-c", code], cwd=SCRIPT.parent, check=True)
    found = read_runs([tmp_path])
    assert len(found.runs) == 12
    assert not found.problems
    analysis = analyse(found)
    assert len(analysis.evidence) == 12
    (panel,) = analysis.panels
    assert len(panel.groups) == 10


def test_an_unknown_question_is_refused() -> None:
    done = subprocess.run([sys.executable, str(SCRIPT), "speed"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "there is no question speed" in done.stderr
