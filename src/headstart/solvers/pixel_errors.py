"""R² of a number for each pixel, for all images and by image, from sums over the pixels of each image.

A tally (5,) of an image has the number of its pixels with a number, the sum of these numbers, the sum of their squares,
the sum of squared errors, and the sum of absolute errors.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
SUMS = ("pixels", "sum", "squares", "squared_error", "absolute_error")
AT_ONCE = 16  # images


def error_tallies(predicted: NDArray[Any], targets: Any) -> Floats:
    """Return the tallies (N, 5) of numbers (N, H, W); targets are read some at a time, NaN is no number."""
    return np.array(list(_tallies(predicted, targets)), dtype=np.float64).reshape(-1, len(SUMS))


def _tallies(predicted: NDArray[Any], targets: Any) -> Iterator[list[float]]:
    for start in range(0, len(predicted), AT_ONCE):
        places = np.arange(start, min(start + AT_ONCE, len(predicted)))
        for found, true in zip(predicted[places], targets[places], strict=True):
            known = ~np.isnan(true)
            numbers, error = true[known].astype(np.float64), (found[known] - true[known]).astype(np.float64)
            yield [numbers.size, numbers.sum(), (numbers**2).sum(), (error**2).sum(), np.abs(error).sum()]


def r_squared_of(tallies: NDArray[Any]) -> float:
    """Return the share of the variance over all pixels that is explained; NaN if the numbers do not vary."""
    pixels, total, squares, errors, _ = np.asarray(tallies, dtype=np.float64).sum(axis=0)
    spread = squares - total**2 / pixels if pixels else 0.0
    return float(1 - errors / spread) if spread > 1e-12 * squares else float("nan")


def r_squared_by_image(tallies: NDArray[Any]) -> Floats:
    """Return R² plus the influence of each image on it, (N,): their mean is exactly R².

    R² is 1 - E / V, where E and V sum over images; the influence is that of the infinitesimal jackknife (Efron 1982,
    "The Jackknife, the Bootstrap and Other Resampling Plans", chapter 6), as is that of ``overlaps.iou_by_image``.
    """
    pixels, totals, squares, errors, _ = np.asarray(tallies, dtype=np.float64).T
    whole = r_squared_of(tallies)
    mean = totals.sum() / pixels.sum()
    spreads = squares - 2 * mean * totals + pixels * mean**2  # of each image about the mean of all
    spread, error = spreads.sum(), errors.sum()
    return whole + len(errors) * (error * spreads / spread - errors) / spread
