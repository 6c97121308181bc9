"""Test the distances of two sets of features against independent computations and worked examples."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from headstart.similarity.distances import (
    frechet_distance,
    kernel_distance,
    measure_frechet,
    measure_kernel,
)


def drawn(count: int, size: int, seed: int, shift: float = 0.0) -> np.ndarray:
    """Return correlated features (count, size)."""
    rng = np.random.default_rng(seed)
    mixing = np.random.default_rng(99).normal(size=(size, size)) / np.sqrt(size)
    return rng.normal(size=(count, size)) @ mixing + shift


@pytest.mark.parametrize(("first", "second", "size"), [(60, 40, 8), (60, 90, 20), (7, 9, 8)])
def test_frechet_distance_is_heusels_formula(first: int, second: int, size: int) -> None:
    x, y = drawn(first, size, 0), 1.7 * drawn(second, size, 1, 0.3)
    covariances = np.cov(x, rowvar=False), np.cov(y, rowvar=False)
    root = sqrtm(covariances[0] @ covariances[1]).real
    gap = np.square(x.mean(axis=0) - y.mean(axis=0)).sum()
    expected = gap + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(x, y) == pytest.approx(expected, rel=1e-5)
    assert frechet_distance(y, x) == pytest.approx(frechet_distance(x, y), rel=1e-9)


def test_frechet_distance_of_known_gaussians() -> None:
    # Means (0, 0) and (3, 4); variances (1, 4) and (9, 1): 25 + (1 - 3)^2 + (2 - 1)^2.
    corners = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]]) * np.sqrt(3 / 4)  # covariance I, dividing by 3
    assert frechet_distance(corners * [1, 2], corners * [3, 1] + [3, 4]) == pytest.approx(30)
    assert frechet_distance(corners, corners) == pytest.approx(0, abs=1e-12)


def test_the_extrapolation_removes_most_of_the_excess_of_few_images() -> None:
    size, truth = 30, 30 * 0.25
    shifted = [measure_frechet(drawn(200, size, seed), drawn(150, size, seed + 50, 0.5), seed) for seed in range(8)]
    excess = np.mean([one.value for one in shifted]) - truth
    left = np.mean([one.extrapolated for one in shifted]) - truth
    assert excess > 0.8
    assert abs(left) < 0.25 * excess
    one = shifted[0]
    variance = drawn(200, size, 0).var(axis=0, ddof=1).sum()
    assert one.relative == pytest.approx(one.extrapolated / variance)


def test_too_few_images_for_the_extrapolation_give_nan() -> None:
    found = measure_frechet(drawn(7, 3, 0), drawn(50, 3, 1))
    assert found.value > 0
    assert np.isnan(found.extrapolated)


def kernel_of(x: np.ndarray, y: np.ndarray) -> float:
    return float((x @ y / len(x) + 1) ** 3)


def test_kernel_distance_is_a_double_loop() -> None:
    x, y = drawn(9, 4, 0), drawn(6, 4, 1, 0.4)
    within = [np.mean([kernel_of(a, b) for i, a in enumerate(z) for j, b in enumerate(z) if i != j]) for z in (x, y)]
    across = np.mean([kernel_of(a, b) for a in x for b in y])
    assert kernel_distance(x, y) == pytest.approx(sum(within) - 2 * across)


def test_kernel_distance_is_unbiased() -> None:
    same = [kernel_distance(drawn(12, 5, seed), drawn(12, 5, seed + 1000)) for seed in range(400)]
    error = np.std(same) / 20
    assert abs(np.mean(same)) < 3 * error
    assert min(same) < 0, "a distance that cannot be negative is biased"


def test_kernel_distance_over_subsets() -> None:
    x, y = drawn(80, 5, 0), drawn(60, 5, 1, 0.5)
    found = measure_kernel(x, y, subsets=200, subset=30)
    assert found.subset == 30
    assert found.mean == pytest.approx(kernel_distance(x, y), abs=4 * found.deviation / np.sqrt(200) + 0.02)
    assert found == measure_kernel(x, y, subsets=200, subset=30)
    assert measure_kernel(x, y[:20], subsets=3).subset == 20


@pytest.mark.parametrize("wrong", [np.zeros(4), np.zeros((1, 4)), np.zeros((4, 0)), np.full((4, 2), np.nan)])
def test_wrong_features(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="eatures"):
        frechet_distance(wrong, drawn(5, 2, 0))
