"""Judge given labels by class probabilities that do not come from them."""

import numpy as np
from numpy.typing import NDArray

LEAST_SHARE = 0.02  # added to the votes of each class: neighbours without a class do not rule it out
Shares = NDArray[np.float64]
Labels = NDArray[np.int64]


def agreed(probabilities: Shares, votes: Shares) -> Shares:
    """Return the normalised geometric mean (N, classes) of a probe's probabilities and the neighbours' vote shares.

    The two err on different images, so the mean ranks wrong labels better than each alone (docs/audit.md).
    """
    smoothed = (votes + LEAST_SHARE) / (1 + LEAST_SHARE * votes.shape[1])
    product = np.sqrt(np.maximum(probabilities, 1e-300) * smoothed)
    return product / product.sum(axis=1, keepdims=True)


def confident_errors(probabilities: Shares, targets: Labels) -> int:
    """Return the estimated number of wrong labels: the off-diagonal images of the confident joint.

    A class is confident for an image if its probability is at least the mean probability that images with this label
    have for it. An image counts if its most probable confident class and its most probable class are not its label.
    Source: Northcutt et al. 2021, Confident learning: estimating uncertainty in dataset labels, arXiv:1911.00068.
    """
    classes = probabilities.shape[1]
    own = probabilities[np.arange(len(targets)), targets]
    counts = np.maximum(np.bincount(targets, minlength=classes), 1)
    thresholds = np.bincount(targets, own, minlength=classes) / counts
    confident = np.where(probabilities >= thresholds, probabilities, -1.0)
    best = confident.argmax(axis=1)
    wrong = (confident.max(axis=1) >= 0) & (best != targets) & (probabilities.argmax(axis=1) != targets)
    return int(wrong.sum())


def likely_wrong(probabilities: Shares, targets: Labels) -> Labels:
    """Return the images whose labels are likely wrong, the least probable label first.

    Their number is that of ``confident_errors``; images whose label is the most probable class are never among them.
    """
    own = probabilities[np.arange(len(targets)), targets]
    order = np.argsort(own, kind="stable")
    order = order[probabilities.argmax(axis=1)[order] != targets[order]]
    return order[: confident_errors(probabilities, targets)]
