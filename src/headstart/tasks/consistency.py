"""Compare the predictions for several views of an image: their mean, and their divergence from it."""

import math

from torch import Tensor

from headstart.precision import at_least_single


def log_mean(logs: Tensor) -> Tensor:
    """Return the logarithm of mean probabilities (N, classes), from log-probabilities (V, N, classes) of V views."""
    return logs.logsumexp(dim=0) - math.log(len(logs))


def jensen_shannon(logits: Tensor) -> Tensor:
    """Return the mean divergence ``mean_v KL(p_v || M)`` in nats of V views from their mixture M.

    Logits are (V, N, classes). Hendrycks et al. 2019 (arXiv:1912.02781), equation 2; 0 for equal views, at most log V.
    """
    logs = at_least_single(logits).log_softmax(dim=2)
    return (logs.exp() * (logs - log_mean(logs))).sum(dim=2).mean()
