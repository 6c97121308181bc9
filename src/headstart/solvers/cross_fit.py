"""Fit linear probes so that each image gets its class probabilities from a fit that never saw it."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.progress import ProgressLine
from headstart.solvers.blocks import blocks_of, share_of
from headstart.solvers.centroids import standardisation
from headstart.solvers.descent import Fit
from headstart.solvers.linear_fit import fit_linear
from headstart.solvers.probe_fit import principal_axes

STRENGTHS = (10.0, 3.16, 1.0, 0.316, 0.1, 0.0316, 0.01, 0.00316, 0.001)
MOST_AXES = 256  # principal axes kept: on 15-Scene more change no result, and take longer


@dataclass(frozen=True)
class CrossFit:
    """The result of one fit for each fold."""

    probabilities: Tensor  # float64 (N, classes), each row from the fit without its fold
    strengths: list[float]  # the L2 strength of each fold, chosen on the other folds


def cross_fit(
    values: Tensor, targets: Tensor, classes: int, folds: Tensor, strengths: tuple[float, ...] = STRENGTHS
) -> CrossFit:
    """Return out-of-fold probabilities of features (N, D) with targets (N,); ``folds`` (N,) counts from 0.

    The images of a fold take no part in anything that leads to their probabilities: standardisation, principal axes,
    choice of the strength and fit. The strength is the one with the lowest loss on the next fold, when fitted to the
    others; then all folds but one are fitted with it. Raises ValueError below three folds.
    """
    count = int(folds.max()) + 1
    if count < 3:
        raise ValueError(f"cross_fit has {count} folds, expected at least 3.")
    probabilities = values.new_zeros(len(values), classes, dtype=torch.float64)
    chosen = []
    with ProgressLine("cross-fitted probe", count, "folds") as progress:
        for fold in range(count):
            outside = folds != fold
            held_out = folds[outside] == (fold + 1) % count
            mean, std = standardisation(values[outside])
            x = (values.double() - mean) / std
            x = x @ _strongest_axes(x[outside]).T
            known, labels = x[outside], targets[outside]
            strength = _choose(known, labels, held_out, classes, strengths)
            chosen.append(strength)
            fit = fit_linear(known, labels, classes, strength)
            inside = torch.nonzero(~outside)[:, 0]
            for rows in blocks_of(len(inside), classes):
                probabilities[inside[rows]] = fit.logits(x[inside[rows]]).softmax(dim=1)
            progress.advance()
    return CrossFit(probabilities, chosen)


def _strongest_axes(x: Tensor) -> Tensor:
    """Return the principal axes (at most MOST_AXES, D) with the largest variance."""
    axes = principal_axes(x)
    return axes[(x @ axes.T).square().sum(dim=0).topk(min(MOST_AXES, len(axes))).indices]


def _choose(x: Tensor, targets: Tensor, held_out: Tensor, classes: int, strengths: tuple[float, ...]) -> float:
    """Return the strength with the lowest loss on the held-out images; weaker ones are not tried after a worse one."""
    best, lowest = strengths[0], float("inf")
    fit: Fit | None = None
    for strength in sorted(strengths, reverse=True):
        fit = fit_linear(x[~held_out], targets[~held_out], classes, strength, None if fit is None else fit.parameters)
        loss = _cross_entropy(fit, x[held_out], targets[held_out])
        if loss > lowest:
            break
        best, lowest = strength, loss
    return best


def _cross_entropy(fit: Fit, x: Tensor, targets: Tensor) -> float:
    return sum(
        share_of(rows, len(x)) * float(F.cross_entropy(fit.logits(x[rows]), targets[rows]))
        for rows in blocks_of(len(x), len(fit.weight))
    )
