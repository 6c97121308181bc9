"""Compute weights that balance classes of different sizes."""

import numpy as np
from numpy.typing import NDArray


def class_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the weight (classes,) of each class: images / (number of nonempty classes x images of the class).

    The mean weight over images is 1, as with scikit-learn's ``class_weight="balanced"``.
    """
    return weights_of_counts(np.bincount(targets, minlength=classes))


def weights_of_counts(counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the weights of ``class_weights`` from the number of images, or pixels, of each class, (classes,)."""
    return counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
