"""Balance classes of different size in training, by loss weights or by batches."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from headstart.data.batches import BalancedBatches, EvenBatches
from headstart.inputs.collection import Targets
from headstart.solvers.class_weights import class_weights


def batches_of(targets: Targets, batch_size: int, seed: int, balance: str) -> EvenBatches:
    """Return the training batches that ``dataset.balance`` asks for."""
    if balance == "sampler":
        return BalancedBatches(targets, batch_size, seed)
    return EvenBatches(len(targets), batch_size, seed)


def balance_text(
    targets: Targets, class_names: Sequence[str], balance: str, weights: NDArray[np.float64] | None = None
) -> str:
    """Return the line about ``dataset.balance`` at the start of a run; empty for "none".

    ``weights`` are the class weights (classes,) of the loss; None computes them from the targets.
    """
    if balance == "none":
        return ""
    weights = class_weights(targets, len(class_names)) if weights is None else weights
    low, high = int(weights.argmin()), int(weights.argmax())
    if balance == "loss":
        span = [f"{weights[label]:.2g} ({class_names[label]})" for label in (low, high)]
        return f"balance: loss, weights {span[0]} to {span[1]}"
    share = len(targets) / len(class_names)
    return (
        f"balance: sampler, {share:.3g} images per class and epoch; each image is drawn {weights[low]:.2g} times"
        f" ({class_names[low]}) to {weights[high]:.2g} times ({class_names[high]})"
    )
