"""Compute the mean of the predictions for several views of an image, and their divergence from the mean."""

import math

from torch import Tensor
from torch.nn import functional as F

from headstart.precision import at_least_single


def log_mean(logs: Tensor) -> Tensor:
    """Return the logarithms (N, classes) of the mean probabilities over V views, from logarithms (V, N, classes)."""
    return logs.logsumexp(dim=0) - math.log(len(logs))


def jensen_shannon(logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence ``mean_v KL(p_v || M)`` of V views, with mixture M, in nats.

    Logits are (V, N, classes); the result is the mean over images, from 0 for equal views to log V (Hendrycks et al.
    2019, arXiv:1912.02781, equation 2).
    """
    logs = at_least_single(logits).log_softmax(dim=2)
    return (logs.exp() * (logs - log_mean(logs))).sum(dim=2).mean()


def bernoulli_divergence(logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence of V views for each label, averaged over labels and images, in nats.

    Logits are (V, N, K). The distribution of a label has two values, present and absent. The result is from 0 for equal
    views to log 2.
    """
    logits = at_least_single(logits)
    total = logits.new_zeros(())
    for logs in (F.logsigmoid(logits), F.logsigmoid(-logits)):
        total = total + (logs.exp() * (logs - log_mean(logs))).mean()
    return total
