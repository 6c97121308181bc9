"""Test that the script forecasts from few labels and compares with fits on more."""

import runpy

import pytest
from conftest import CHECKOUT, SMALLEST, TINY


def test_a_row_for_each_number_of_labels(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [setting for setting in TINY if "counts" not in setting]
    main = runpy.run_path(str(CHECKOUT / "scripts" / "forecast_coverage.py"))["main"]
    arguments = [*settings, *SMALLEST, "dataset.counts=[32,8,4]", "--labels", "8", "--draws", "2"]
    assert main([*arguments, "--strategy", "nearest_centroid"]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[-2:]]
    assert [row[:2] for row in rows] == [["8", "16"], ["8", "32"]]
    assert all(row[2] in ("0", "50", "100") and row[3] == "%" for row in rows)
    assert all(0 < float(row[-1]) < 100 for row in rows)
