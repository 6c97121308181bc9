"""Compute how many seeds or test images a difference needs to become significant.

All functions treat the observed difference and deviations as the true ones. Few runs estimate them poorly, so the
numbers only show an order of magnitude (a few seeds, hundreds, never), not which side would win.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from headstart.statistics.arrays import Floats, check_probability
from headstart.statistics.mean_error import MeanError
from headstart.statistics.paired import PairedDifference

MOST_RUNS = 10_000
MOST_IMAGES = 10_000_000


@dataclass(frozen=True)
class Deviations:
    """Standard deviations of the effects in ``paired_both``'s two-way model, in the unit of the difference."""

    seeds: float
    images: float
    rest: float


@dataclass(frozen=True)
class Needed:
    """Runs needed with the present images, and images needed with the present runs; None if no number suffices."""

    runs: int | None
    images: int | None


def runs_needed(
    difference: float, deviation: float, power: float = 0.8, alpha: float = 0.05, overlap: float = 0.0
) -> int | None:
    """Return how many pairs of runs a two-sided paired t-test needs to find a true difference at ``power``.

    ``deviation`` is that of the differences between paired runs, ``overlap`` as in ``paired_runs``. None above 10,000
    and for no difference. Without overlap it is statsmodels' ``TTestPower().solve_power``, rounded up.
    """

    def enough(runs: int) -> bool:
        return t_power(difference, deviation * math.sqrt(1 / runs + overlap), runs - 1, alpha) >= power

    _check(difference, (deviation, overlap), power, alpha)
    return _smallest(enough, MOST_RUNS) if difference else None


def runs_needed_both(
    difference: float, deviations: Deviations, images: int, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return how many pairs of runs the test of ``paired_both`` needs on ``images`` test images.

    None above 10,000. Usually the images are then too few for any number of seeds; see ``images_needed``.
    """

    def enough(runs: int) -> bool:
        return two_way_power(difference, deviations, runs, images, alpha) >= power

    _check(difference, (deviations.seeds, deviations.images, deviations.rest), power, alpha)
    return _smallest(enough, MOST_RUNS) if difference else None


def images_needed(
    difference: float, deviations: Deviations, runs: int, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Return how many test images the test of ``paired_both`` needs with ``runs`` pairs of runs.

    None above ten million. Usually the deviation over seeds is then too large for any number of images.
    """

    def enough(images: int) -> bool:
        return two_way_power(difference, deviations, runs, images, alpha) >= power

    _check(difference, (deviations.seeds, deviations.images, deviations.rest), power, alpha)
    return _smallest(enough, MOST_IMAGES) if difference else None


def sample_needed(difference: PairedDifference, power: float = 0.8, alpha: float = 0.05) -> Needed | None:
    """Return what ``paired_runs`` or ``paired_both`` would need; None for one pair of runs.

    For m comparisons, pass ``alpha`` / m, as Bonferroni's correction does.
    """
    found, size = difference.other, difference.difference
    if "deviation_rest" in found:
        deviations = Deviations(found["deviation_seeds"], found["deviation_images"], found["deviation_rest"])
        assert difference.images is not None
        return Needed(
            runs_needed_both(size, deviations, difference.images, power, alpha),
            images_needed(size, deviations, difference.pairs, power, alpha),
        )
    if "deviation" in found:
        return Needed(runs_needed(size, found["deviation"], power, alpha, found.get("overlap", 0.0)), None)
    return None


def t_power(difference: float, error: float, degrees: float, alpha: float) -> float:
    """Return the probability that a two-sided t-test at ``alpha`` finds a true difference, given the standard error.

    A rejection in the wrong direction does not count, unlike in statsmodels.
    """
    from scipy.special import chdtrc, nctdtr, ndtr, stdtrit

    if error == 0:
        return 1.0
    bound, shift = float(-stdtrit(degrees, alpha / 2)), abs(difference) / error
    # t = (normal + shift) / √(χ²/degrees) misses the bound only if the normal falls below -shift/2 or the root exceeds
    # shift / (2 bound). If both together are rarer than one in a million, SciPy may return NaN.
    if ndtr(-shift / 2) + chdtrc(degrees, degrees * min(shift / (2 * bound), 1e100) ** 2) < 1e-6:
        return 1.0
    return float(1 - nctdtr(degrees, shift, bound))


def two_way_power(difference: float, deviations: Deviations, runs: int, images: int, alpha: float) -> float:
    """Return the power of ``paired_both``'s test, averaged over the possible estimates of the runs' variance.

    The variances of images and rest are treated as known. Raises ValueError below two runs or images.
    """
    from scipy.special import ndtr

    if runs < 2 or images < 2:
        raise ValueError(f"There are {runs} pairs of runs and {images} images, expected at least two of each.")
    of_runs, of_images, rest = (size**2 for size in (deviations.seeds, deviations.images, deviations.rest))
    variance = of_runs / runs + of_images / images + rest / (runs * images)
    if variance == 0:
        return 1.0
    error = MeanError(
        images=of_images / images,
        rest=rest / (runs * images),
        runs=(of_runs / runs + rest / (runs * images)) * _chi_square_over_degrees(runs - 1),
        image_degrees=images - 1,
        run_degrees=runs - 1,
    )
    return float(ndtr((abs(difference) - error.half(alpha)) / math.sqrt(variance)).mean())


@lru_cache(maxsize=100)
def _chi_square_over_degrees(degrees: int) -> Floats:
    """Return ratios of an estimated variance to the true one: 500 equally likely quantiles (500,)."""
    from scipy.special import chdtri

    values: Floats = chdtri(degrees, 1 - (np.arange(500) + 0.5) / 500) / degrees
    return values


def _smallest(enough: Callable[[int], bool], most: int) -> int | None:
    """Return the smallest sufficient number from 2 to ``most``, by bisection, or None."""
    numbers = range(2, most + 1)
    place = bisect_left(numbers, True, key=enough)
    return numbers[place] if place < len(numbers) else None


def _check(difference: float, sizes: tuple[float, ...], power: float, alpha: float) -> None:
    check_probability(power, "The power")
    check_probability(alpha, "Alpha")
    if not math.isfinite(difference) or not all(0 <= size < math.inf for size in sizes):
        raise ValueError("The difference or a deviation is negative, NaN or infinite, expected finite deviations.")
