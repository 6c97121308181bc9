"""Classify by the mean feature vector of each class."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.solvers.blocks import LazyRows, Matrix, blocks_of, linear_rows, share_of

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


def class_means(values: Matrix, targets: Tensor, classes: int) -> Tensor:
    """Return the mean feature vector of each class, float64 (classes, D), from values (N, D) and targets (N,)."""
    counts = targets.bincount(minlength=classes).clamp(min=1)[:, None]
    sums = torch.zeros(classes, values[:1].shape[1], dtype=torch.float64)
    for rows in blocks_of(len(targets), sums.shape[1]):  # on the CPU, as a GPU sums in another order each time
        sums.index_add_(0, targets[rows].cpu(), values[rows].cpu().double())
    return sums.to(targets.device) / counts


def nearest_mean(values: Tensor, targets: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Return the nearest-class-mean classifier as a linear map: weight (classes, D), bias (classes,).

    Distances are those of standardised features, but the map takes unscaled ones. The nearest mean has the largest
    ``mean . x - |mean|^2 / 2``, which is linear in x (Mensink et al. 2013, eq. 5). The logits are scaled to minimise
    the cross-entropy on ``values``; this changes no prediction.
    """
    centre, std = standardisation(values)
    scaled = LazyRows(lambda rows: (values[rows].double() - centre) / std)
    means = class_means(scaled, targets, classes)
    weight = means / std
    bias = -0.5 * means.square().sum(dim=1) - weight @ centre
    scale = best_scale(linear_rows(values, weight, bias), targets)
    return scale * weight, scale * bias


def best_scale(logits: Matrix, targets: Tensor, loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy) -> float:
    """Return the factor from 1e-5 to 1e4 that minimises the cross-entropy of these logits (N, classes).

    ``loss`` is the mean over rows. It is convex in the factor, so the best of every 36th factor leads to the best.
    """
    best, width = 0, logits[:1].shape[1]
    found: dict[int, float] = {}

    def measure(numbers: Iterable[int]) -> None:
        new = [number for number in numbers if number not in found]
        found.update(dict.fromkeys(new, 0.0))
        for rows in blocks_of(len(targets), width):
            block, share = logits[rows], share_of(rows, len(targets))
            for number in new:
                found[number] += share * float(loss(SCALES[number] * block, targets[rows]))

    for step, around in ((36, len(SCALES)), (6, 36), (1, 6)):
        measure(range(max(0, best - around), min(len(SCALES), best + around + 1), step))
        best = min(sorted(found), key=found.__getitem__)
    return SCALES[best]
