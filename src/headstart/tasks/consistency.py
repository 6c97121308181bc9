"""What a network says of several views of an image: the mean, and how far the views are from it."""

import math

from torch import Tensor

from headstart.precision import at_least_single


def log_mean(logs: Tensor) -> Tensor:
    """Log-probabilities (V, N, classes) of V views to the logarithms of their means (N, classes)."""
    return logs.logsumexp(dim=0) - math.log(len(logs))


def jensen_shannon(logits: Tensor) -> Tensor:
    """Mean divergence in nats of views (V, N, classes) from their mixture M: ``mean_v KL(p_v || M)``.

    Hendrycks et al. 2019 (arXiv:1912.02781), equation 2; 0 where all views are told the same, at most log V.
    """
    logs = at_least_single(logits).log_softmax(dim=2)
    return (logs.exp() * (logs - log_mean(logs))).sum(dim=2).mean()
