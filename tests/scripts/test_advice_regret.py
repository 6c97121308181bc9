"""Test the regrets against hand-made accuracies, and run the script on two small data sets."""

import runpy

import numpy as np
import pytest
from conftest import CHECKOUT, SMALLEST, TINY

script = runpy.run_path(str(CHECKOUT / "scripts" / "advice_regret.py"))


def trial(advised: int, right: object, start: int = 0) -> object:
    """Return a trial with candidates a, b, c and images of alternating class, named from ``start`` on."""
    answers = np.array(right, dtype=bool)
    test = {str(start + number): number % 2 for number in range(answers.shape[1])}
    return script["Trial"](("a", "b", "c")[: len(answers)], advised, answers, test)


def shares(*test: float) -> np.ndarray:
    """Return answers to 40 images with these accuracies."""
    return np.array([np.arange(40) // 2 < round(20 * share) for share in test])


def test_regrets_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    def all_images(trials, splits=1):  # both halves have the accuracies of all images
        accuracies = np.array([trial.accuracies for trial in trials])
        yield accuracies, accuracies

    monkeypatch.setitem(script["regrets"].__globals__, "halves", all_images)
    trials = {
        "one": [trial(0, shares(0.8, 0.5, 0.6)), trial(1, shares(0.6, 0.7, 0.6))],  # means 0.7, 0.6, 0.6
        "two": [trial(2, shares(0.1, 0.2, 0.9))],
        "three": [trial(1, shares(0.9, 0.4, 0.2))],
    }
    found = script["regrets"](trials, "b")
    expected = {
        # The advice has 0.8 and 0.7. Elsewhere, c has the mean 0.55, a 0.5.
        "one": {"advice": -0.05, "linear_probe": 0.1, "best elsewhere": 0.1, "advice, at most": -0.05},
        "two": {"advice": 0.0, "linear_probe": 0.7, "best elsewhere": 0.8, "advice, at most": 0.0},
        "three": {"advice": 0.5, "linear_probe": 0.5, "best elsewhere": 0.7, "advice, at most": 0.5},
    }
    for target, regret in expected.items():
        assert found[target] == pytest.approx(regret), target


def test_the_best_of_equal_candidates_has_no_advantage() -> None:
    """Of 30 candidates that guess, the best on 60 images looks 0.1 better than it is, but not on the other half."""
    rng, found = np.random.default_rng(0), []
    for _ in range(40):
        guesses = rng.random((30, 60)) < 0.5
        test = {str(number): number % 2 for number in range(60)}
        same = [script["Trial"]([str(number) for number in range(30)], 0, guesses, test)]
        found.append(script["regrets"]({"x": same, "y": same}, "0")["x"])
    assert np.mean([one["advice, at most"] for one in found]) > 0.1
    assert np.mean([one["advice"] for one in found]) == pytest.approx(0, abs=0.03)


def test_an_image_is_in_the_same_half_in_all_trials() -> None:
    """Each image is known by its one right candidate; both halves have the same share of each class."""
    several = [trial(0, np.eye(40)), trial(0, np.eye(40)), trial(0, np.eye(40), start=20)]
    seen = []
    for first, second in script["halves"](several, 3):
        assert ((first > 0) != (second > 0)).all()
        assert (first[0] == first[1]).all()
        assert ((first[0, 20:] > 0) == (first[2, :20] > 0)).all()
        for label in (0, 1):
            assert (first[0, label::2] > 0).sum() + (first[2, 20 + label :: 2] > 0).sum() == 15  # of 30
        seen.append(tuple(first[0] > 0))
    assert len(set(seen)) == 6


def test_a_row_for_each_data_set(capsys: pytest.CaptureFixture[str]) -> None:
    settings = [setting for setting in TINY if "counts" not in setting]
    targets = [word for most in (4, 5) for word in ("--target", f"dataset=textures dataset.counts=[4,8,{most}]")]
    few = [*settings, "dataset.labels_per_class=3"]
    arguments = [*few, *targets, "--backbone", " ".join(SMALLEST), "--seeds", "1"]
    assert script["main"](arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(", seed 1, best on test: backbone=timm" in line for line in lines) == 2
    rows = [line.split() for line in lines[-5:]]
    assert [row[0] for row in rows] == ["dataset=textures", "dataset=textures", "mean", "low", "high"]
    assert all(-100 <= float(number) <= 100 for row in rows[:3] for number in row[-3:])
