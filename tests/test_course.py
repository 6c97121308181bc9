"""Test that the commands of docs/course.md have settings that a run accepts."""

import itertools
import shlex
from pathlib import Path

import pytest

from headstart.settings.configs import composed
from headstart.settings.early_checks import check_resolved, resolved

PAGE = Path(__file__).parents[1] / "docs" / "course.md"
COMMANDS = [
    line for line in PAGE.read_text().splitlines() if line.startswith(("headstart train", "headstart pretrain"))
]


def values_of(setting: str) -> list[str]:
    """Return a setting for each value of a comma list, without the runs that earlier commands made."""
    key, _, values = setting.partition("=")
    each = [values] if values.startswith("[") else values.split(",")
    return [f"{key}={value}" for value in each if not value.startswith("RUN")]


@pytest.mark.parametrize("line", COMMANDS)
def test_a_run_accepts_each_combination(line: str) -> None:
    _, command, *words = shlex.split(line)
    swept = [values_of(word) for word in words if word != "-m"]
    assert ("-m" in words) == any(len(values) > 1 for values in swept)
    for settings in itertools.product(*swept):
        config, _ = composed(settings, command)
        check_resolved(resolved(config), settings)


def test_each_sweep_has_a_report() -> None:
    written = [word.removeprefix("output_dir=") for line in COMMANDS for word in line.split() if "output_dir=" in word]
    reported = [line.split()[2] for line in PAGE.read_text().splitlines() if line.startswith("headstart report")]
    assert set(written) - set(reported) == {"runs/sources"}, "which the next command reads"
