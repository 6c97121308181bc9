"""Test forecasts of learning curves on curves that are known."""

import numpy as np
import pytest

from headstart.solvers.learning_curve import fit_learning_curve

SIZES = np.array([3, 6, 12, 25, 50])


def measured(floor: float, scale: float, exponent: float, sizes: np.ndarray, seed: int, noise: float) -> np.ndarray:
    """Return errors of six repetitions."""
    rng = np.random.default_rng(seed)
    return floor + scale * sizes**-exponent + noise * rng.normal(size=(6, len(sizes)))


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.05, 0.9, 0.7), (0.15, 0.6, 0.4), (0.0, 0.5, 0.3)])
def test_forecasts_of_a_known_curve(floor: float, scale: float, exponent: float) -> None:
    curve = fit_learning_curve(SIZES, measured(floor, scale, exponent, SIZES, 0, 0.003), 1000)
    for labels in (100, 200):
        found, truth = curve.forecast(labels), floor + scale * labels**-exponent
        assert found.low < truth < found.high
        assert found.error == pytest.approx(truth, abs=0.02)
        assert found.low <= found.error <= found.high
    assert curve.forecast(200).high - curve.forecast(200).low > curve.forecast(100).high - curve.forecast(100).low


def test_intervals_of_90_percent_cover_at_least_90_percent() -> None:
    rng, covered = np.random.default_rng(0), []
    for seed in range(100):
        floor, exponent = rng.uniform(0, 0.15), rng.uniform(0.25, 1)
        scale = rng.uniform(0.3, 0.8) * SIZES[0] ** exponent
        found = measured(floor, scale, exponent, np.array([*SIZES, 100, 200]), seed, 0.01)
        curve = fit_learning_curve(SIZES, found[:, :-2], 500)
        for place, labels in ((-2, 100), (-1, 200)):
            forecast = curve.forecast(labels)
            covered.append(forecast.low <= found[0, place] <= forecast.high)
    assert np.mean(covered) >= 0.9


def test_the_gain_is_the_fall_of_the_error() -> None:
    curve = fit_learning_curve(SIZES, measured(0.05, 0.9, 0.7, SIZES, 0, 0.002), 1000)
    assert curve.gain(200) == pytest.approx(curve.forecast(50).error - curve.forecast(200).error)
    assert curve.gain(200) == pytest.approx(0.9 * (50**-0.7 - 200**-0.7), abs=0.01)
    assert curve.gain(50) == 0


def test_subsets_of_one_pool_count_for_less_than_separate_draws() -> None:
    found = measured(0.05, 0.9, 0.7, SIZES, 0, 0.01)
    separate, overlapping = fit_learning_curve(SIZES, found, 1000), fit_learning_curve(SIZES, found, 1000, pool=50)
    widths = [one.forecast(200).high - one.forecast(200).low for one in (separate, overlapping)]
    assert widths[0] < widths[1]
    with pytest.raises(ValueError, match="pool of 3"):
        fit_learning_curve([2.8, 2.9, 3], found[:, :3], 100, pool=3)


def test_a_curve_without_error_stays_there() -> None:
    found = fit_learning_curve([2, 4, 8], np.zeros((3, 3)), 50).forecast(16)
    assert 0 <= found.low <= found.error <= found.high < 0.08


@pytest.mark.parametrize(
    ("sizes", "errors", "words"),
    [
        ([1, 2], np.full((3, 2), 0.5), "S of 3"),
        ([1, 2, 4], np.full((1, 3), 0.5), "R of 2"),
        ([1, 4, 2], np.full((3, 3), 0.5), "rising"),
        ([1, 2, 4], np.full((3, 3), np.nan), "finite"),
    ],
)
def test_measurements_that_allow_no_fit(sizes: list[int], errors: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        fit_learning_curve(sizes, errors, 100)
