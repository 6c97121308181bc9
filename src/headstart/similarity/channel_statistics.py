"""Compare the statistics of a target's channels with those that batch norm has stored: no source image is needed."""

import numpy as np
from numpy.typing import ArrayLike


def statistics_distance(
    stored_mean: ArrayLike, stored_variance: ArrayLike, mean: ArrayLike, variance: ArrayLike, eps: float = 1e-5
) -> float:
    """Return how far the channels of a layer (C,) moved, in units of their stored deviation.

    Each channel is a Gaussian, before and now. The squared Wasserstein-2 distance of the two, ``(m1 - m2)^2 + (s1 -
    s2)^2``, is divided by the stored variance plus batch norm's ``eps``. The result is the root of the mean over
    channels: 0 for the same statistics, 1 for means one deviation away.
    """
    first_mean, first, second_mean, second = (
        np.asarray(values, dtype=np.float64) for values in (stored_mean, stored_variance, mean, variance)
    )
    if not first_mean.shape == first.shape == second_mean.shape == second.shape or first.ndim != 1:
        raise ValueError("Expected four arrays (C,) of the same length.")
    squared = (first_mean - second_mean) ** 2 + (np.sqrt(first) - np.sqrt(second)) ** 2
    return float(np.sqrt((squared / (first + eps)).mean()))
