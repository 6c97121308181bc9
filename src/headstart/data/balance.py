"""How classes of different size count in training: weights, or batches with every class equally often."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.data.batches import BalancedBatches, EvenBatches
from headstart.data.collection import Targets


def class_weights(targets: Targets, classes: int) -> NDArray[np.float64]:
    """Return a weight for each class, (classes,): images / (classes that have any x images of the class).

    The mean weight over images is 1, as with scikit-learn's ``class_weight="balanced"``.
    """
    counts = np.bincount(targets, minlength=classes)
    return len(targets) / (np.count_nonzero(counts) * np.maximum(counts, 1))


def batches_of(targets: Targets, batch_size: int, seed: int, balance: str) -> EvenBatches:
    """Return the training batches that ``dataset.balance`` asks for."""
    if balance == "sampler":
        return BalancedBatches(targets, batch_size, seed)
    return EvenBatches(len(targets), batch_size, seed)


def balance_text(targets: Targets, class_names: Sequence[str], balance: str) -> str:
    """Return what the opening lines of a run say of ``dataset.balance``; empty where there is nothing to say."""
    if balance == "none":
        return ""
    weights = class_weights(targets, len(class_names))
    low, high = int(weights.argmin()), int(weights.argmax())
    if balance == "loss":
        span = [f"{weights[label]:.2g} ({class_names[label]})" for label in (low, high)]
        return f"balance: loss, weights {span[0]} to {span[1]}"
    share = len(targets) / len(class_names)
    return (
        f"balance: sampler, {share:.3g} images of every class an epoch: each image {weights[low]:.2g} times"
        f" ({class_names[low]}) to {weights[high]:.2g} times ({class_names[high]})"
    )
