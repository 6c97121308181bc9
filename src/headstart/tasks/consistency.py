"""Asking a network to say the same of several views of a picture."""

from torch import Tensor


def jensen_shannon(logits: Tensor) -> Tensor:
    """Mean divergence in nats of views (V, N, classes) from their mixture M: ``mean_v KL(p_v || M)``.

    Hendrycks et al. 2019 (arXiv:1912.02781), equation 2; 0 where all views are told the same, at most log V.
    """
    logs = logits.float().log_softmax(dim=2)
    mixture = logs.logsumexp(dim=0) - logs.new_tensor(float(len(logs))).log()
    return (logs.exp() * (logs - mixture)).sum(dim=2).mean()
