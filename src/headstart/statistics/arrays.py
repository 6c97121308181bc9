"""Check input arrays: the right number of axes, not empty, all finite."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

TIE = 1e-12
"""The relative difference that counts as equal: 0.9 - 0.8 and 0.8 - 0.7 differ by rounding only."""

Floats = NDArray[np.float64]


def finite(values: ArrayLike, name: str, axes: int) -> Floats:
    """Return the values as float64; raise ValueError for a wrong number of axes, no values, NaN or infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != axes:
        raise ValueError(f"{name} has {array.ndim} axes, expected {axes}.")
    if not array.size:
        raise ValueError(f"{name} is empty, expected at least one number.")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} holds NaN or infinity, expected finite numbers only.")
    return array


def pair(a: ArrayLike, b: ArrayLike, axes: int) -> tuple[Floats, Floats]:
    """Return two finite arrays of the same shape; raise ValueError otherwise."""
    first, second = finite(a, "The first array", axes), finite(b, "The second array", axes)
    if first.shape != second.shape:
        raise ValueError(f"The paired arrays have shapes {first.shape} and {second.shape}, expected equal shapes.")
    return first, second


def all_equal(values: Floats, scale: float) -> bool:
    """Return whether the values differ by no more than rounding of numbers of size ``scale``."""
    return bool(np.ptp(values) <= TIE * scale)


def check_probability(value: float, name: str) -> float:
    """Return a probability strictly between 0 and 1; raise ValueError otherwise."""
    if not 0 < value < 1:
        raise ValueError(f"{name} is {value}, expected a number between 0 and 1.")
    return value
