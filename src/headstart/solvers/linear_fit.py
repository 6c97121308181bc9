"""Fit linear classifiers with an L2 penalty to the minimum of their convex objective."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.solvers.blocks import blocks_of, share_of
from headstart.solvers.descent import Fit, Inverse, minimise

# A function of logits (N, classes), targets and weights (N, 1) of mean 1, or (N, classes). Targets are classes (N,), or
# one-hot or labels (N, classes). It returns the weighted mean loss, N times its gradient, and a function that gives the
# weighted second derivatives, (N, classes).
LossResult = tuple[Tensor, Tensor, Callable[[], Tensor]]
Loss = Callable[[Tensor, Tensor, Tensor], LossResult]


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


LOSSES: dict[str, Loss] = {"logistic": logistic, "hinge": hinge}


def fit_linear(
    x: Tensor,
    targets: Tensor,
    classes: int,
    l2: float,
    start: Tensor | None = None,
    loss: Loss = logistic,
    weights: Tensor | None = None,
    on_iteration: Callable[[int], object] = lambda number: None,
) -> Fit:
    """Minimise mean loss + l2 / 2 * ||weight||^2; the bias is not penalised.

    ``x`` is float64 (N, D); ``targets`` are classes (N,) or labels (N, classes). ``weights`` multiply the losses: (N,)
    of mean 1, or (N, classes) for labels. scikit-learn's C is 1 / (l2 * N). The problem is convex, so ``start``, the
    parameters of another fit, changes only the time. The fit is fastest if the columns of ``x`` are uncorrelated.
    ``on_iteration`` gets the number of iterations so far.
    """
    if targets.ndim == 1 and next(blocks_of(len(x), classes)).stop == len(x):  # in one block they are made only once
        targets = F.one_hot(targets, classes).to(x)
    weights = x.new_ones(len(x)) if weights is None else weights.to(x)
    objective = _Objective(x, targets, weights[:, None] if weights.ndim == 1 else weights, l2, loss)
    start = x.new_zeros(classes, x.shape[1] + 1) if start is None else start
    return minimise(objective, start, on_iteration=on_iteration)


class _Objective:
    """The objective of ``fit_linear``, computed in blocks of rows.

    Its approximate Hessian is diagonal, and equal for all classes.
    """

    def __init__(self, x: Tensor, targets: Tensor, weights: Tensor, l2: float, loss: Loss) -> None:
        self.x, self.targets = x, targets  # (N, D)
        self.weights = weights  # (N, 1) or (N, classes)
        self.l2, self.loss = l2, loss
        self._squares = x.square().mean(dim=0)
        self._curvature = x.new_zeros(())  # the mean of the second derivatives of the loss by an output

    def value_and_gradient(self, parameters: Tensor, measure: bool = False) -> tuple[float, Tensor]:
        """Return the value and its gradient (classes, D + 1); ``measure`` the second derivatives in the same pass."""
        weight, bias = parameters[:, :-1], parameters[:, -1]
        value, slopes, of_bias = 0.5 * self.l2 * weight.square().sum(), self.l2 * weight, torch.zeros_like(bias)
        curvature = torch.zeros_like(self._curvature)
        for rows in blocks_of(len(self.x), len(weight)):
            x, targets, share = self.x[rows], self.targets[rows], share_of(rows, len(self.x))
            targets = targets if targets.ndim == 1 else targets.to(x)
            part, slope, second = self.loss(x @ weight.T + bias, targets, self.weights[rows])
            slope = slope / len(self.x)
            value = share * part + value
            slopes = slope.T @ x + slopes
            of_bias = slope.sum(dim=0) + of_bias
            if measure:
                curvature = share * second().mean() + curvature
        if measure:
            self._curvature = curvature.clamp_min(1e-12)
        return float(value), torch.cat([slopes, of_bias[:, None]], dim=1)

    def inverse(self) -> Inverse:
        """Return the inverse of the approximate Hessian."""
        scale = 1 / torch.cat([self._curvature * self._squares + self.l2, self._curvature[None]])
        return lambda gradient: gradient * scale
