"""The interval of one mean accuracy: other seeds would give other networks, another test set other images."""

import math

import numpy as np
from numpy.typing import ArrayLike

from headstart.statistics.arrays import check_share, finite
from headstart.statistics.intervals import Interval, t_quantile
from headstart.statistics.mean_error import MeanError, two_way_error

SHARED = 4.0
"""Answers that count as shared by all runs before any is seen; about z², as in Agresti & Coull 1998."""


def accuracy_interval(correct: ArrayLike, level: float = 0.95) -> Interval:
    """Return the interval of the mean accuracy of S runs on the same N test images, given each answer (S, N).

    The images' part is Wilson's score interval (1927), which keeps within 0 and 1 and has a width even where every
    answer is right. It takes as many independent answers as have the variance that ``two_way_error`` finds: N where all
    runs are right on the same images, up to S N where they are not. What the runs vary beyond that is added to each
    side in squares (Zou & Donner 2008, Statist. Med. 27:1693). One run gives Wilson's interval.
    ValueError unless the answers are boolean (or 0 and 1).
    """
    answers = finite(correct, "The answers", 2)
    if not np.isin(answers, (0, 1)).all():
        raise ValueError("Whether an answer was right is True or False, expected boolean arrays.")
    mean = float(answers.mean())
    if len(answers) == 1 or answers.shape[1] == 1:
        return _interval(mean, answers.shape[1], MeanError(), check_share(level, "The level"))
    error = two_way_error(answers)
    return _interval(mean, independent_answers(mean, answers.shape, error), error, check_share(level, "The level"))


def score_interval(
    mean: float,
    deviation: float,
    count: int,
    images: int | None = None,
    overlap: float | None = None,
    level: float = 0.95,
) -> Interval:
    """Return the interval of the mean accuracy of ``count`` runs where single answers are not known.

    Without ``overlap`` all runs were tested on the same ``images``: all are taken to be right on the same ones, which
    is the worst case. With ``overlap``, as in ``paired_runs``, each run was tested on images of its own, ``images`` in
    all: their sampling is part of the deviation over runs, and Wilson's interval is the least there is. Without
    ``images`` the interval is Student's over runs. One run without ``images`` gives NaN bounds.
    """
    alpha = 1 - check_share(level, "The level")
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
    """Return how many independent answers would have the images' variance of the mean; from N to S N.

    Few wrong answers (or few right ones) do not show how far runs share them, so ``SHARED`` are added that all share.
    """
    runs, images = shape
    found = runs * images * min(mean, 1 - mean)
    if not found:
        return float(images)
    share = float(error.images + error.rest) * images / (mean * (1 - mean))
    share = min(1.0, max(1 / runs, (found * share + SHARED) / (found + SHARED)))
    return images / share


def _interval(mean: float, answers: float, error: MeanError, level: float) -> Interval:
    """Return Wilson's interval on so many independent answers, with what runs vary beyond images on each side."""
    alpha = 1 - level
    squared = t_quantile(alpha, max(answers - 1, 1)) ** 2
    middle = (mean + squared / (2 * answers)) / (1 + squared / answers)
    half = math.sqrt(squared * (mean * (1 - mean) + squared / (4 * answers)) / answers) / (1 + squared / answers)
    beyond = float(error.beyond_images(alpha))
    low = mean - math.hypot(mean - (middle - half), math.sqrt(beyond))
    high = mean + math.hypot(middle + half - mean, math.sqrt(beyond))
    return Interval(mean, max(low, 0.0), min(high, 1.0), level)
