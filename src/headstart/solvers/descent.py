"""Minimise the convex objective of a linear classifier by L-BFGS around an approximate Hessian."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

PAIRS = 8  # steps, and changes of the gradient, from which L-BFGS corrects the approximate Hessian
GAP = 1e-7  # fraction of the objective: the descent ends if the next step promises less
LEAST = 1e-12  # smallest objective for ``GAP``: without classes to separate, it falls towards 0 without end
SPAN = 10  # steps: the descent also ends if they gain less than ``GAP``
MOST_ITERATIONS = 1000
AGAIN = 2  # iterations; the curvature is then measured again, as the start may be far from the end
Inverse = Callable[[Tensor], Tensor]  # multiplies a gradient by the inverse of an approximate Hessian


class ConvexObjective(Protocol):
    """A convex function of the parameters (classes, D + 1): weights, then the bias."""

    def value_and_gradient(self, parameters: Tensor, measure: bool = False) -> tuple[float, Tensor]:
        """Return the value and its gradient; with ``measure``, measure the curvature in the same pass."""

    def inverse(self) -> Inverse:
        """Return the inverse of the Hessian as last measured."""


@dataclass(frozen=True)
class Fit:
    """A linear map at the minimum of an objective, and the effort that it took."""

    parameters: Tensor  # (classes, D + 1)
    value: float  # of the objective
    iterations: int
    converged: bool

    @property
    def weight(self) -> Tensor:
        """Return the weights (classes, D)."""
        return self.parameters[:, :-1]

    @property
    def bias(self) -> Tensor:
        """Return the bias (classes,)."""
        return self.parameters[:, -1]

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of features (N, D)."""
        return x @ self.weight.T + self.bias


def minimise(
    objective: ConvexObjective,
    parameters: Tensor,
    measure: bool = True,
    again: int = AGAIN,
    on_iteration: Callable[[int], object] = lambda number: None,
) -> Fit:
    """Return the minimum of an objective, by L-BFGS (Liu & Nocedal 1989) from ``parameters`` (classes, D + 1).

    The curvature is measured at the start, if ``measure`` is set, and after iteration ``again``. ``on_iteration`` gets
    the number of finished iterations.
    """
    value, gradient = objective.value_and_gradient(parameters, measure)
    invert = objective.inverse()
    pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=PAIRS)
    values = [value]
    iterations, converged = 0, False
    while iterations < MOST_ITERATIONS:
        step = _direction(gradient, pairs, invert)
        promised = dot(gradient, step)
        rounded = len(values) > SPAN and values[-1 - SPAN] - value <= GAP * value
        if converged := promised / 2 <= GAP * max(value, LEAST) < math.inf or rounded:
            break
        remeasure = iterations == again
        moved, found = _search(objective, parameters, step, promised, value, remeasure)
        if found is None:  # rounding hides any further descent
            converged = math.isfinite(value + promised)
            break
        if remeasure:
            invert = objective.inverse()
        change = found[1] - gradient
        if (product := dot(moved - parameters, change)) > 0:
            pairs.append((moved - parameters, change, product))
        parameters, (value, gradient) = moved, found
        values.append(value)
        iterations += 1
        on_iteration(iterations)
    return Fit(parameters, value, iterations, converged)


class Starts:
    """Gives starts for fits of ever weaker L2 strengths, from the solutions for the last two."""

    def __init__(self, parameters: Tensor, jumps: bool = False) -> None:
        self.jumps = jumps  # the second derivative of the loss; then the last solution is nearer than the line
        self._fitted: list[tuple[float, Tensor]] = [(math.nan, parameters)]  # logarithms of strengths, and solutions

    def add(self, l2: float, parameters: Tensor) -> None:
        """Add the solution for a strength."""
        self._fitted = [*self._fitted[-1:], (_logarithm(l2), parameters)]

    def start(self, l2: float) -> Tensor:
        """Return the parameters from which a fit for this strength should start."""
        second, later = self._fitted[-1]
        first, earlier = self._fitted[0]
        if self.jumps or not abs(second - first) > 0:  # also if there is only one solution
            return later
        further = (_logarithm(l2) - second) / (second - first)
        return later + min(1.0, max(0.0, further)) * (later - earlier)


def _logarithm(l2: float) -> float:
    """Return the logarithm of a strength, which may be 0."""
    return math.log(l2) if l2 > 0 else -math.inf


def _search(
    objective: ConvexObjective, parameters: Tensor, step: Tensor, promised: float, value: float, measure: bool
) -> tuple[Tensor, tuple[float, Tensor] | None]:
    """Return the first of ever shorter steps that lowers the objective, or None below 1e-6 of the step."""
    size = 1.0
    while size > 1e-6:
        moved = parameters - size * step
        found = objective.value_and_gradient(moved, measure)
        if found[0] <= value * (1 + GAP) - 1e-4 * size * promised:  # a change below GAP may be rounding
            return moved, found
        fall = size * promised  # of the tangent; the parabola through both values has its minimum here
        size *= min(0.5, max(0.1, fall / (2 * (found[0] - value + fall))))
    return parameters, None


def _direction(gradient: Tensor, pairs: deque[tuple[Tensor, Tensor, float]], invert: Inverse) -> Tensor:
    """Return the inverse Hessian times the gradient, by the two loops of L-BFGS around an approximate inverse."""
    rest, shares = gradient, []
    for step, change, product in reversed(pairs):
        shares.append(dot(step, rest) / product)
        rest = rest.sub(change, alpha=shares[-1])
    found = invert(rest)
    if pairs:  # scale to the curvature along the last step
        step, change, product = pairs[-1]
        found = found * (product / dot(change, invert(change)))
    for (step, change, product), share in zip(pairs, reversed(shares), strict=True):
        found = found.add(step, alpha=share - dot(change, found) / product)
    return found


def dot(one: Tensor, other: Tensor) -> float:
    """Return the sum of products, summed in float64."""
    if one.dtype == torch.float64:
        return float(torch.dot(one.flatten(), other.flatten()))
    return float((one * other).sum(dtype=torch.float64))
