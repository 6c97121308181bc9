"""Score how well features suit a labelled target without a fit that needs tuning: LogME and H-score."""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from headstart.similarity.distances import Floats, features_of

Labels = NDArray[np.int64]
GRID = np.linspace(-40, 40, 161)  # logarithms of the ratio of precisions that are tried first
STEPS = 60  # of the search by golden sections, which then narrows the interval to 1e-12
GOLDEN = (math.sqrt(5) - 1) / 2


def labels_of(labels: ArrayLike, count: int) -> Labels:
    """Return labels (N,) counted from 0 without gaps. Raises ValueError for one class or another number of labels."""
    array = np.asarray(labels)
    if array.shape != (count,):
        raise ValueError(f"Labels have the shape {array.shape}, expected ({count},).")
    names, numbers = np.unique(array, return_inverse=True)
    if len(names) < 2:
        raise ValueError("There is one class, expected two or more.")
    return numbers.astype(np.int64)


def log_evidence(values: ArrayLike, labels: ArrayLike) -> float:
    """Return LogME of features (N, D) and labels (N,): the mean log evidence of an image, larger is better.

    For each class, a Bayesian linear regression of 1 (this class) and 0 (another) on the features, without a bias, has
    weights with precision alpha and noise with precision beta. The evidence is maximised over both; LogME is the
    maximum, divided by N and averaged over the classes (You et al. 2021, arXiv:2102.11005, section 4). The paper finds
    the maximum by a fixed point. Here beta is eliminated in closed form, and alpha / beta is searched on a line.
    """
    x = features_of(values)
    numbers = labels_of(labels, len(x))
    axes, singular, _ = np.linalg.svd(x, full_matrices=False)
    squares = singular**2
    largest = float(squares.max(initial=0.0)) or 1.0
    return float(
        np.mean([_best_evidence(axes, squares / largest, numbers == one) for one in range(numbers.max() + 1)])
    ) / len(x)


def _best_evidence(axes: Floats, squares: Floats, chosen: NDArray[np.bool_]) -> float:
    """Return the maximal log evidence of one regression; ``squares`` are relative to the largest."""
    y = chosen.astype(np.float64)
    along = (axes.T @ y) ** 2
    beside = max(0.0, float(y @ y - along.sum()))

    def evidence(log_ratio: float) -> float:
        ratio, count = math.exp(log_ratio), len(y)
        noise = (float((along * ratio / (ratio + squares)).sum()) + beside) / count  # 1 / beta at the maximum
        if noise <= 0:
            return -math.inf
        return -0.5 * (count * (math.log(2 * math.pi * noise) + 1) + float(np.log1p(squares / ratio).sum()))

    best = int(np.argmax([evidence(float(point)) for point in GRID]))
    low, high = float(GRID[max(0, best - 1)]), float(GRID[min(len(GRID) - 1, best + 1)])
    for _ in range(STEPS):
        width = GOLDEN * (high - low)
        if evidence(high - width) >= evidence(low + width):
            high = low + width
        else:
            low = high - width
    return evidence((low + high) / 2)


def h_score(values: ArrayLike, labels: ArrayLike, shrunk: bool = False) -> float:
    """Return the H-score of features (N, D) and labels (N,), larger is better.

    It is ``tr(C^+ B)``, with the covariance C of the features and the covariance B of the class means (Bao et al. 2019,
    ICIP, definition 2), and at most the number of classes minus 1. With fewer images than features it approaches that
    bound for any labels. ``shrunk`` replaces C by the estimate of Ledoit and Wolf and multiplies B by one minus its
    shrinkage, which avoids this (Ibrahim et al. 2022, arXiv:2110.06893, section 4).
    """
    x = features_of(values)
    numbers = labels_of(labels, len(x))
    x = x - x.mean(axis=0)
    counts = np.bincount(numbers)
    means = np.stack([x[numbers == one].mean(axis=0) for one in range(len(counts))])
    between = np.sqrt(counts / len(x))[:, None] * means  # B is the product of its transpose and itself
    covariance = x.T @ x / len(x)
    if not shrunk:
        return float(np.sum((between @ np.linalg.pinv(covariance, hermitian=True)) * between))
    shrinkage, scale = ledoit_wolf(x)
    if not scale:
        return 0.0
    estimate = (1 - shrinkage) * covariance + shrinkage * scale * np.eye(x.shape[1])
    return (1 - shrinkage) * float(np.sum(np.linalg.lstsq(estimate, between.T, rcond=None)[0].T * between))


def ledoit_wolf(centred: Floats) -> tuple[float, float]:
    """Return the shrinkage of the covariance of centred rows (N, D), from 0 to 1, and the mean variance.

    The shrunk covariance is ``(1 - shrinkage) C + shrinkage * variance * I``, and C divides by N (Ledoit & Wolf 2004,
    A well-conditioned estimator for large-dimensional covariance matrices, lemma 3.2 to 3.5).
    """
    count, size = centred.shape
    squares = centred**2
    scale = float(squares.mean())
    # Sums over the entries of C: through the smaller of the two matrices of products.
    products = centred @ centred.T if count < size else centred.T @ centred
    of_entries = float(np.square(products).sum()) / count**2
    distance = of_entries - size * scale**2
    error = (float(np.square(squares.sum(axis=1)).sum()) / count - of_entries) / count
    return (min(1.0, error / distance) if distance > 0 else 1.0 if scale else 0.0), scale
