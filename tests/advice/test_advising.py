"""Test the advice in words: where all stages are joined although one is a little better, and where some train."""

import re
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from headstart.advice.advising import SHOWN, Advice, expected_accuracy, more_labels, paragraphs
from headstart.advice.candidates import ScoredCandidate, SolvedCandidate, advised, in_order
from headstart.advice.forecasting import AccuracyForecast
from headstart.analysis.layer_report import JOINED
from headstart.solvers.learning_curve import fit_learning_curve

SHARED = ["trainer.max_epochs=5"]
OWN = [*SHARED, "augmentation=flip_crop"]


def candidate(stage: str, read: list[str], wrong: int) -> SolvedCandidate:
    """Return a candidate that is wrong on the first images of 100."""
    correct = (np.arange(100) >= wrong).astype(float)
    return SolvedCandidate("resnet", stage, read, "ridge", correct, 0.0, 1.0, lambda: torch.clone)


def test_joined_stages_are_expected_to_be_as_much_worse_as_measured() -> None:
    best, joined = candidate("stage3", ["stage3"], 10), candidate(JOINED, ["stage3", "stage4"], 12)
    both = [best, joined]
    highest, expected = (expected_accuracy(both, one) for one in both)
    for bound in ("mean", "low", "high"):
        assert getattr(expected, bound) == pytest.approx(getattr(highest, bound) - 0.02)
    advice = Advice("photos", 80, 100, 5, both, joined, expected, 40, None)
    text = "\n".join(paragraphs(advice, ["dataset=photos"]))
    assert "headstart train dataset=photos backbone=resnet strategy=ridge 'head.stages=[stage3,stage4]'" in text
    assert "stage3 alone is 2.0 points better" in text
    assert advice.values()["settings"][-1] == "head.stages=[stage3,stage4]"
    assert "alone" not in "\n".join(paragraphs(Advice("photos", 80, 100, 5, both, best, highest, 40, None), []))


@pytest.mark.parametrize(
    ("wrong", "settings", "sentence"),
    [
        (range(2), [*OWN, "finetune_all"], "18.0 points better than ridge on stage4 (standard error 3.8)"),
        (range(10, 29), [*SHARED, "ridge"], "1.0 points better than ridge on stage4 (standard error 4.4)"),
        (range(50), [*SHARED, "ridge"], "30.0 points worse than ridge on stage4 (standard error 4.6)"),
    ],
)
def test_a_trained_candidate_is_weighed_against_the_best_solved_one(
    wrong: range, settings: list[str], sentence: str
) -> None:
    """The last one is worse than the candidates that are shown, and shown below them."""
    correct = ~np.isin(np.arange(100), wrong)
    tuned = ScoredCandidate("resnet", "stage4", [], "finetune_all", correct.astype(float), 0.0, 60.0)
    others = [candidate(f"stage{place}", [], 30 + place) for place in range(SHOWN)]
    candidates = in_order([tuned, candidate("stage4", [], 20), *others])
    chosen = advised(candidates)
    expected = expected_accuracy(candidates, chosen)
    advice = Advice("photos", 80, 100, 5, candidates, chosen, expected, 4, None)
    command, accuracy, worth, table, *_ = paragraphs(advice, [*OWN, "backbone=resnet"])
    trains = "finetune_all" in settings
    assert command == f"headstart train {' '.join(settings[:-1])} backbone=resnet strategy={settings[-1]}"
    assert ("after 60 s of training" if trains else "after 1 s for features and fit") in accuracy
    assert worth.startswith(f"finetune_all is {sentence}, and takes 60 s in place of 1 s.")
    assert ("within one standard error" in worth) == (sentence[:3] == "1.0")
    assert "finetune_all" in table
    values = advice.values()
    assert values["settings"] == ["backbone=resnet", f"strategy={settings[-1]}"]
    assert values["trained"] == [{"settings": tuned.settings, "accuracy": 1 - len(wrong) / 100, "seconds": 60.0}]
    assert values["forecast_settings"] == ["backbone=resnet", "strategy=ridge"]


def test_the_gain_is_counted_from_the_fitted_curve() -> None:
    sizes, means = [5, 10, 20], np.array([0.4, 0.3, 0.29])  # the last error is above the curve through the others
    curve = fit_learning_curve(sizes, means + np.array([[0.01], [-0.01]]), 100)
    advice: Any = SimpleNamespace(forecast=AccuracyForecast(sizes, (1 - means).tolist(), curve), labels=20)
    text = more_labels(advice, 2)
    gain, now, then = map(float, re.findall(r"about ([\d.]+) points .* from ([\d.]+) to ([\d.]+) %", text)[0])
    assert now == pytest.approx(100 * (1 - curve.forecast(20).error), abs=0.051)
    assert now != pytest.approx(71, abs=0.5), "the measured accuracy"
    assert then - now == pytest.approx(gain, abs=0.11)
    assert then == pytest.approx(100 * (1 - curve.forecast(40).error), abs=0.051)
