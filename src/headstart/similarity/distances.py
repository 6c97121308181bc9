"""Measure how far two sets of images are apart, from their features: Fréchet distance and kernel distance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
LEAST = 2  # images of each set: fewer have no covariance
PARTS = (1, 2, 4)  # into how many disjoint parts the sets are divided for the extrapolation
SUBSETS, SUBSET = 50, 500  # of the kernel distance: draws, and most images of each set in a draw


@dataclass(frozen=True)
class FrechetDistance:
    """The Fréchet distance of two sets of features, in squared units of the features."""

    value: float
    """Of the sets as they are. It is too large, by an amount that falls with the number of images."""
    extrapolated: float
    """For infinitely many images. NaN with fewer than ``LEAST`` images in each of the smallest parts."""
    relative: float
    """``extrapolated`` divided by the variance of the source, the trace of its covariance; comparable across
    backbones."""


@dataclass(frozen=True)
class KernelDistance:
    """The kernel distance of two sets of features: mean and standard deviation over subsets. It may be below 0."""

    mean: float
    deviation: float
    subset: int
    """Images of each set in a subset."""


def features_of(values: ArrayLike, least: int = LEAST) -> Floats:
    """Return features (N, D) as float64. Raises ValueError for fewer than ``least`` rows, NaN or infinity."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 2 or len(array) < least or not array.shape[1]:
        raise ValueError(f"Features have the shape {array.shape}, expected (N, D) with N of {least} or more.")
    if not np.isfinite(array).all():
        raise ValueError("The features hold NaN or infinity.")
    return array


def frechet_distance(source: ArrayLike, target: ArrayLike) -> float:
    """Return the squared Fréchet distance of the Gaussians fitted to two sets, (N, D) and (M, D).

    It is ``|m1 - m2|^2 + tr(C1) + tr(C2) - 2 tr((C1 C2)^(1/2))`` (Heusel et al. 2017, arXiv:1706.08500, eq. 6), with
    covariances that divide by N - 1. The last trace is the sum of the singular values of ``A1 A2^T``, where ``C = A^T
    A``; so singular covariances, as with fewer images than features, need no correction.
    """
    x, y = features_of(source), features_of(target)
    x_mean, y_mean = x.mean(axis=0), y.mean(axis=0)
    x_root, y_root = _root(x - x_mean), _root(y - y_mean)
    shared = float(np.linalg.svd(x_root @ y_root.T, compute_uv=False).sum())
    gap = float(np.square(x_mean - y_mean).sum())
    return max(0.0, gap + float(np.square(x_root).sum() + np.square(y_root).sum()) - 2 * shared)


def _root(centred: Floats) -> Floats:
    """Return a matrix A with at most D rows and ``A^T A`` equal to the covariance of centred rows (N, D)."""
    rows = centred / np.sqrt(len(centred) - 1)
    return np.asarray(np.linalg.qr(rows, mode="r")) if len(rows) > rows.shape[1] else rows


def measure_frechet(source: ArrayLike, target: ArrayLike, seed: int = 0) -> FrechetDistance:
    """Return the Fréchet distance, also extrapolated to infinitely many images, of features (N, D) and (M, D).

    With few images the distance is too large: even two halves of one set are apart. To first order the excess is
    proportional to 1/N, so a line through the distances of the whole sets and of their halves and quarters (means over
    disjoint parts) gives the limit (Chong & Forsyth 2020, arXiv:1911.07023). With fewer images than features the
    excess is not quite linear, and the limit is an approximation.
    """
    x, y = (_shuffled(features_of(values), seed) for values in (source, target))
    value = frechet_distance(x, y)
    if min(len(x), len(y)) < LEAST * PARTS[-1]:
        return FrechetDistance(value, np.nan, np.nan)
    means = [value]
    for count in PARTS[1:]:
        pairs = zip(np.array_split(x, count), np.array_split(y, count), strict=True)
        means.append(float(np.mean([frechet_distance(*pair) for pair in pairs])))
    limit = max(0.0, float(np.polyfit(PARTS, means, 1)[1]))
    variance = float(x.var(axis=0, ddof=1).sum())
    return FrechetDistance(value, limit, limit / variance if variance else np.nan)


def _shuffled(values: Floats, seed: int) -> Floats:
    return values[np.random.default_rng(seed).permutation(len(values))]


def kernel_distance(source: ArrayLike, target: ArrayLike) -> float:
    """Return the unbiased squared maximum mean discrepancy of features (N, D) and (M, D).

    The kernel is ``(x y / D + 1)^3`` (Binkowski et al. 2018, arXiv:1801.01401, section 3). Pairs of an image with
    itself are left out, so the expectation is 0 for two samples of one distribution, however few images there are.
    """
    x, y = features_of(source), features_of(target)
    within = [_mean_of_pairs(_kernel(z, z)) for z in (x, y)]
    return sum(within) - 2 * float(_kernel(x, y).mean())


def _kernel(x: Floats, y: Floats) -> Floats:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: Floats) -> float:
    count = len(kernel)
    return float((kernel.sum() - np.trace(kernel)) / (count * (count - 1)))


def measure_kernel(
    source: ArrayLike, target: ArrayLike, subsets: int = SUBSETS, subset: int = SUBSET, seed: int = 0
) -> KernelDistance:
    """Return mean and standard deviation of the kernel distance over random subsets, drawn without replacement.

    A subset holds ``subset`` images of each set, or all images of the smaller set if it has fewer.
    """
    x, y = features_of(source), features_of(target)
    size = min(subset, len(x), len(y))
    rng = np.random.default_rng(seed)

    def drawn(values: Floats) -> Floats:
        return values[rng.choice(len(values), size, replace=False)]

    found: Sequence[float] = [kernel_distance(drawn(x), drawn(y)) for _ in range(subsets)]
    return KernelDistance(float(np.mean(found)), float(np.std(found)), size)
