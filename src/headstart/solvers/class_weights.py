"""Compute weights that balance classes of different size."""

import numpy as np
from numpy.typing import NDArray


def class_weights(targets: NDArray[np.int64], classes: int) -> NDArray[np.float64]:
    """Return the weight (classes,) of each class: images / (number of nonempty classes x images of the class).

    The mean weight over images is 1, as with scikit-learn's ``class_weight="balanced"``.
    """
    counts = np.bincount(targets, minlength=classes)
    return len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))
