"""Multinomial logistic regression with L2 penalty, fitted to convergence."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.optimize import minimize
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Fit:
    """The minimum and how it was reached."""

    weight: Tensor  # float64 (classes, D)
    bias: Tensor  # float64 (classes,)
    iterations: int
    converged: bool

    def logits(self, x: Tensor) -> Tensor:
        """(N, D) to (N, classes)."""
        return x @ self.weight.T + self.bias


def fit_softmax(
    x: Tensor, targets: Tensor, classes: int, l2: float, start: Fit | None = None, max_iterations: int = 1000
) -> Fit:
    """Minimise mean cross-entropy + l2 / 2 * ||weight||^2 by L-BFGS (Liu & Nocedal 1989); the bias is free.

    ``x`` is float64 (N, D). scikit-learn's C is 1 / (l2 * N). The problem is convex, so ``start`` changes only the
    time that it takes.
    """
    size = x.shape[1]
    one_hot = F.one_hot(targets, classes).to(x)

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        parameters = torch.from_numpy(flat).to(x.device).view(classes, size + 1)
        weight, bias = parameters[:, :size], parameters[:, size]
        log_probabilities = F.log_softmax(x @ weight.T + bias, dim=1)
        value = -(one_hot * log_probabilities).sum() / len(x) + 0.5 * l2 * weight.square().sum()
        error = (log_probabilities.exp() - one_hot) / len(x)
        gradient = torch.cat([error.T @ x + l2 * weight, error.sum(dim=0)[:, None]], dim=1)
        return float(value), gradient.reshape(-1).cpu().numpy()

    if start is None:
        initial = np.zeros(classes * (size + 1))
    else:
        initial = torch.cat([start.weight, start.bias[:, None]], dim=1).reshape(-1).cpu().numpy()
    options = {"maxiter": max_iterations, "maxfun": 2 * max_iterations, "gtol": 1e-6, "ftol": 1e-12}
    # SciPy's BLAS threads and torch's would wait for each other at every step: 5 to 50 times slower on 2 cores.
    with threadpool_limits(1, user_api="blas"):
        found: Any = minimize(value_and_gradient, initial, jac=True, method="L-BFGS-B", options=options)  # type: ignore[call-overload]
    parameters = torch.from_numpy(found.x).to(x.device).view(classes, size + 1)
    return Fit(parameters[:, :size], parameters[:, size], int(found.nit), bool(found.success))
