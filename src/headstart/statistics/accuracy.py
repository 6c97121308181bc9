"""Compute the interval of a mean accuracy, which varies with the seeds and with the test images."""

import math

import numpy as np
from numpy.typing import ArrayLike

from headstart.statistics.arrays import check_probability, finite
from headstart.statistics.intervals import Interval, t_quantile
from headstart.statistics.mean_error import MeanError, two_way_error

SHARED = 4.0
"""Pseudo-answers that all runs are assumed to share; about z², as in Agresti & Coull 1998."""


def accuracy_interval(correct: ArrayLike, level: float = 0.95) -> Interval:
    """Return the interval of the mean accuracy of S runs on the same N test images, given all answers (S, N).

    The part due to images is Wilson's score interval (1927), which stays within 0 and 1 and has a width even if every
    answer is right. Its number of independent answers matches the variance from ``two_way_error``: N if all runs are
    right on the same images, up to S N otherwise. The additional variance between runs is added to each side in squares
    (Zou & Donner 2008, Statist. Med. 27:1693). One run gives Wilson's interval. Raises ValueError unless the answers
    are boolean (or 0 and 1).
    """
    answers = finite(correct, "The answers", 2)
    if not np.isin(answers, (0, 1)).all():
        raise ValueError("The answers hold other values than True and False, expected boolean arrays.")
    check_probability(level, "The level")
    mean = float(answers.mean())
    if len(answers) == 1 or answers.shape[1] == 1:
        return _interval(mean, answers.shape[1], MeanError(), level)
    error = two_way_error(answers)
    return _interval(mean, independent_answers(mean, answers.shape, error), error, level)


def score_interval(
    mean: float,
    deviation: float,
    count: int,
    images: int | None = None,
    overlap: float | None = None,
    level: float = 0.95,
) -> Interval:
    """Return the interval of the mean accuracy of ``count`` runs if single answers are not known.

    Without ``overlap``, all runs were tested on the same ``images``; this assumes the worst case, that all runs are
    right on the same images. With ``overlap``, as in ``paired_runs``, each run had its own test images, ``images`` in
    all. Their sampling is then part of the deviation over runs, and the interval is at least Wilson's. Without
    ``images`` it is Student's interval over runs. One run without ``images`` gives NaN bounds.
    """
    alpha = 1 - check_probability(level, "The level")
    if count < 2:
        return _interval(mean, images, MeanError(), level) if images else Interval(mean, math.nan, math.nan, level)
    error = MeanError(runs=deviation**2 * (1 / count + (overlap or 0)), run_degrees=count - 1)
    if images is None:
        half = float(error.half(alpha))
        return Interval(mean, mean - half, mean + half, level)
    if overlap is None:
        return _interval(mean, images, error, level)
    of_images, half = _interval(mean, images, MeanError(), level), float(error.half(alpha))
    low, high = min(of_images.low, mean - half), max(of_images.high, mean + half)
    return Interval(mean, max(low, 0.0), min(high, 1.0), level)


def independent_answers(mean: float, shape: tuple[int, ...], error: MeanError) -> float:
    """Return how many independent answers, from N to S N, would give the images' variance of the mean.

    Few wrong answers (or few right ones) do not show how much runs share them, so ``SHARED`` shared answers are added.
    """
    runs, images = shape
    found = runs * images * min(mean, 1 - mean)
    if not found:
        return float(images)
    shared = float(error.images + error.rest) * images / (mean * (1 - mean))
    shared = min(1.0, max(1 / runs, (found * shared + SHARED) / (found + SHARED)))
    return images / shared


def _interval(mean: float, answers: float, error: MeanError, level: float) -> Interval:
    """Return Wilson's interval on this many independent answers, widened by the runs' additional variance."""
    alpha = 1 - level
    squared = t_quantile(alpha, max(answers - 1, 1)) ** 2
    middle = (mean + squared / (2 * answers)) / (1 + squared / answers)
    half = math.sqrt(squared * (mean * (1 - mean) + squared / (4 * answers)) / answers) / (1 + squared / answers)
    beyond = float(error.beyond_images(alpha))
    low = mean - math.hypot(mean - (middle - half), math.sqrt(beyond))
    high = mean + math.hypot(middle + half - mean, math.sqrt(beyond))
    return Interval(mean, max(low, 0.0), min(high, 1.0), level)
