"""Compare two strategies that share seeds, test images, or both."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.statistics.arrays import TIE, Floats, all_equal, check_probability, pair
from headstart.statistics.intervals import RESAMPLES
from headstart.statistics.mean_error import MeanError, two_way_error

BLOCK = 50  # resamples drawn at once
KEPT_IMAGES = 10_000  # up to this many images, draws are cached for the next comparison: at most 40 MB
EXACT_PAIRS = 16  # up to this many pairs J, all 2^J sign flips are tried


@dataclass(frozen=True)
class PairedDifference:
    """A mean difference a - b, in the unit of the scores, with its two-sided interval and p.

    The interval excludes zero if and only if p is below 1 - level; ``at`` gives it at other levels.
    """

    difference: float
    low: float
    high: float
    p_value: float
    """NaN if there is only one pair of scores."""
    effect_size: float
    """Cohen's d_z over runs (mean / standard deviation of the differences); NaN if undefined."""
    pairs: int
    """Pairs of runs; with 1, nothing is known about other seeds."""
    images: int | None
    """Test images, if each was compared separately."""
    method: str
    other: Mapping[str, float] = field(default_factory=dict)
    """Further p-values, bounds and deviations by name."""
    level: float = 0.95
    error: MeanError | None = None
    """The error of the mean, which gives interval and p; None without deviation, or with one pair."""
    identical: bool = False
    """Whether all scores are equal."""

    def at(self, level: float) -> "PairedDifference":
        """Return the difference with its interval at another level; without an error, the bounds stay the same."""
        if self.error is None:
            return replace(self, level=level)
        half = float(self.error.half(1 - level))
        return replace(self, level=level, low=self.difference - half, high=self.difference + half)

    def within(self, most: float) -> "PairedDifference":
        """Return the difference with bounds of at most ``most`` in size, as no difference can be larger."""
        return replace(self, low=max(self.low, -most), high=min(self.high, most))

    @property
    def negated(self) -> "PairedDifference":
        """Return b - a."""
        other = dict(self.other)
        if "bootstrap_low" in other:
            other["bootstrap_low"], other["bootstrap_high"] = -other["bootstrap_high"], -other["bootstrap_low"]
        low, high, effect = -self.high, -self.low, -self.effect_size
        return replace(self, difference=-self.difference, low=low, high=high, effect_size=effect, other=other)


def paired_runs(
    a: ArrayLike, b: ArrayLike, overlap: float | None = None, level: float = 0.95, seed: int = 0
) -> PairedDifference:
    """Compare scores (J,) of J pairs of runs, such as runs with the same seed, by the paired t-test.

    Without ``overlap`` the pairs are independent: SE² = s²/J, as in scipy.stats.ttest_rel. Runs that share training
    images (folds, repeated splits) are dependent: with ``overlap`` = n_test / n_train (1/(k - 1) for k folds), SE² is
    s² (1/J + overlap), the corrected resampled t-test (Nadeau & Bengio 2003, Machine Learning 52, eq. 7).

    ``other`` holds deviation (of the differences), overlap, and for independent pairs p_permutation, by random signs of
    the differences (all 2^J for J <= 16, otherwise 9,999 random draws).

    One pair gives NaN bounds and p. Equal scores give p = 1 and an interval of no width. If all pairs differ by the
    same amount, t is infinite only because scores are coarse: the bounds are NaN, and p is p_permutation (NaN with
    overlap). Raises ValueError for other shapes, NaN or infinity.
    """
    first, second = pair(a, b, 1)
    check_probability(level, "The level")
    if overlap is not None and not 0 <= overlap < math.inf:
        raise ValueError(f"The overlap is {overlap}, expected n_test / n_train, 0 or more.")
    differences, count = first - second, len(first)
    mean, method = (
        float(differences.mean()),
        "paired t-test over runs" if overlap is None else "corrected paired t-test",
    )
    if count == 1:
        return PairedDifference(mean, math.nan, math.nan, math.nan, math.nan, 1, None, method)
    other = {"overlap": overlap} if overlap is not None else {"p_permutation": _sign_flip_p(differences, seed)}
    if all_equal(differences, _scale(first, second)):
        other["deviation"] = 0.0
        p = other.get("p_permutation", math.nan)
        return _without_deviation(differences, p, _scale(first, second), count, None, method, other)
    deviation = float(differences.std(ddof=1))
    other["deviation"] = deviation
    error = MeanError(runs=deviation**2 * (1 / count + (overlap or 0)), run_degrees=count - 1)
    return _with_error(mean, error, level, mean / deviation, count, None, method, other)


