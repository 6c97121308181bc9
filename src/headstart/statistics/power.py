"""How many seeds, or test images, a difference would need to be told from zero.

All of it takes the observed difference and deviations for the true ones, which few runs know poorly: the numbers say
how far away an answer is (a few seeds, hundreds, never), not that it will come out in favour of either.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from headstart.statistics.arrays import Floats, check_share
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
    """Runs needed with the images there are, and images needed with the runs there are; None: no number does."""

    runs: int | None
    images: int | None


def runs_needed(
    difference: float, deviation: float, power: float = 0.8, alpha: float = 0.05, overlap: float = 0.0
) -> int | None:
    """Pairs of runs with which a two-sided paired t-test finds a true difference with probability ``power``.

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
    """Pairs of runs that the test of ``paired_both`` needs on ``images`` test images.

    None where more than 10,000 would be needed; above all where the images alone keep the difference from being told
    from zero, whatever the number of seeds: then see ``images_needed``.
    """

    def enough(runs: int) -> bool:
        return two_way_power(difference, deviations, runs, images, alpha) >= power

    _check(difference, (deviations.seeds, deviations.images, deviations.rest), power, alpha)
    return _smallest(enough, MOST_RUNS) if difference else None


def images_needed(
    difference: float, deviations: Deviations, runs: int, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Test images that the test of ``paired_both`` needs with ``runs`` pairs of runs; None above ten million.

    None above all where the deviation over seeds alone keeps the difference from being told from zero.
    """

    def enough(images: int) -> bool:
        return two_way_power(difference, deviations, runs, images, alpha) >= power

    _check(difference, (deviations.seeds, deviations.images, deviations.rest), power, alpha)
    return _smallest(enough, MOST_IMAGES) if difference else None


def sample_needed(difference: PairedDifference, power: float = 0.8, alpha: float = 0.05) -> Needed | None:
    """What a comparison by ``paired_runs`` or ``paired_both`` would need; None for one pair of runs, which cannot tell.

    For several comparisons ``alpha`` is what Bonferroni's correction leaves for one: divided by their number.
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
    """Probability that a two-sided t-test at ``alpha`` finds a true difference, given the standard error.

    A rejection in the wrong direction finds nothing and does not count, unlike in statsmodels.
    """
    from scipy.special import chdtrc, nctdtr, ndtr, stdtrit

    if error == 0:
        return 1.0
    bound, shift = float(-stdtrit(degrees, alpha / 2)), abs(difference) / error
    # t = (normal + shift) / √(χ²/degrees) misses the bound only if the normal falls below -shift/2 or the root exceeds
    # shift / (2 bound). Where both together are rarer than one in a million, the library may answer NaN.
    if ndtr(-shift / 2) + chdtrc(degrees, degrees * min(shift / (2 * bound), 1e100) ** 2) < 1e-6:
        return 1.0
    return float(1 - nctdtr(degrees, shift, bound))


def two_way_power(difference: float, deviations: Deviations, runs: int, images: int, alpha: float) -> float:
    """Power of ``paired_both``'s test: the mean over what the runs' variance may be estimated as.

    The parts that images decide are taken for known. ValueError below two runs or images.
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
    """How far off an estimated variance is, as a share of the true one: quantiles (500,) that are equally likely."""
    from scipy.special import chdtri

    values: Floats = chdtri(degrees, 1 - (np.arange(500) + 0.5) / 500) / degrees
    return values


def _smallest(enough: Callable[[int], bool], most: int) -> int | None:
    """Smallest number from 2 to ``most`` that is enough, by bisection: more is never worse."""
    numbers = range(2, most + 1)
    place = bisect_left(numbers, True, key=enough)
    return numbers[place] if place < len(numbers) else None


def _check(difference: float, sizes: tuple[float, ...], power: float, alpha: float) -> None:
    check_share(power, "The power")
    check_share(alpha, "Alpha")
    if not math.isfinite(difference) or not all(0 <= size < math.inf for size in sizes):
        raise ValueError("The difference or a deviation is negative, NaN or infinite, expected finite deviations.")
