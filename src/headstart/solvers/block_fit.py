"""Fit linear classifiers to many images or classes: in blocks of rows, in the precision of the features.

The objective is that of ``linear_fit``. Beside the features, memory holds a few matrices of the size of the weights, so
it does not grow with the number of images. The features may be a memory map.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.solvers.centroids import usable_deviation
from headstart.solvers.features import Features, where_double
from headstart.solvers.linear_fit import SPAN, Loss, LossResult
from headstart.solvers.probe import ProbeTask

BLOCK = 2**20  # numbers in a block of features or of logits
PAIRS = 8  # steps, and changes of the gradient, from which L-BFGS corrects the approximate Hessian
GAP = 1e-7  # fraction of the objective: the fit ends if the next step promises less
SAMPLED = 8  # images per feature for the approximate Hessian; more save few steps
MOST_ITERATIONS = 1000  # for each strength
FEW = 7  # iterations; after a fit with more, the Hessian is approximated again


@dataclass(frozen=True)
class Curvature:
    """An approximate Hessian of the mean loss: for each class, a multiple of the same moments of the features."""

    centre: Tensor  # (D,), the mean of the features, weighted by the curvature of the loss of each image
    axes: Tensor  # (D, D), the principal axes about the centre, in columns
    moments: Tensor  # (D,), along the axes
    factors: Tensor  # (classes, 1)

    def newton_step(self, gradient: Tensor, l2: float) -> Tensor:
        """Return the inverse of the Hessian, with an L2 penalty of the weights, times the gradient (classes, D + 1)."""
        slope, of_bias = gradient[:, :-1], gradient[:, -1:]
        weight = ((slope - of_bias * self.centre) @ self.axes / (self.factors * self.moments + l2)) @ self.axes.T
        return torch.cat([weight, of_bias / self.factors - (weight @ self.centre)[:, None]], dim=1)


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
        self.iterations = 0
        self.value = math.inf  # of the objective
        self._curvature: Curvature | None = None
        self._fitted: list[tuple[float, Tensor]] = []  # logarithms of the last two strengths, and their parameters

    def fit(self, l2: float, on_iteration: Callable[[int], None] = lambda number: None) -> bool:
        """Minimise the objective for one strength; return whether the minimum was reached.

        L-BFGS (Liu & Nocedal 1989) corrects an approximate Hessian. It starts from the line through the solutions for
        the last two strengths.
        """
        parameters = self._extrapolated(math.log(l2))
        if self._curvature is None or self.iterations > FEW:
            self._curvature = self._measure_curvature(parameters)
        curvature = self._curvature
        value, gradient = self._objective(parameters, l2)
        pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=PAIRS)
        values = [value]
        self.iterations, converged = 0, False
        while self.iterations < MOST_ITERATIONS:
            step = _direction(gradient, pairs, lambda slope: curvature.newton_step(slope, l2))
            promised = _dot(gradient, step)
            rounded = len(values) > SPAN and values[-1 - SPAN] - value <= GAP * value
            if converged := promised / 2 <= GAP * value or rounded:
                break
            moved, found = self._search(parameters, step, promised, value, l2)
            if found is None:  # rounding hides any further descent
                converged = math.isfinite(value)
                break
            change = found[1] - gradient
            if (product := _dot(moved - parameters, change)) > 0:
                pairs.append((moved - parameters, change, product))
            parameters, (value, gradient) = moved, found
            values.append(value)
            self.iterations += 1
            on_iteration(self.iterations)
        self.parameters, self.value = parameters, value
        self._fitted = [*self._fitted[-1:], (math.log(l2), parameters)]
        return converged

    def linear_map(self) -> tuple[Tensor, Tensor]:
        """Return weight (classes, D) and bias (classes,) of unscaled features, in float64."""
        weight = self.parameters[:, :-1].double() / self.std.double()
        return weight, self.parameters[:, -1].double() - weight @ self.mean.double()

    def scores(self, task: ProbeTask) -> dict[str, float]:
        """Return loss and primary metric of the last fit, named "SPLIT/NAME"."""
        row: dict[str, float] = {}
        for name, split in (("train", self.train), ("validation", self.validation)):
            loss, tallies = 0.0, []
            for rows, x in self._blocks(split.values):
                outputs, targets = self._outputs(self.parameters, x), split.targets[rows]
                loss += float(task.loss(outputs.double(), targets)) * len(x)
                tallies.append(task.tally(outputs, targets))
            row |= {f"{name}/loss": loss / len(split.values)}
            row |= {f"{name}/{task.primary}": task.primary_of(torch.cat(tallies))}
        return row

    def _blocks(self, values: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield the place and the centred features of each block; they are not divided by the deviation."""
        for rows in _places(values, len(self.parameters)):
            yield rows, values[rows].to(self.mean) - self.mean

    def _outputs(self, parameters: Tensor, x: Tensor) -> Tensor:
        return F.linear(x, parameters[:, :-1] / self.std, parameters[:, -1])

    def _losses(self, parameters: Tensor) -> Iterator[tuple[Tensor, LossResult]]:
        """Yield the centred features and the results of the loss for each block of training images."""
        scaled, bias = parameters[:, :-1] / self.std, parameters[:, -1]
        for rows, x in self._blocks(self.train.values):
            targets = self.train.targets[rows]
            if targets.ndim == 1:
                targets = x.new_zeros(len(x), len(parameters)).scatter_(1, targets[:, None], 1)
            weights = self.weights[rows].reshape(len(x), -1)
            yield x, self.loss(F.linear(x, scaled, bias), targets.to(x), weights)

    def _objective(self, parameters: Tensor, l2: float) -> tuple[float, Tensor]:
        """Return the objective and its gradient (classes, D + 1)."""
        weight = parameters[:, :-1]
        total, slopes, of_bias = 0.0, torch.zeros_like(weight), torch.zeros_like(parameters[:, -1:])
        for x, (value, slope, _) in self._losses(parameters):
            total += float(value) * len(x)
            slopes.addmm_(slope.T, x)
            of_bias += slope.sum(dim=0)[:, None]
        count = len(self.train.values)
        gradient = torch.cat([slopes / (count * self.std) + l2 * weight, of_bias / count], dim=1)
        return total / count + 0.5 * l2 * _dot(weight, weight), gradient

    def _search(
        self, parameters: Tensor, step: Tensor, promised: float, value: float, l2: float
    ) -> tuple[Tensor, tuple[float, Tensor] | None]:
        """Return the first of ever shorter steps that lowers the objective, or None below 1e-6 of the step."""
        size = 1.0
        while size > 1e-6:
            moved = parameters - size * step
            found = self._objective(moved, l2)
            if found[0] <= value * (1 + GAP) - 1e-4 * size * promised:  # a change below GAP may be rounding
                return moved, found
            fall = size * promised  # of the tangent; the parabola through both values has its minimum here
            size *= min(0.5, max(0.1, fall / (2 * (found[0] - value + fall))))
        return parameters, None

    def _extrapolated(self, log_l2: float) -> Tensor:
        if len(self._fitted) < 2:
            return self.parameters
        (first, earlier), (second, later) = self._fitted
        further = (log_l2 - second) / (second - first) if first != second else 0.0
        return later + min(1.0, max(0.0, further)) * (later - earlier)

    def _measure_curvature(self, parameters: Tensor) -> Curvature:
        """Return the curvature at these parameters: factors from all images, moments from a sample."""
        size = len(self.mean)
        every = max(1, len(self.train.values) // (SAMPLED * size))
        factors, centre = torch.zeros_like(parameters[:, 0]), torch.zeros_like(self.mean)
        moments = centre.new_zeros(size, size)
        total = 0.0
        for x, (_, _, second) in self._losses(parameters):
            curvature = second()
            factors += curvature.sum(dim=0)
            weights, x = curvature[::every].sum(dim=1), x[::every] / self.std
            centre += weights @ x
            total += float(weights.sum())
            weighted = weights.sqrt()[:, None] * x
            moments.addmm_(weighted.T, weighted)
        centre /= max(total, 1e-30)
        found, axes = torch.linalg.eigh(moments / max(total, 1e-30) - centre.outer(centre))
        factors = factors / len(self.train.values)
        factors = factors.clamp(min=1e-3 * float(factors.mean()) + 1e-12)
        return Curvature(centre, axes, found.clamp_min(0), factors[:, None])


def block_standardisation(values: Tensor) -> tuple[Tensor, Tensor]:
    """Return the result of ``standardisation``, from two passes over blocks of the features (N, D)."""
    mean = torch.zeros_like(values[0], dtype=torch.float64)
    variance = torch.zeros_like(mean)
    for rows in _places(values):
        mean += values[rows].sum(dim=0, dtype=torch.float64) / len(values)
    for rows in _places(values):
        variance += (values[rows].double() - mean).square().sum(dim=0) / len(values)
    return mean, usable_deviation(mean, variance.sqrt())


def _places(values: Tensor, classes: int = 1) -> Iterator[slice]:
    """Yield the rows of each block."""
    rows = max(64, BLOCK // max(values.shape[1], classes))
    for start in range(0, len(values), rows):
        yield slice(start, min(start + rows, len(values)))


def _direction(
    gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, float]], invert: Callable[[Tensor], Tensor]
) -> Tensor:
    """Return the inverse Hessian times the gradient, by the two loops of L-BFGS around an approximate inverse."""
    rest, shares = gradient, []
    for step, change, product in reversed(pairs):
        shares.append(_dot(step, rest) / product)
        rest = rest - shares[-1] * change
    found = invert(rest)
    if pairs:  # scale to the curvature along the last step
        step, change, product = pairs[-1]
        found = found * (product / _dot(change, invert(change)))
    for (step, change, product), share in zip(pairs, reversed(shares), strict=True):
        found = found + (share - _dot(change, found) / product) * step
    return found


def _dot(one: Tensor, other: Tensor) -> float:
    """Return the sum of products, summed in float64."""
    return float((one * other).sum(dtype=torch.float64))
