"""Compute the bootstrap interval (BCa) of a mean, and Student's t."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from headstart.statistics.arrays import TIE, Floats, all_equal, check_probability, finite

RESAMPLES = 9_999
CHUNK = 2_000_000  # numbers drawn at once: 16 MB


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided confidence interval; the bounds are NaN if there is only one value."""

    mean: float
    low: float
    high: float
    level: float


def bootstrap_mean(values: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return the bias-corrected and accelerated (BCa) bootstrap interval of the mean of independent values (n,).

    It draws as ``scipy.stats.bootstrap((values,), np.mean, rng=np.random.default_rng(seed))`` does, without loading
    scipy.stats. The bounds are equal to SciPy's if no resampled mean ties with the mean. Ties count half. They are
    detected up to rounding, whereas SciPy compares exactly, so bounds for three to five accuracies differ by up to
    0.01. Equal values give an interval of no width; one value gives NaN bounds. Like any bootstrap interval, it is too
    narrow below about ten values.

    The time grows with n times resamples: a millisecond for five values, 0.7 s for ten thousand. Source: Efron 1987,
    Better bootstrap confidence intervals, JASA 82. Raises ValueError for no values, NaN or infinity.
    """
    numbers = finite(values, "The values", 1)
    check_probability(level, "The level")
    if resamples < 1:
        raise ValueError(f"There are {resamples} resamples, expected at least 1.")
    mean, count = float(numbers.mean()), len(numbers)
    if count == 1:
        return Interval(mean, math.nan, math.nan, level)
    if all_equal(numbers, float(np.abs(numbers).max())):
        return Interval(mean, mean, mean, level)
    rng = np.random.default_rng(seed)
    rows = max(1, CHUNK // count)
    means = [
        numbers[rng.integers(0, count, (min(rows, resamples - start), count))].mean(axis=1)
        for start in range(0, resamples, rows)
    ]
    low, high = bca_bounds(np.concatenate(means), mean, acceleration(numbers), level)
    return Interval(mean, low, high, level)


def bca_bounds(resampled: Floats, estimate: float, skew: float, level: float) -> tuple[float, float]:
    """Return BCa bounds from resampled statistics (R,), the statistic itself and its acceleration.

    Resampled values equal to the estimate count half. If the correction is undefined (all resampled values lie on one
    side, or the skew is too strong for the level), the bounds are the plain percentiles.
    """
    tail = (1 - level) / 2
    tolerance = TIE * float(np.abs(resampled).max())
    below = float(np.mean(resampled < estimate - tolerance))
    above = float(np.mean(resampled > estimate + tolerance))
    below_or_half = (below + 1 - above) / 2
    levels = [tail, 1 - tail]
    if 0 < below_or_half < 1:
        normal = NormalDist()
        bias = normal.inv_cdf(below_or_half)
        shifted = [bias + normal.inv_cdf(probability) for probability in levels]
        if all(1 - skew * z > 0 for z in shifted):
            levels = [normal.cdf(bias + z / (1 - skew * z)) for z in shifted]
    low, high = np.quantile(resampled, levels)
    return float(low), float(high)


def acceleration(values: Floats) -> float:
    """Return the mean's acceleration by the jackknife, Σ(x - x̄)³ / (6 (Σ(x - x̄)²)^1.5), for unequal values."""
    centred = values - values.mean()
    return float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))


def t_quantile(alpha: float, degrees: float) -> float:
    """Return half the width of Student's two-sided interval at level 1 - alpha, in standard errors."""
    from scipy.special import stdtrit

    return float(-stdtrit(degrees, alpha / 2))


def t_p_value(t: float, degrees: float) -> float:
    """Return the two-sided p of Student's t."""
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(t)))
