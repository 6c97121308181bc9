"""Fit linear classifiers with an L2 penalty to the minimum of their convex objective."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch.nn import functional as F

from headstart.solvers.blocks import blocks_of, share_of

# A function of logits (N, classes), targets and weights (N, 1) of mean 1, or (N, classes). Targets are classes (N,), or
# one-hot or labels (N, classes). It returns the weighted mean loss, N times its gradient, and a function that gives the
# weighted second derivatives, (N, classes).
LossResult = tuple[Tensor, Tensor, Callable[[], Tensor]]
Loss = Callable[[Tensor, Tensor, Tensor], LossResult]
GAIN = 1e-5  # fraction of the objective that ``SPAN`` steps, or a restart, must gain; less ends the fit
SPAN = 10  # steps


@dataclass(frozen=True)
class Fit:
    """A linear map at the minimum of the objective, and the effort that it took."""

    weight: Tensor  # float64 (classes, D)
    bias: Tensor  # float64 (classes,)
    value: float  # of the objective
    iterations: int
    converged: bool

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes) of features (N, D)."""
        return x @ self.weight.T + self.bias


def logistic(logits: Tensor, targets: Tensor, weights: Tensor) -> LossResult:
    """Return the multinomial cross-entropy in nats, as a ``Loss``."""
    if targets.ndim == 1:
        return _logistic_of_classes(logits, targets[:, None], weights)
    log_probabilities = F.log_softmax(logits, dim=1)
    probabilities = log_probabilities.exp()
    value = -(weights * (targets * log_probabilities)).sum() / len(logits)
    return value, weights * (probabilities - targets), lambda: weights * (probabilities * (1 - probabilities))


def _logistic_of_classes(logits: Tensor, targets: Tensor, weights: Tensor) -> LossResult:
    """Return the result of ``logistic`` for classes (N, 1), with few passes over the logits and little memory."""
    slope = logits.softmax(dim=1)
    # the largest probability is 1 / sum(exp(logit - largest logit))
    log_sums = logits.amax(dim=1, keepdim=True) - slope.amax(dim=1, keepdim=True).log()
    value = (weights * (log_sums - logits.gather(1, targets))).sum() / len(logits)
    slope.scatter_add_(1, targets, slope.new_full(targets.shape, -1))

    def second() -> Tensor:
        probabilities = logits.softmax(dim=1)
        return weights * (probabilities * (1 - probabilities))

    return value, slope.mul_(weights), second


def bernoulli(logits: Tensor, labels: Tensor, weights: Tensor) -> LossResult:
    """Return the binary cross-entropy in nats, summed over independent labels, as a ``Loss``."""
    probabilities = logits.sigmoid()
    value = -(weights * (labels * F.logsigmoid(logits) + (1 - labels) * F.logsigmoid(-logits))).sum() / len(logits)
    return value, weights * (probabilities - labels), lambda: weights * (probabilities * (1 - probabilities))


def hinge(logits: Tensor, targets: Tensor, weights: Tensor) -> LossResult:
    """Return the squared hinge loss of one class against the rest (Razavian et al. 2014, arXiv:1403.6382)."""
    if targets.ndim == 1:
        targets = torch.zeros_like(logits).scatter_(1, targets[:, None], 1)
    signs = 2 * targets - 1
    slack = F.relu(1 - signs * logits)
    value = (weights * slack.square()).sum() / len(logits)
    return value, weights * (-2 * signs * slack), lambda: 2 * weights * (slack > 0)


_blas = cache(ThreadpoolController)  # it searches all libraries of the process, which takes 4 ms
LOSSES: dict[str, Loss] = {"logistic": logistic, "hinge": hinge}


def fit_linear(
    x: Tensor,
    targets: Tensor,
    classes: int,
    l2: float,
    start: Fit | None = None,
    loss: Loss = logistic,
    max_iterations: int = 1000,
    weights: Tensor | None = None,
    on_iteration: Callable[[int], None] = lambda number: None,
) -> Fit:
    """Minimise mean loss + l2 / 2 * ||weight||^2 by L-BFGS (Liu & Nocedal 1989); the bias is not penalised.

    ``x`` is float64 (N, D); ``targets`` are classes (N,) or labels (N, classes). ``weights`` multiply the losses: (N,)
    of mean 1, or (N, classes) for labels. scikit-learn's C is 1 / (l2 * N). The problem is convex, so ``start`` changes
    only the time. Each variable is scaled by the square root of its curvature, so the fit is fastest if the columns of
    ``x`` are uncorrelated. L-BFGS is restarted with new scales until a restart gains less than ``GAIN``.
    ``on_iteration`` gets the number of iterations so far.
    """
    if targets.ndim == 1 and next(blocks_of(len(x), classes)).stop == len(x):  # in one block they are made only once
        targets = F.one_hot(targets, classes).to(x)
    weights = x.new_ones(len(x)) if weights is None else weights.to(x)
    objective = _Objective(x, targets, weights[:, None] if weights.ndim == 1 else weights, l2, loss)
    if start is None:
        start = Fit(x.new_zeros(classes, x.shape[1]), x.new_zeros(classes), math.inf, 0, False)
    fit = start
    iterations = 0
    while True:
        last = fit
        fit = _descend(objective, last, iterations, max_iterations, on_iteration)
        iterations += fit.iterations
        done = last is not start and last.value - fit.value <= GAIN * last.value
        if done or iterations >= max_iterations:
            return replace(fit, iterations=iterations, converged=done)


