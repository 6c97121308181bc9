"""Scores of an epoch: a primary metric that is no mean over images."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from headstart import ranks
from headstart.tasks import EpochScores, Regression


class SpreadTask(Regression):
    """A task whose primary metric is the deviation of its outputs over all images."""

    primary = "spread"

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the outputs."""
        return outputs

    def primary_of(self, tallies: Tensor) -> float:
        """Return the deviation over all images."""
        return float(tallies.double().std(correction=0))


OUTPUTS = torch.randn(20, 1, generator=torch.Generator().manual_seed(0))


def scores_of(outputs: Tensor) -> EpochScores:
    scores = EpochScores(SpreadTask())
    for part in outputs.split(7):
        scores.update(part, part[:, 0], part.square().mean())
    return scores


def test_the_metric_is_that_of_all_images_together() -> None:
    values = scores_of(OUTPUTS).compute()
    assert values["spread"].item() == pytest.approx(np.std(OUTPUTS.double().numpy()), rel=1e-12)
    assert values["loss"].item() == pytest.approx(OUTPUTS.square().mean().item(), rel=1e-6)


def test_an_epoch_that_is_resumed_gives_the_same_bits() -> None:
    state = scores_of(OUTPUTS[:14]).state()
    later = EpochScores(SpreadTask())
    later.resume(state, torch.device("cpu"))
    later.update(OUTPUTS[14:], OUTPUTS[14:, 0], OUTPUTS[14:].square().mean())
    assert later.compute() == scores_of(OUTPUTS).compute()


def test_processes_are_joined_and_one_may_have_no_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    parts = [scores_of(OUTPUTS[:8]).state(), None, scores_of(OUTPUTS[8:]).state()]
    monkeypatch.setattr(ranks, "gathered", lambda own: parts)
    values = EpochScores(SpreadTask()).compute()
    assert values["spread"].item() == pytest.approx(np.std(OUTPUTS.double().numpy()), rel=1e-12)


def test_no_batch_gives_no_number() -> None:
    assert all(math.isnan(value) for value in EpochScores(SpreadTask()).compute().values())
