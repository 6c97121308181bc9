"""Scores of single images for metrics that are no means: their mean is the metric, their spread its error."""

import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, r2_score

from headstart.kinds.per_image import (
    average_precision_each,
    average_precisions,
    mean_r_squared,
    r_squared,
    r_squared_each,
)


def drawn(count: int, seed: int = 0, ties: bool = False) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.random((count, 3)) < (0.5, 0.2, 0.05)
    labels[0] = True  # no label without a positive
    scores = labels + rng.normal(0, 1, labels.shape)
    return labels, np.round(scores, 0) if ties else scores


def left_out(labels: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """The pseudo-values of one label from N metrics, each without an image."""
    count, whole = len(labels), average_precision_score(labels, scores)
    others = [
        average_precision_score(np.delete(labels, i), np.delete(scores, i)) if labels.sum() - labels[i] else whole
        for i in range(count)
    ]
    pseudo = count * whole - (count - 1) * np.array(others)
    return np.asarray(pseudo - pseudo.mean() + whole)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("count", [2, 7, 60])
def test_average_precision_and_its_parts_agree_with_scikit_learn(count: int, ties: bool) -> None:
    labels, scores = drawn(count, ties=ties)
    found, each = average_precisions(labels, scores), average_precision_each(labels, scores)
    for column in range(3):
        expected = average_precision_score(labels[:, column], scores[:, column])
        assert found[column] == pytest.approx(expected, abs=1e-12)
        np.testing.assert_allclose(each[:, column], left_out(labels[:, column], scores[:, column]), atol=1e-10)
    np.testing.assert_allclose(each.mean(axis=0), found, atol=1e-12)


def test_a_label_without_a_positive_has_no_average_precision() -> None:
    labels, scores = drawn(10)
    labels[:, 1] = False
    assert np.isnan(average_precisions(labels, scores)).tolist() == [False, True, False]
    assert np.isnan(average_precision_each(labels, scores)).all(axis=0).tolist() == [False, True, False]


def test_many_images_take_no_time() -> None:
    labels, scores = drawn(200_000)
    begun = time.perf_counter()
    each = average_precision_each(labels, scores)
    assert time.perf_counter() - begun < 10
    np.testing.assert_allclose(each.mean(axis=0), average_precisions(labels, scores), atol=1e-9)


def test_r_squared_agrees_with_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    targets = rng.normal((3, -100), (1, 20), (50, 2))
    values = targets + rng.normal(0, (0.5, 15), (50, 2))
    np.testing.assert_allclose(r_squared(targets, values), r2_score(targets, values, multioutput="raw_values"), 1e-12)
    assert mean_r_squared(targets, values) == pytest.approx(r2_score(targets, values), rel=1e-12)
    targets[:, 0] = 0.1  # a sum of many has a variance that is not quite 0
    assert np.isnan(r_squared_each(targets, values)).all(axis=0).tolist() == [True, False]
    assert mean_r_squared(targets, values) == pytest.approx(r2_score(targets[:, 1], values[:, 1]))
    assert np.isnan(mean_r_squared(targets[:, :1], values[:, :1]))


@pytest.mark.parametrize("metric", ["ap", "r2"])
def test_the_interval_of_a_difference_is_that_of_a_bootstrap_over_images(metric: str) -> None:
    rng = np.random.default_rng(3)
    count = 400
    if metric == "ap":
        labels, scores = drawn(count, 5)
        other = scores + rng.normal(0, 0.7, scores.shape)
        whole, each = (lambda y, s: float(average_precisions(y, s).mean())), average_precision_each
        truth, first, second = labels, scores, other
    else:
        truth = rng.normal(0, 1, (count, 2))
        first, second = (truth + rng.normal(0, size, truth.shape) for size in (0.5, 0.6))
        whole, each = mean_r_squared, r_squared_each
    difference = (each(truth, first) - each(truth, second)).mean(axis=1)
    assert difference.mean() == pytest.approx(whole(truth, first) - whole(truth, second), abs=1e-9)
    rows = rng.integers(0, count, (500, count))
    drawn_again = [whole(truth[row], first[row]) - whole(truth[row], second[row]) for row in rows]
    assert difference.std() / np.sqrt(count) == pytest.approx(np.std(drawn_again), rel=0.15)
