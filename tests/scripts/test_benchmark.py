"""The benchmark measures both ways and prints their ratio."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "benchmark.py"


@pytest.mark.slow
def test_it_prints_ratios() -> None:
    command = [sys.executable, str(SCRIPT), "--size", "32", "--rounds", "1", "--batch", "64"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert re.search(r"headstart / plain loop +\d\.\d{3}", done.stdout)
