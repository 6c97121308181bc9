"""Predict a number as the mean of a distribution over ranges of the number."""

import math

import torch
from torch import Tensor, nn

from headstart.precision import at_least_single

SMOOTHING = 0.75  # deviation of the Gaussian around a target, in widths of a bin, as in the papers


class NumberBins(nn.Module):
    """Output layers that give a distribution over B bins for each of K numbers, and its mean.

    The bins have equal width. They span the range of the training numbers, and one more bin on each side. The loss is
    the cross-entropy with a Gaussian around the target, HL-Gauss (Imani & White 2018, arXiv:1806.04613; Farebrother et
    al. 2024, arXiv:2403.03950).
    """

    edges: Tensor

    def __init__(self, layers: nn.Module, edges: Tensor) -> None:
        super().__init__()
        self.layers = layers
        self.register_buffer("edges", edges)  # (K, B + 1), in the unit of the targets

    def forward(self, x: Tensor) -> Tensor:
        """Return K numbers in the unit of the targets and then K B logits, (N, K + K B), from features (N, D)."""
        logits = at_least_single(self.layers(x))
        centres = (self.edges[:, 1:] + self.edges[:, :-1]) / 2
        shares = logits.unflatten(1, centres.shape).softmax(dim=2)
        return torch.cat([(shares * centres).sum(dim=2), logits], dim=1)


def bin_edges(low: Tensor, high: Tensor, bins: int) -> Tensor:
    """Return the edges (K, bins + 1) of bins of equal width; all but the outer two span ``low`` to ``high``, (K,)."""
    width = (high - low) / max(bins - 2, 1)
    first, last = low - width, high + width
    return first[:, None] + (last - first)[:, None] * torch.linspace(0, 1, bins + 1, dtype=low.dtype)


def bin_loss(logits: Tensor, targets: Tensor, edges: Tensor) -> Tensor:
    """Return the mean cross-entropy in nats of logits (N, K, B) with Gaussians around targets (N, K)."""
    edges = edges.to(logits)
    spread = SMOOTHING * (edges[:, 1] - edges[:, 0])
    below = torch.erf((edges - targets.to(logits)[:, :, None]) / (math.sqrt(2) * spread[:, None]))
    shares = below.diff(dim=2)
    shares = shares / shares.sum(dim=2, keepdim=True).clamp_min(1e-6)
    return -(shares * logits.log_softmax(dim=2)).sum(dim=2).mean()