@dataclass(frozen=True)
class _Objective:
    """The objective of ``fit_linear``, computed in blocks of rows."""

    x: Tensor  # float64 (N, D)
    targets: Tensor
    weights: Tensor  # (N, 1) or (N, classes)
    l2: float
    loss: Loss

    def value_and_gradient(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value and its gradient (classes, D + 1)."""
        value, slopes, of_bias = 0.5 * self.l2 * weight.square().sum(), self.l2 * weight, torch.zeros_like(bias)
        for x, share, (part, slope, _) in self._blocks(weight, bias):
            slope = slope / len(self.x)
            value = share * part + value
            slopes = slope.T @ x + slopes
            of_bias = slope.sum(dim=0) + of_bias
        return value, torch.cat([slopes, of_bias[:, None]], dim=1)

    def value_and_curvature(self, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Return the value, and the mean of the second derivatives of the loss by an output."""
        value, curvature = 0.5 * self.l2 * weight.square().sum(), torch.zeros_like(bias[0])
        for _, share, (part, _, second) in self._blocks(weight, bias):
            value, curvature = share * part + value, share * second().mean() + curvature
        return value, curvature

    def _blocks(self, weight: Tensor, bias: Tensor) -> Iterator[tuple[Tensor, float, LossResult]]:
        """Yield the features of each block, its share of the rows, and the result of the loss."""
        for rows in blocks_of(len(self.x), len(weight)):
            x, targets = self.x[rows], self.targets[rows]
            targets = targets if targets.ndim == 1 else targets.to(x)
            result = self.loss(x @ weight.T + bias, targets, self.weights[rows])
            yield x, share_of(rows, len(self.x)), result


def _descend(
    objective: _Objective, start: Fit, done: int, max_iterations: int, on_iteration: Callable[[int], None]
) -> Fit:
    """Run L-BFGS until ``SPAN`` steps gain less than ``GAIN``; ``done`` iterations precede this run."""
    classes, size = start.weight.shape
    x, l2 = objective.x, objective.l2
    value, curvature = objective.value_and_curvature(start.weight, start.bias)
    curvature = curvature.clamp_min(1e-12)
    scale = torch.cat([(curvature * x.square().mean(dim=0) + l2).rsqrt(), curvature.rsqrt()[None]])
    unit = max(float(value), 1e-300)  # so that tolerances are relative

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.from_numpy(flat).to(x.device).view(classes, size + 1) * scale
        value, gradient = objective.value_and_gradient(parameters[:, :size], parameters[:, size])
        return float(value) / unit, (gradient * scale / unit).reshape(-1).cpu().numpy()

    values = [1.0]

    def enough(intermediate_result: Any) -> None:
        values.append(float(intermediate_result.fun))
        on_iteration(done + len(values) - 1)
        if len(values) > SPAN and values[-1 - SPAN] - values[-1] <= GAIN * values[-1]:
            raise StopIteration

    initial = (torch.cat([start.weight, start.bias[:, None]], dim=1) / scale).reshape(-1).cpu().numpy()
    most = max_iterations - done
    options = {"maxiter": most, "maxfun": 2 * most, "gtol": 1e-12, "ftol": 1e-15}
    # With more threads, BLAS of SciPy and of torch wait for each other in every step: 5 to 50 times slower on 2 cores.
    with _blas().limit(limits=1, user_api="blas"):
        found: Any = minimize(  # type: ignore[call-overload]
            value_and_gradient, initial, jac=True, method="L-BFGS-B", callback=enough, options=options
        )
    parameters = torch.from_numpy(found.x).to(x.device).view(classes, size + 1) * scale
    return Fit(parameters[:, :size], parameters[:, size], float(found.fun) * unit, max(1, int(found.nit)), False)
