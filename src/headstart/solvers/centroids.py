"""Classify by the mean feature vector of each class."""

import torch
from torch import Tensor
from torch.nn import functional as F

SCALES: list[float] = torch.logspace(-5, 4, 181, dtype=torch.float64).tolist()  # factors tried for logits
LEAST_DEVIATION = 0.01  # of a feature, as a fraction of the median deviation


def standardisation(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation (D,) of features (N, D) as float64; a constant feature gets deviation 1.

    Other deviations are at least a hundredth of their median. Otherwise a feature that is nearly constant in training
    would outweigh all others for an image in which it is larger.
    """
    std, mean = torch.std_mean(values.double(), dim=0, correction=0)
    return mean, usable_deviation(mean, std)


def usable_deviation(mean: Tensor, std: Tensor) -> Tensor:
    """Return the deviations (D,) that ``standardisation`` divides by, from mean and deviation (D,) of features."""
    changes = std > 1e-8 * (1 + mean.abs())
    least = LEAST_DEVIATION * std[changes].median() if changes.any() else 0.0
    return torch.where(changes, std.clamp(min=least), torch.ones_like(std))


def class_means(values: Tensor, targets: Tensor, classes: int) -> Tensor:
    """Return the mean feature vector of each class, float64 (classes, D), from values (N, D) and targets (N,)."""
    one_hot = F.one_hot(targets, classes).double()
    return one_hot.T @ values.double() / one_hot.sum(dim=0).clamp(min=1)[:, None]


def nearest_mean(values: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the nearest-class-mean classifier as a linear map: weight (classes, D), bias (classes,).

    Distances are those of standardised features, but the map takes unscaled ones. The nearest mean has the largest
    ``mean . x - |mean|^2 / 2``, which is linear in x (Mensink et al. 2013, eq. 5). The logits are scaled to minimise
    the cross-entropy on ``values``; this changes no prediction.
    """
    centre, std = standardisation(values)
    means = class_means((values.double() - centre) / std, targets, classes)
    weight = means / std
    bias = -0.5 * means.square().sum(dim=1) - weight @ centre
    scale = best_scale(values.double() @ weight.T + bias, targets)
    return scale * weight, scale * bias


def best_scale(logits: Tensor, targets: Tensor) -> float:
    """Return the factor from 1e-5 to 1e4 that minimises the cross-entropy of these logits (N, classes)."""
    return min(SCALES, key=lambda scale: float(F.cross_entropy(scale * logits, targets)))
