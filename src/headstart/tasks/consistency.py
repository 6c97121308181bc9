"""Compare the predictions for several views of an image: their mean, and their divergence from it."""

import math

from torch import Tensor
from torch.nn import functional as F

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


def bernoulli_divergence(logits: Tensor) -> Tensor:
    """Return the Jensen-Shannon divergence in nats of V views for each label alone, averaged over labels and images.

    Logits are (V, N, K); a label is there or not, so its distribution has two values. 0 for equal views, at most log 2.
    """
    logits = at_least_single(logits)
    total = logits.new_zeros(())
    for logs in (F.logsigmoid(logits), F.logsigmoid(-logits)):
        total = total + (logs.exp() * (logs - log_mean(logs))).mean()
    return total
