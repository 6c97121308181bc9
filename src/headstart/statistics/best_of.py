"""Correct the score of the best of several candidates for having been chosen by that score."""

import numpy as np
from numpy.typing import ArrayLike

from headstart.statistics.arrays import check_probability, finite
from headstart.statistics.intervals import Interval

RESAMPLES = 1000
LEAST = 5  # images


def best_of(correct: ArrayLike, level: float = 0.9, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """Return the expected accuracy of choosing the best of C candidates by their answers (C, N), and its interval.

    The best accuracy itself is too high, because the same N images choose the candidate and score it. In each of the
    ``resamples``, N images drawn with replacement choose, and the images that were not drawn score (Tsamardinos et al.
    2018, bootstrap bias correction, arXiv:1708.07180). Ties go to the first candidate. Raises ValueError for fewer than
    five images.
    """
    answers = finite(correct, "The answers", 2)
    check_probability(level, "The level")
    count = answers.shape[1]
    if count < LEAST:
        raise ValueError(f"There are {count} images, expected at least {LEAST}.")
    rng = np.random.default_rng(seed)
    times = rng.multinomial(count, np.full(count, 1 / count), resamples)  # (resamples, N)
    chosen = (answers @ times.T).argmax(axis=0)
    left = times == 0
    drawn = left.any(axis=1)
    scores = (answers[chosen] * left).sum(axis=1)[drawn] / left.sum(axis=1)[drawn]
    # The images left out are a share s of N without replacement: their scores vary by (1 - s) / s of what N would.
    mean = float(scores.mean())
    share = float(left[drawn].mean())
    low, high = mean + (np.quantile(scores, [(1 - level) / 2, (1 + level) / 2]) - mean) * np.sqrt(share / (1 - share))
    return Interval(mean, max(0.0, float(low)), min(1.0, float(high)), level)
