"""Forecast the error at more labels from errors at fewer: an inverse power law, fitted on a grid of its parameters."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
FLOORS = np.linspace(0, 1, 41)  # of the error, as shares of the smallest mean error
EXPONENTS = np.geomspace(0.05, 2, 41)
SCALES = np.linspace(-1.5, 1.5, 61)  # logarithms, relative to the scale that fits the largest size
# The shape that curves usually have: ln(exponent) with this mean and deviation; floors are uniform.
USUAL, SPREAD = math.log(0.5), 0.6
LEAST_DEVIATION = 0.002  # of a mean error, however well repetitions agree: no curve is exactly a power law
LAW = 0.02  # deviation of a mean error from the law, as a share of the error


@dataclass(frozen=True)
class Forecast:
    """The expected error at a number of labels, with an interval for one measured error; errors are fractions of 1."""

    labels: float
    error: float
    low: float
    high: float


@dataclass(frozen=True)
class LearningCurve:
    """The posterior of the curves ``a + b n^-c``, n labels a class, on a grid, and the spread of measured errors."""

    floor: Floats  # a, (P,)
    scale: Floats  # b, (P,)
    exponent: Floats  # c, (P,)
    probability: Floats  # (P,), with the sum 1
    deviation: float  # of one measured error at the largest size
    largest: float  # labels a class of the largest size

    def gain(self, labels: float) -> float:
        """Return the expected fall of the error from the largest size to ``labels`` labels a class."""
        falls = self.scale * (self.largest**-self.exponent - labels**-self.exponent)
        return float(self.probability @ falls)

    def forecast(self, labels: float, level: float = 0.9) -> Forecast:
        """Return the forecast at ``labels`` labels a class, with a two-sided interval of this level."""
        errors = self.floor + self.scale * labels**-self.exponent
        mean = float(self.probability @ errors)
        # The density of a measured error is a mixture of Gaussians around the curves, here on a line of points.
        line = np.linspace(max(0.0, errors.min() - 6 * self.deviation), errors.max() + 6 * self.deviation, 2001)
        order = np.argsort(errors)
        places = np.searchsorted(line, errors[order])
        mass = np.bincount(places, self.probability[order], len(line))
        step = line[1] - line[0]
        reach = max(1, math.ceil(5 * self.deviation / step))
        kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) * step / self.deviation) ** 2)
        density = np.convolve(mass, kernel, mode="full")[reach : reach + len(line)]
        total = np.cumsum(density) / density.sum()
        low, high = (float(line[np.searchsorted(total, share)]) for share in ((1 - level) / 2, (1 + level) / 2))
        return Forecast(labels, mean, min(low, mean), min(max(high, mean), 1.0))


def fit_learning_curve(labels: ArrayLike, errors: ArrayLike, images: int, pool: float | None = None) -> LearningCurve:
    """Return the posterior of learning curves, from errors (R, S) of R repetitions at S sizes ``labels`` (S,).

    ``labels`` are labels a class, rising; errors are fractions of 1, measured on ``images`` images. The curve is an
    inverse power law (Hestness et al. 2017, arXiv:1712.00409). Mean errors have Gaussian noise: the spread of the
    repetitions, plus a share for the law itself, which no curve follows exactly. All repetitions share the test images,
    whose noise moves the whole curve and is added to the interval of a forecast.

    If the repetitions are subsets of the same ``pool`` labels a class, they overlap: their spread is smaller than that
    of separate draws, by ``1 - labels / pool`` in variance, and R of them count as no more than ``pool / labels``
    draws. Raises ValueError for fewer than three sizes or two repetitions.
    """
    sizes, found = np.asarray(labels, dtype=np.float64), np.asarray(errors, dtype=np.float64)
    if found.ndim != 2 or found.shape[1] != len(sizes) or len(sizes) < 3 or len(found) < 2:
        raise ValueError(f"Errors have the shape {found.shape}, expected (R, {len(sizes)}), R of 2 and S of 3 or more.")
    if (np.diff(sizes) <= 0).any() or sizes[0] <= 0 or not np.isfinite(found).all():
        raise ValueError("Expected rising sizes above 0 and finite errors.")
    means = found.mean(axis=0)
    variance = _variances(sizes, found, pool)
    draws = np.full(len(sizes), float(len(found))) if pool is None else np.clip(pool / sizes, 1, len(found))
    noise = np.sqrt(variance / draws + LEAST_DEVIATION**2 + (LAW * means) ** 2)
    floor, exponent, scale = (grid.ravel() for grid in np.meshgrid(FLOORS, EXPONENTS, SCALES, indexing="ij"))
    floor = floor * means.min()
    last = max(float(means[-1]), 1e-6)
    scale = np.exp(scale) * np.maximum(last - floor, 0.05 * last) * sizes[-1] ** exponent
    misfit = sum(
        ((floor + scale * size**-exponent - mean) / deviation) ** 2
        for size, mean, deviation in zip(sizes, means, noise, strict=True)
    )
    log_posterior = -0.5 * misfit - 0.5 * ((np.log(exponent) - USUAL) / SPREAD) ** 2
    probability = np.exp(log_posterior - log_posterior.max())
    probability /= probability.sum()
    kept = probability > 1e-9
    share = (float(means[-1]) * images + 1) / (images + 2)  # so that no wrong answer does not mean no noise
    of_images = share * (1 - min(share, 1.0)) / images
    deviation = math.sqrt(float(variance[-1]) + of_images + LEAST_DEVIATION**2)
    return LearningCurve(
        floor[kept], scale[kept], exponent[kept], probability[kept] / probability[kept].sum(), deviation, sizes[-1]
    )


def _variances(sizes: Floats, errors: Floats, pool: float | None) -> Floats:
    """Return the variance of one error at each size, smoothed over the sizes, if its labels were drawn separately."""
    variance = errors.var(axis=0, ddof=1)
    known = np.ones(len(sizes), dtype=bool)
    if pool is not None:
        left = 1 - sizes / pool
        known = left > 0.1  # otherwise the repetitions have nearly all labels in common
        variance = np.where(known, variance / np.maximum(left, 0.1), 0)
    if not known.any():
        raise ValueError(f"All sizes are nearly the pool of {pool:g} labels, so that nothing varies.")
    return np.where(known, (variance + variance[known].mean()) / 2, variance[known][-2:].mean())
