"""Test that prediction sets cover as often as they should."""

import math

import numpy as np
import pytest

from headstart.statistics.conformal import class_scores, prediction_sets, score_limit


def predictions(count: int, sharpness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return targets (N,) and miscalibrated probabilities (N, 8)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, 8))
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    targets = np.array([rng.choice(8, p=row) for row in shares])
    given = np.exp(sharpness * logits)
    return targets, given / given.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("level", [0.6, 0.9, 0.95])
@pytest.mark.parametrize("sharpness", [0.3, 1, 4])
def test_coverage_over_many_splits(level: float, sharpness: float) -> None:
    """Also of probabilities that are much too sure, or not sure enough."""
    targets, given = predictions(1000, sharpness)
    scores = class_scores(targets, given)
    rng = np.random.default_rng(1)
    covered = []
    for _ in range(500):
        order = rng.permutation(len(targets))
        limit = score_limit(np.sort(scores[order[:300]]), level)
        rest = order[300:]
        covered.append(prediction_sets(given[rest], limit)[np.arange(700), targets[rest]].mean())
    assert np.mean(covered) == pytest.approx(level, abs=0.01)


def test_the_limit_is_the_score_of_its_rank() -> None:
    scores = np.arange(1, 20) / 100  # 19 of them: the rank of 90 % is 18
    assert score_limit(scores, 0.9) == 0.18
    assert score_limit(scores, 0.95) == 0.19
    assert score_limit(scores, 0.96) == math.inf  # it needs 24


def test_every_class_is_in_the_set_where_images_are_too_few() -> None:
    assert prediction_sets(np.array([[0.0, 1.0]]), math.inf).all()


@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_shortened_scores_never_give_a_smaller_limit(level: float) -> None:
    from headstart.models.description import shortened

    scores = np.sort(np.random.default_rng(0).random(30_000))
    whole, short = score_limit(scores, level), score_limit(shortened(scores), level, len(scores))
    assert whole <= short <= whole + 0.001
