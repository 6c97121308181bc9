"""Compute R² of numbers of pixels from sums over the pixels, for all images and for each image.

The tally (5,) of an image has, over the pixels with a target: their count, the sum of the targets, the sum of their
squares, the sum of squared errors, and the sum of absolute errors.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SUMS = ("pixels", "sum", "squares", "squared_error", "absolute_error")
AT_ONCE = 16  # images whose targets are read together


def error_tallies(predicted: NDArray[Any], targets: Any) -> Floats:
    """Return the tallies (N, 5) of predicted numbers (N, H, W).

    ``targets`` gives true numbers by index, and is read in chunks; NaN in them is no number.
    """
    return np.array(list(_tallies(predicted, targets)), dtype=np.float64).reshape(-1, len(SUMS))


def _tallies(predicted: NDArray[Any], targets: Any) -> Iterator[list[float]]:
    for start in range(0, len(predicted), AT_ONCE):
        places = np.arange(start, min(start + AT_ONCE, len(predicted)))
        for found, true in zip(predicted[places], targets[places], strict=True):
            known = ~np.isnan(true)
            numbers, error = true[known].astype(np.float64), (found[known] - true[known]).astype(np.float64)
            yield [numbers.size, numbers.sum(), (numbers**2).sum(), (error**2).sum(), np.abs(error).sum()]


def r_squared_of(tallies: NDArray[Any]) -> float:
    """Return R², the explained share of the variance over all pixels; NaN if the targets do not vary."""
    pixels, total, squares, errors, _ = np.asarray(tallies, dtype=np.float64).sum(axis=0)
    spread = squares - total**2 / pixels if pixels else 0.0
    return float(1 - errors / spread) if spread > 1e-12 * squares else float("nan")


def r_squared_by_image(tallies: NDArray[Any]) -> Floats:
    """Return R² plus the influence of each image on it, (N,); their mean is exactly R².

    R² is 1 - E / V, where E is the sum of squared errors and V that of squared deviations of targets from their mean.
    The influence is that of the infinitesimal jackknife, as in ``overlaps.iou_by_image``.
    """
    pixels, totals, squares, errors, _ = np.asarray(tallies, dtype=np.float64).T
    whole = r_squared_of(tallies)
    mean = totals.sum() / pixels.sum()
    spreads = squares - 2 * mean * totals + pixels * mean**2  # squared deviations from the mean of all images
    spread, error = spreads.sum(), errors.sum()
    return whole + len(errors) * (error * spreads / spread - errors) / spread
