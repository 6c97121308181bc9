"""Solve ridge regression on fixed features, with one decomposition for all strengths."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from headstart.progress import counted
from headstart.solvers.centroids import standardisation
from headstart.solvers.features import Features, in_double
from headstart.solvers.probe import OnRow, Probe, ProbeTask, best_on_path, ignore, scored, warn_of_end

STRENGTHS = (10000, 3160, 1000, 316, 100, 31.6, 10, 3.16, 1, 0.316, 0.1, 0.0316, 0.01)


def fit_ridge(
    train: Features,
    validation: Features,
    task: ProbeTask,
    strengths: Sequence[float] = STRENGTHS,
    on_row: OnRow = ignore,
) -> Probe:
    """Return the best solution of ``ridge_path`` on validation. ``on_row`` gets the number and the scores of each."""
    best = best_on_path(ridge_path(train, validation, task, strengths), task, on_row)
    warn_of_end(best.end, best.scores["l2"])
    return best


def ridge_path(
    train: Features, validation: Features, task: ProbeTask, strengths: Sequence[float] = STRENGTHS
) -> Iterator[Probe]:
    """Yield the solution for each strength, strongest first; validation determines the scale of the outputs."""
    train, validation = in_double(train), in_double(validation)
    solutions = solve(train.values, task.regress_on(train.targets), strengths, task.weights_of(train.targets))
    for number, (strength, weight, bias) in enumerate(counted(solutions, "ridge", len(strengths), "strengths")):
        held_out = validation.values @ weight.T + bias
        scale = task.best_scale(held_out, validation.targets)
        fitted = scale * (train.values @ weight.T + bias)
        row = {"l2": strength}
        row |= scored(task, train=(fitted, train.targets), validation=(scale * held_out, validation.targets))
        yield Probe(scale * weight, scale * bias, number, row, scale=scale)


def solve(
    values: Tensor, y: Tensor, strengths: Sequence[float], weights: Tensor | None = None
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield strength, weight (K, D) and bias (K,) for unscaled features, strongest first.

    Each solution minimises ``|y - x w|^2 / N + l2 |w|^2`` for standardised features x and centred targets y. ``values``
    is float64 (N, D), ``y`` float64 (N, K). One singular value decomposition of x serves all strengths. ``weights``,
    (N,) with mean 1, multiply the squared errors of the images.
    """
    mean, std = standardisation(values)
    x = (values - mean) / std
    if weights is None:
        centre = y.mean(dim=0)
        y = y - centre
    else:  # the bias removes the weighted means; rows are multiplied by the root of their weight
        weights = weights[:, None]
        centre, middle = ((weights * array).mean(dim=0) for array in (y, x))
        y, x = weights.sqrt() * (y - centre), weights.sqrt() * (x - middle)
        mean = mean + std * middle
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    projected = u.T @ y
    for strength in sorted((float(strength) for strength in strengths), reverse=True):
        shrunk = s / (s.square() + len(x) * strength)
        weight = (vh.T @ (shrunk[:, None] * projected)).T / std
        yield strength, weight, centre - weight @ mean
