"""The bootstrap interval (BCa) of a mean, and Student's t."""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from headstart.statistics.arrays import TIE, Floats, all_equal, check_share, finite

RESAMPLES = 9_999
CHUNK = 2_000_000  # numbers drawn at a time: 16 MB


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided confidence interval; the bounds are NaN where one value alone says nothing."""

    mean: float
    low: float
    high: float
    level: float


def bootstrap_mean(values: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Bias-corrected and accelerated (BCa) bootstrap interval of the mean of independent values (n,).

    Draws what ``scipy.stats.bootstrap((values,), np.mean, rng=np.random.default_rng(seed))`` draws, without loading
    scipy.stats, and gives its bounds where no resampled mean ties with the mean. Ties count half; they are found up to
    rounding, where SciPy compares to the last bit. So bounds of three to five accuracies differ by up to 0.01 from
    SciPy's. Values that are all equal give an interval of no width; one value gives NaN bounds. Below about ten values
    it is too narrow, as any bootstrap is.
    The time grows with n times resamples: a millisecond for five values, 0.7 s for ten thousand.
    Efron 1987, Better bootstrap confidence intervals, JASA 82. ValueError for none, NaN or infinity.
    """
    numbers = finite(values, "The values", 1)
    check_share(level, "The level")
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
    """BCa bounds from resampled statistics (R,), the statistic itself and its acceleration.

    Resampled values equal to the estimate count half. Where the correction is undefined (every resampled value lies on
    one side of the estimate, or the skew is too strong for the level) the bounds are the plain percentiles.
    """
    tail = (1 - level) / 2
    tolerance = TIE * float(np.abs(resampled).max())
    below = float(np.mean(resampled < estimate - tolerance))
    above = float(np.mean(resampled > estimate + tolerance))
    share = (below + 1 - above) / 2
    levels = [tail, 1 - tail]
    if 0 < share < 1:
        normal = NormalDist()
        bias = normal.inv_cdf(share)
        shifted = [bias + normal.inv_cdf(probability) for probability in levels]
        if all(1 - skew * z > 0 for z in shifted):
            levels = [normal.cdf(bias + z / (1 - skew * z)) for z in shifted]
    low, high = np.quantile(resampled, levels)
    return float(low), float(high)


def acceleration(values: Floats) -> float:
    """Acceleration of the mean from the jackknife: Σ(x - x̄)³ / (6 (Σ(x - x̄)²)^1.5); the values are not all equal."""
    centred = values - values.mean()
    return float((centred**3).sum() / (6 * (centred**2).sum() ** 1.5))


def t_quantile(alpha: float, degrees: float) -> float:
    """Half width of Student's two-sided interval at the level 1 - alpha, in standard errors."""
    from scipy.special import stdtrit

    return float(-stdtrit(degrees, alpha / 2))


def t_p_value(t: float, degrees: float) -> float:
    """Two-sided p of Student's t."""
    from scipy.special import stdtr

    return float(2 * stdtr(degrees, -abs(t)))
