"""Test forecasts from nested subsets of labels."""

import numpy as np
import pytest
import torch

from headstart.advice.candidates import SOLVERS, fit_best
from headstart.advice.forecasting import forecast_accuracy, sizes_of
from headstart.solvers.features import Features
from headstart.tasks import Classification


def drawn(count: int, seed: int) -> Features:
    """Return features of three overlapping classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    centres = 0.5 * np.random.default_rng(7).normal(size=(3, 30))
    values = centres[labels] + rng.normal(size=(count, 30))
    return Features(torch.from_numpy(values.astype(np.float32)), torch.from_numpy(labels))


def test_sizes_are_halves_with_two_labels_or_more() -> None:
    assert sizes_of(100) == [6, 12, 25, 50, 100]
    assert sizes_of(9) == [2, 4, 9]
    assert sizes_of(7) == [3, 7]


@pytest.mark.parametrize("strategy", ["ridge", "nearest_centroid"])
def test_a_forecast_holds_the_accuracy_that_is_measured_later(strategy: str) -> None:
    everything, held_out = drawn(3 * 128, 0), drawn(900, 1)
    task, solve = Classification(3), SOLVERS[strategy]
    few = Features(everything.values[: 3 * 32], everything.targets[: 3 * 32])
    found = forecast_accuracy(solve, few, held_out, task)
    assert found is not None
    assert found.sizes == [2, 4, 8, 16, 32]
    assert found.accuracies[0] < found.accuracies[-1]
    for factor in (2, 4):
        train = Features(everything.values[: 96 * factor], everything.targets[: 96 * factor])
        answers = fit_best(solve, train, held_out, task)(held_out.values).argmax(dim=1)
        wrong = float((answers != held_out.targets).double().mean())
        forecast = found.at(32 * factor)
        assert forecast.low <= wrong <= forecast.high
        assert forecast.high - forecast.low < 0.25


def test_too_few_labels_give_no_forecast() -> None:
    assert forecast_accuracy(SOLVERS["ridge"], drawn(21, 0), drawn(30, 1), Classification(3)) is None