def paired_both(
    correct_a: ArrayLike, correct_b: ArrayLike, level: float = 0.95, seed: int = 0, resamples: int = 1_000
) -> PairedDifference:
    """Compare S pairs of runs on the same N test images; seeds and images are both treated as random samples.

    ``correct_a`` and ``correct_b`` hold answers (right or wrong) or losses. Each difference (S, N) is modelled as d_sn
    = μ + seed_s + image_n + rest_sn with independent random effects. Interval and p come from the error of the mean;
    see ``MeanError`` and ``two_way_error``. In simulations of right and wrong answers, 95 % intervals cover at least 94
    % for two seeds or more (``scripts/interval_coverage.py``, docs/reports.md). Randomness that the seeds do not vary
    is not covered.

    With S = 1 the error is due to images only: p and interval hold for this pair of runs, as ``method`` states.

    ``other`` holds standard_error; bootstrap_low and bootstrap_high, percentiles at ``level`` of the mean over
    resampled seeds and images (the pigeonhole bootstrap, Owen 2007; ``resamples`` = 0 omits it); for S >= 2
    deviation_seeds, deviation_images and deviation_rest (the σ above), and p_permutation over the seeds' means; for S =
    1 and right or wrong answers p_mcnemar.

    The effect size is d_z over the seeds' means. Raises ValueError for other shapes, fewer than two images, NaN or
    infinity.
    """
    first, second = pair(correct_a, correct_b, 2)
    check_probability(level, "The level")
    seeds, images = first.shape
    if images < 2:
        raise ValueError("There is one test image, expected at least two.")
    differences = first - second
    mean, by_seed = float(differences.mean()), differences.mean(axis=1)
    method = "t-test over seeds and images" if seeds > 1 else "t-test over images, one seed"
    boolean, other = _is_boolean(first, second), dict[str, float]()
    if seeds > 1:
        other["p_permutation"] = _sign_flip_p(by_seed, seed)
    elif boolean:
        other["p_mcnemar"] = _mcnemar_p(int((differences > 0).sum()), int((differences < 0).sum()))
    if not boolean and all_equal(differences, _scale(first, second)):
        p = _sign_flip_p(differences[0], seed)
        return _without_deviation(differences[0], p, _scale(first, second), seeds, images, method, other)
    error = two_way_error(differences, of_answers=boolean)
    other["standard_error"] = math.sqrt(error.total)
    if seeds > 1:
        other["deviation_seeds"] = math.sqrt(max(error.runs - error.rest, 0.0) * seeds)
        other["deviation_images"] = math.sqrt(error.images * images)
        other["deviation_rest"] = math.sqrt(error.rest * differences.size)
    if resamples:
        tails = [(1 - level) / 2, (1 + level) / 2]
        bounds = np.quantile(_crossed_means(differences, seed, resamples), tails)
        other["bootstrap_low"], other["bootstrap_high"] = (float(bound) for bound in bounds)
    effect = math.nan if all_equal(by_seed, _scale(first, second)) else mean / float(by_seed.std(ddof=1))
    found = _with_error(mean, error, level, effect, seeds, images, method, other)
    return replace(found, identical=not differences.any())


def _with_error(
    mean: float,
    error: MeanError,
    level: float,
    effect: float,
    pairs: int,
    images: int | None,
    method: str,
    other: Mapping[str, float],
) -> PairedDifference:
    p = error.p_value(mean)
    return PairedDifference(mean, mean, mean, p, effect, pairs, images, method, other, error=error).at(level)


def _crossed_means(differences: Floats, seed: int, resamples: int) -> Floats:
    """Return means (R,) over seeds and images, each resampled independently."""
    seeds, images = differences.shape
    rng = np.random.default_rng(seed)
    seed_counts = rng.multinomial(seeds, np.full(seeds, 1 / seeds), size=resamples)
    times_drawn = _times_drawn if images <= KEPT_IMAGES else _times_drawn.__wrapped__
    by_seed = [
        times_drawn(seed, block, images) @ differences.T.astype(np.float32) for block in range(-(-resamples // BLOCK))
    ]
    means: Floats = (np.concatenate(by_seed)[:resamples] * seed_counts).sum(axis=1) / (seeds * images)
    return means


@lru_cache(maxsize=20)
def _times_drawn(seed: int, block: int, images: int) -> NDArray[np.float32]:
    """Return how often each image is drawn, (BLOCK, images); comparisons on equally many images share it."""
    drawn = np.random.default_rng((seed, block)).integers(0, images, (BLOCK, images))
    drawn += images * np.arange(BLOCK)[:, None]
    return np.bincount(drawn.ravel(), minlength=BLOCK * images).reshape(BLOCK, images).astype(np.float32)


def _without_deviation(
    differences: Floats,
    p: float,
    scale: float,
    pairs: int,
    images: int | None,
    method: str,
    other: Mapping[str, float],
) -> PairedDifference:
    """Return the result if all differences are equal: no t-test, p = 1 if they are zero, otherwise by signs."""
    mean = float(differences.mean())
    if abs(mean) <= TIE * scale:
        return PairedDifference(0.0, 0.0, 0.0, 1.0, math.nan, pairs, images, method, other, identical=True)
    method = "sign-flip permutation test, as all differences are equal"
    return PairedDifference(mean, math.nan, math.nan, p, math.nan, pairs, images, method, other)


def _sign_flip_p(differences: Floats, seed: int) -> float:
    """Return the two-sided p of a zero mean, by random signs of the differences."""
    count = len(differences)
    observed = abs(float(differences.sum()))
    nearly = observed - TIE * float(np.abs(differences).sum())
    if count <= EXACT_PAIRS:
        # Flipping all signs keeps the absolute sum, so it is enough to try half of the 2^J ways, with one sign fixed.
        bits = np.arange(2 ** (count - 1))[:, None] >> np.arange(count) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ differences) >= nearly))
    if all_equal(differences, float(np.abs(differences).max())):
        return 1.0 if observed == 0 else 2.0 ** (1 - count)
    signs = 1 - 2 * np.random.default_rng(seed).integers(0, 2, (RESAMPLES, count))
    return float((np.sum(np.abs(signs @ differences) >= nearly) + 1) / (RESAMPLES + 1))


def _mcnemar_p(only_a: int, only_b: int) -> float:
    """Return the two-sided exact p of McNemar's test, from the images that only a or only b has right."""
    from scipy.special import bdtr

    return min(1.0, float(2 * bdtr(min(only_a, only_b), only_a + only_b, 0.5))) if only_a + only_b else 1.0


def _is_boolean(*arrays: Floats) -> bool:
    return all(bool(np.isin(array, (0, 1)).all()) for array in arrays)


def _scale(*arrays: Floats) -> float:
    return max(float(np.abs(array).max()) for array in arrays)
