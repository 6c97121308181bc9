"""Fit linear classifiers to many images or classes: in blocks of rows, in the precision of the features.

The objective is that of ``linear_fit``. Beside the features, memory holds a few matrices of the size of the weights, so
it does not grow with the number of images. The features may be a memory map.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.solvers.blocks import LazyRows, blocks_of
from headstart.solvers.centroids import usable_deviation
from headstart.solvers.descent import AGAIN, Inverse, Starts, dot, minimise
from headstart.solvers.features import Features, where_double
from headstart.solvers.linear_fit import Loss, LossResult, hinge
from headstart.solvers.probe import ProbeTask, scored_by_blocks

BLOCK = 2**20  # numbers in a block of features; one of logits may have twice as many
SAMPLED = 8  # images per feature for the approximate Hessian; more save few steps
FEW = 7  # iterations; after a fit with more, it is approximated for the next one
OWN = 8  # images of each class whose curvature the approximate Hessian has exactly
OnIteration = Callable[[int, float], None]  # gets the finished iterations, and the share of images in the current pass


@dataclass(frozen=True)
class Curvature:
    """An approximate Hessian of the mean loss, a block for each class.

    A block is the sum over the images of most curvature, and for all others a multiple of moments that classes share.
    """

    centre: Tensor  # (D,), the mean of the features, weighted by the curvature of the loss of each image
    axes: Tensor  # (D, D), the principal axes about the centre, in columns
    moments: Tensor  # (D,), along the axes
    factors: Tensor  # (classes, 1)
    own: Tensor  # (classes, OWN, D + 1), images along the axes, and 1, times the root of their curvature

    def inverse(self, l2: float) -> Inverse:
        """Return a function that multiplies a gradient (classes, D + 1) by the inverse of the Hessian.

        ``l2`` is the penalty of the weights. The images are added by the formula of Woodbury.
        """
        diagonal = torch.cat([self.factors * self.moments + l2, self.factors], dim=1)
        products = self.own @ (self.own / diagonal[:, None]).mT
        ones = products.new_ones(products.shape[:2])  # a little more keeps the sum positive definite despite rounding
        ones += 100 * torch.finfo(ones.dtype).eps * products.diagonal(dim1=1, dim2=2).sum(dim=1, keepdim=True)
        roots = torch.linalg.cholesky(products + ones.diag_embed())

        def newton_step(gradient: Tensor) -> Tensor:
            of_bias = gradient[:, -1:]
            along = torch.cat([(gradient[:, :-1] - of_bias * self.centre) @ self.axes, of_bias], dim=1) / diagonal
            shares = torch.cholesky_solve(self.own @ along[..., None], roots)
            along -= (self.own.mT @ shares)[..., 0] / diagonal
            weight = along[:, :-1] @ self.axes.T
            return torch.cat([weight, along[:, -1:] - (weight @ self.centre)[:, None]], dim=1)

        return newton_step


class CurvatureSums:
    """Sums over images that give a ``Curvature``: factors from all images, moments from a sample.

    Features are divided by ``std`` here.
    """

    def __init__(self, classes: int, std: Tensor, count: int) -> None:
        size = len(std)
        self.std, self.count, self.every = std, count, max(1, count // (SAMPLED * size))
        self.factors, self.centre = std.new_zeros(classes), torch.zeros_like(std)
        self.moments, self.total = std.new_zeros(size, size), 0.0
        self.most = std.new_empty(0, classes)  # the largest curvatures of each class
        self.places = std.new_empty(0, classes, dtype=torch.long)  # of their images

    def add(self, first: int, x: Tensor, curvature: Tensor) -> None:
        """Add images from place ``first`` on: their features and second derivatives of the loss (images, classes)."""
        self.factors += curvature.sum(dim=0)
        self.most, found = torch.cat([self.most, curvature]).topk(min(OWN, len(self.most) + len(x)), dim=0)
        places = torch.arange(first, first + len(x), device=x.device)[:, None].expand(curvature.shape)
        self.places = torch.cat([self.places, places]).gather(0, found)
        weights, x = curvature[:: self.every].sum(dim=1), x[:: self.every] / self.std
        self.centre += weights @ x
        self.total += float(weights.sum())
        weighted = weights.sqrt()[:, None] * x
        self.moments.addmm_(weighted.T, weighted)

    def result(self, images: Callable[[Tensor], Tensor]) -> Curvature:
        """Return the curvature of the mean loss; ``images`` gives the features of images by their places."""
        total = max(self.total, 1e-30)
        centre = self.centre / total
        moments, axes = torch.linalg.eigh(self.moments / total - centre.outer(centre))
        factors = (self.factors - self.most.sum(dim=0)).clamp(min=0) / self.count
        factors = factors.clamp(min=1e-3 * float(self.factors.mean()) / self.count + 1e-12)[:, None]
        roots, places = (self.most.T / self.count).sqrt()[..., None], self.places.T
        own = axes.new_empty(*places.shape, len(axes) + 1)
        for classes in blocks_of(len(own), own[0].numel(), BLOCK):
            x = (images(places[classes].flatten()) / self.std - centre) @ axes
            own[classes] = roots[classes] * F.pad(x, (0, 1), value=1.0).view(own[classes].shape)
        return Curvature(centre, axes, moments.clamp_min(0), factors, own)


class BlockFits:
    """Fits of one linear classifier to standardised features for several L2 strengths.

    Targets are classes (N,) or labels (N, classes); ``weights`` are those of ``fit_linear``.
    """

    def __init__(
        self, train: Features, validation: Features, classes: int, loss: Loss, weights: Tensor | None = None
    ) -> None:
        self.train, self.validation, self.loss = where_double(train), where_double(validation), loss
        values = self.train.values
        self.mean, self.std = (array.to(values) for array in block_standardisation(values))
        self.weights = values.new_ones(1).expand(len(values)) if weights is None else weights.to(values)
        self.parameters = values.new_zeros(classes, values.shape[1] + 1)  # weights and bias of standardised features
        cheap = len(values) * classes > 4 * values.shape[1] ** 2  # to approximate a Hessian, beside some passes
        self._again = AGAIN if cheap else -1
        self.l2, self.iterations, self.value = math.nan, 0, math.inf  # of the last fit
        self._curvature: Curvature | None = None
        self._starts = Starts(self.parameters, jumps=loss is hinge)
        self._on_iteration: OnIteration = lambda number, share: None

    def fit(self, l2: float, on_iteration: OnIteration = lambda number, share: None) -> bool:
        """Minimise the objective for one strength; return whether the minimum was reached."""
        measure = self._curvature is None or self.iterations > FEW
        self.l2, self.iterations, self._on_iteration = l2, 0, on_iteration

        def count(number: int) -> None:
            self.iterations = number
            on_iteration(number, 0.0)

        found = minimise(self, self._starts.start(l2), measure, self._again, count)
        self.parameters, self.value = found.parameters, found.value
        self._starts.add(l2, found.parameters)
        return found.converged

    def value_and_gradient(self, parameters: Tensor, measure: bool = False) -> tuple[float, Tensor]:
        """Return the objective and its gradient (classes, D + 1); ``measure`` the curvature in the same pass."""
        weight, count = parameters[:, :-1], len(self.train.values)
        total, slopes, of_bias = 0.0, torch.zeros_like(weight), torch.zeros_like(parameters[:, -1:])
        sums = CurvatureSums(len(parameters), self.std, count) if measure else None
        for rows, x, (value, slope, second) in self._losses(parameters):
            total += float(value) * len(x)
            slopes.addmm_(slope.T, x)
            of_bias += slope.sum(dim=0)[:, None]
            if sums is not None:
                sums.add(rows.start, x, second())
        if sums is not None:
            self._curvature = sums.result(lambda places: self._centred(self.train.values[places]))
        gradient = torch.cat([slopes / (count * self.std) + self.l2 * weight, of_bias / count], dim=1)
        return total / count + 0.5 * self.l2 * dot(weight, weight), gradient

    def inverse(self) -> Inverse:
        """Return the inverse of the Hessian as last measured."""
        assert self._curvature is not None
        return self._curvature.inverse(self.l2)

    def linear_map(self) -> tuple[Tensor, Tensor]:
        """Return weight (classes, D) and bias (classes,) of unscaled features, in float64."""
        weight = self.parameters[:, :-1].double() / self.std.double()
        return weight, self.parameters[:, -1].double() - weight @ self.mean.double()

    def scores(self, task: ProbeTask) -> dict[str, float]:
        """Return loss and primary metric of the last fit, named "SPLIT/NAME"."""
        scaled, bias = self.parameters[:, :-1] / self.std, self.parameters[:, -1]

        def outputs(split: Features) -> tuple[LazyRows, Tensor]:
            return LazyRows(lambda rows: F.linear(self._centred(split.values[rows]), scaled, bias)), split.targets

        return scored_by_blocks(task, train=outputs(self.train), validation=outputs(self.validation))

    def _centred(self, values: Tensor) -> Tensor:
        """Return centred features; they are not divided by the deviation."""
        return values.to(self.mean) - self.mean

    def _losses(self, parameters: Tensor) -> Iterator[tuple[slice, Tensor, LossResult]]:
        """Yield the place, the centred features and the results of the loss for each block of training images."""
        scaled, bias = parameters[:, :-1] / self.std, parameters[:, -1]
        count = len(self.train.values)
        for rows in blocks_of(count, max(len(self.mean), len(parameters) // 2), BLOCK):
            self._on_iteration(self.iterations, rows.start / count)
            x, targets = self._centred(self.train.values[rows]), self.train.targets[rows]
            targets = targets if targets.ndim == 1 else targets.to(x)
            yield rows, x, self.loss(F.linear(x, scaled, bias), targets, self.weights[rows].reshape(len(x), -1))


def block_standardisation(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the result of ``standardisation``, from two passes over blocks of the features (N, D)."""
    mean = torch.zeros_like(values[0], dtype=torch.float64)
    variance = torch.zeros_like(mean)
    for rows in blocks_of(len(values), values.shape[1], BLOCK):
        mean += values[rows].sum(dim=0, dtype=torch.float64) / len(values)
    for rows in blocks_of(len(values), values.shape[1], BLOCK):
        variance += (values[rows].double() - mean).square().sum(dim=0) / len(values)
    return mean, usable_deviation(mean, variance.sqrt())
