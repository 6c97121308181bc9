"""Test that the simulation repeats, and that the report's intervals have their coverage."""

import runpy

import pytest
from conftest import CHECKOUT


def coverage(*arguments: str) -> int:
    code: int = runpy.run_path(str(CHECKOUT / "scripts" / "interval_coverage.py"))["main"](arguments)
    return code


def test_it_repeats_and_covers(capsys: pytest.CaptureFixture[str]) -> None:
    setting = ["--trials", "600", "--seeds", "2", "5", "--images", "100", "--ratios", "0.1", "10"]
    tables = []
    for seed in ("0", "0", "1"):
        assert coverage(*setting, "--seed", seed) == 0
        tables.append(capsys.readouterr().out)
    assert tables[0] == tables[1] != tables[2]
    rows = [[cell.strip() for cell in line.strip("|\n ").split("|")] for line in tables[0].splitlines()]
    columns = {name: place for place, name in enumerate(rows[0])}
    found = {
        (row[0], row[2]): {name: float(row[place].split(" ")[0]) for name, place in columns.items()} for row in rows[2:]
    }
    assert len(found) == 4
    for numbers in found.values():
        assert numbers["difference: report"] >= 93.5  # 600 trials: 0.9 below 95 is one standard error
        assert numbers["accuracy: report"] >= 93.5
    assert found["5", "0.1"]["accuracy: t over seeds"] < 85  # test images are a sample, too
    assert found["2", "10"]["difference: Satterthwaite"] < 93


@pytest.mark.parametrize("wrong", [["--trials", "0"], ["--seeds", "1"], ["--images", "1"], ["--ratios", "-1"]])
def test_settings_that_make_no_sense_are_refused(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert coverage(*wrong) == 2
    assert "expected at least 1 trial, 2 seeds and 2 images" in capsys.readouterr().err
