"""Compute the error of a mean over runs and test images: its parts, and the resulting interval and p."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from headstart.statistics.arrays import check_probability, finite
from headstart.statistics.intervals import Interval, t_p_value, t_quantile

Numbers = Any
"""A float, or an array with one number for each of many tables."""
STEPS = 60
SMALLEST = 1e-200
"""Smaller p-values are treated as this one."""


@dataclass(frozen=True)
class MeanError:
    """Squared standard errors of a mean by source, each with its degrees of freedom.

    ``runs`` is the variance of the mean, estimated from the runs' means; ``rest`` is the part of it that single answers
    explain. ``images`` is the variance due to images, which more runs do not reduce. The interval is mean ± half, with

        half² = t(image_degrees)² images + max(t(image_degrees)² rest, t(run_degrees)² runs)

    So each part is multiplied by Student's t of its own degrees of freedom. Such an interval has at least its nominal
    coverage, whatever the ratio of the parts (Banerjee 1961, Biometrika 48:424). A single t with Satterthwaite's
    degrees gives a narrower interval, which covers too little if two or three runs vary more than the images.
    """

    images: Numbers = 0.0
    rest: Numbers = 0.0
    runs: Numbers = 0.0
    image_degrees: float = 1.0
    run_degrees: float = 1.0

    @property
    def total(self) -> Numbers:
        """Return the squared standard error of the mean."""
        return self.images + np.maximum(self.rest, self.runs)

    def half(self, alpha: float) -> Numbers:
        """Return half the width of the two-sided interval at level 1 - alpha, in the unit of the mean."""
        of_images, of_runs = self._parts(alpha)
        return np.sqrt(of_images * (self.images + self.rest) + of_runs)

    def beyond_images(self, alpha: float) -> Numbers:
        """Return the part of half² that runs add to images and single answers."""
        return self._parts(alpha)[1]

    def p_value(self, difference: float) -> float:
        """Return the two-sided p of a zero mean: the alpha at which the interval ends at zero. Floats only."""
        size, total = abs(difference), math.sqrt(self.total)
        if self.images == self.rest == 0:
            return t_p_value(size / total, self.run_degrees)
        if self.runs == 0:
            return t_p_value(size / total, self.image_degrees)
        ends = sorted((self.image_degrees, self.run_degrees))
        high, low = (math.log(max(t_p_value(size / total, degrees), SMALLEST)) for degrees in ends)
        for _ in range(STEPS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half(math.exp(middle)) > size else (low, middle)
        return math.exp((low + high) / 2)

    def _parts(self, alpha: float) -> tuple[float, Numbers]:
        """Return t² for the images, and the excess of the runs' part over that of ``rest``."""
        of_images, of_runs = (t_quantile(alpha, degrees) ** 2 for degrees in (self.image_degrees, self.run_degrees))
        return of_images, np.maximum(of_runs * self.runs - of_images * self.rest, 0.0)


def mean_interval(table: ArrayLike, level: float = 0.95) -> Interval:
    """Return the interval of the mean of scores (S, N) of any size: S runs on the same N images, both are samples.

    Mean ± half as ``MeanError`` has it. One run gives Student's interval over its images; one image, over the runs.
    """
    scores, alpha = finite(table, "The scores", 2), 1 - check_probability(level, "The level")
    mean, (runs, images) = float(scores.mean()), scores.shape
    if scores.size == 1:
        return Interval(mean, math.nan, math.nan, level)
    if images == 1:
        half = float(MeanError(runs=scores.var(ddof=1) / runs, run_degrees=runs - 1).half(alpha))
    else:
        half = float(two_way_error(scores).half(alpha))
    return Interval(mean, mean - half, mean + half, level)


def two_way_error(table: ArrayLike, of_answers: bool = False) -> MeanError:
    """Return the error of the mean of a table (..., S, N): the scores of S runs on N images.

    The model is μ + run_s + image_n + rest_sn with independent random effects. In the two-way table, the mean square
    MS_runs estimates N σ²_run + σ²_rest, MS_images S σ²_image + σ²_rest, and MS_rest σ²_rest. The parts of the error
    are max(MS_images - MS_rest, 0), MS_rest and MS_runs, each over S N. Radiology compares methods by these sums of
    squares, with readers and cases as samples (Dorfman, Berbaum & Metz 1992; Hillis 2007, Statist. Med. 26:596). A
    single run shows no variance between runs; then only the images' variance remains.

    With ``of_answers`` the scores are differences of right and wrong answers. Their variance is at least that of a
    difference on one image: no difference on N images does not prove that there never is one.
    """
    scores = np.asarray(table, dtype=np.float64)
    runs, images = scores.shape[-2:]
    by_run, by_image = scores.mean(axis=-1), scores.mean(axis=-2)
    ms_images = runs * by_image.var(axis=-1, ddof=1)
    least = 1 / images**2 if of_answers else 0.0
    if runs == 1:
        return MeanError(images=np.maximum(ms_images / images, least), image_degrees=images - 1)
    ms_runs = images * by_run.var(axis=-1, ddof=1)
    rest = scores - by_run[..., None] - by_image[..., None, :] + scores.mean(axis=(-2, -1))[..., None, None]
    ms_rest = (rest**2).sum(axis=(-2, -1)) / ((runs - 1) * (images - 1))
    size = runs * images
    beyond_rest = np.maximum(np.maximum(ms_images, least * size) - ms_rest, 0.0) / size
    return MeanError(beyond_rest, ms_rest / size, ms_runs / size, images - 1, runs - 1)
