"""Classify by the mean feature vector of each class."""

import torch
from torch import Tensor
from torch.nn import functional as F

QUIET = 0.01  # of the median deviation


def standardisation(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each feature (N, D) as float64; a feature that never changes gets deviation 1.

    A deviation counts as at least a hundredth of the median one: else a feature that only one training image excites,
    a little, would outweigh all others wherever another image excites it more.
    """
    std, mean = torch.std_mean(values.double(), dim=0, correction=0)
    changes = std > 1e-8 * (1 + mean.abs())
    least = QUIET * std[changes].median() if changes.any() else 0.0
    return mean, torch.where(changes, std.clamp(min=least), torch.ones_like(std))


def class_means(values: Tensor, targets: Tensor, classes: int) -> Tensor:
    """The mean feature vector of each class, float64 (classes, D); values (N, D), targets (N,)."""
    one_hot = F.one_hot(targets, classes).double()
    return one_hot.T @ values.double() / one_hot.sum(dim=0).clamp(min=1)[:, None]


def nearest_mean(values: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """The nearest-class-mean classifier on standardised features as a linear map: weight (classes, D), bias (classes,).

    Half the squared distance to a mean differs between classes by ``mean . x - |mean|^2 / 2``, which is linear (Mensink
    et al. 2013, eq. 5). It is scaled, which changes no decision, so that cross-entropy on ``values`` is least.
    """
    centre, std = standardisation(values)
    means = class_means((values.double() - centre) / std, targets, classes)
    weight = means / std
    bias = -0.5 * means.square().sum(dim=1) - weight @ centre
    scale = best_scale(values.double() @ weight.T + bias, targets)
    return scale * weight, scale * bias


def best_scale(logits: Tensor, targets: Tensor) -> float:
    """The factor, from 1e-5 to 1e4, with which these logits (N, classes) have the least cross-entropy."""
    scales = torch.logspace(-5, 4, 181, dtype=torch.float64).tolist()
    return min(scales, key=lambda scale: float(F.cross_entropy(scale * logits, targets)))
