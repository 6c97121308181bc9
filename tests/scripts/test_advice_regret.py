"""Test the regrets against hand-made accuracies, and run the script on two small data sets."""

import runpy

import numpy as np
import pytest
from conftest import CHECKOUT, SMALLEST, TINY

script = runpy.run_path(str(CHECKOUT / "scripts" / "advice_regret.py"))


def test_regrets_by_hand() -> None:
    def trial(advised: int, *test: float) -> object:
        return script["Trial"](("a", "b", "c"), advised, np.array(test))

    trials = {
        "one": [trial(0, 0.8, 0.5, 0.6), trial(1, 0.6, 0.7, 0.6)],  # means 0.7, 0.6, 0.6
        "two": [trial(2, 0.1, 0.2, 0.9)],
        "three": [trial(1, 0.9, 0.4, 0.2)],
    }
    found = script["regrets"](trials, "b")
    expected = {
        # Elsewhere, c has the mean 0.55, a 0.5.
        "one": {"advice": 0.7 - (0.8 + 0.7) / 2, "linear_probe": 0.1, "best elsewhere": 0.1},
        "two": {"advice": 0.0, "linear_probe": 0.7, "best elsewhere": 0.8},
        "three": {"advice": 0.5, "linear_probe": 0.5, "best elsewhere": 0.7},
    }
    for target, regret in expected.items():
        assert found[target] == pytest.approx(regret), target


def test_a_row_for_each_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [setting for setting in TINY if "counts" not in setting]
    targets = [word for most in (4, 5) for word in ("--target", f"dataset=textures dataset.counts=[4,8,{most}]")]
    few = [*settings, "dataset.labels_per_class=3"]
    arguments = [*few, *targets, "--backbone", " ".join(SMALLEST), "--seeds", "1"]
    assert script["main"](arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(", seed 1, best: backbone=timm" in line for line in lines) == 2
    rows = [line.split() for line in lines[-5:]]
    assert [row[0] for row in rows] == ["dataset=textures", "dataset=textures", "mean", "low", "high"]
    assert all(float(number) >= -0.005 for row in rows[:2] for number in row[-2:])
