"""Prediction sets whose coverage is calibrated on other images (split conformal prediction)."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def class_scores(targets: NDArray[np.int64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return 1 less the probability of the true class, (N,), of probabilities (N, C).

    Sets of all classes with a score of at most a threshold are the smallest on average that reach a coverage (Sadinle,
    Lei & Wasserman 2019, arXiv:1609.00451).
    """
    return 1 - probabilities[np.arange(len(targets)), targets]


def score_limit(scores: Sequence[float] | NDArray[np.float64], level: float, images: int | None = None) -> float:
    """Return the largest score that a set of this coverage holds; infinity where there are too few images.

    The limit is the score of rank ``ceil((n + 1) level)`` of n images, which covers a new image of the same kind with
    a probability of at least ``level`` and less than ``level + 1 / (n + 1)`` (Vovk et al. 2005; Lei et al. 2018,
    arXiv:1604.04173). ``scores`` are sorted; where they are evenly spaced ranks of more ``images``, the next
    one counts.
    """
    kept = len(scores)
    count = kept if images is None else max(images, kept)
    rank = math.ceil(round((count + 1) * level, 9))
    if rank > count:
        return math.inf
    place = rank - 1 if kept == count else math.ceil(round((rank - 1) * (kept - 1) / (count - 1), 9))
    return float(scores[min(max(place, 0), kept - 1)])


def prediction_sets(probabilities: NDArray[np.float64], limit: float) -> NDArray[np.bool_]:
    """Return which classes are in the set of each image, (N, C); a set may be empty.

    An image for which no class is likely enough has an empty set: it is among the images that are not covered.
    """
    sets: NDArray[np.bool_] = 1 - probabilities <= limit
    return sets
