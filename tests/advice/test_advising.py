"""Test the advice in words where all stages are joined although one of them is a little better."""

import numpy as np
import pytest
import torch

from headstart.advice.advising import Advice, expected_accuracy, paragraphs
from headstart.advice.candidates import SolvedCandidate
from headstart.analysis.layer_report import JOINED


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
