"""Solve ridge regression on fixed features, with one decomposition for all strengths."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from headstart.progress import counted
from headstart.solvers.blocks import LazyRows, Matrix, blocks_of, linear_rows
from headstart.solvers.centroids import standardisation
from headstart.solvers.features import Features, in_double
from headstart.solvers.probe import OnRow, Probe, ProbeTask, best_on_path, ignore, scored_by_blocks, warn_of_end

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
    y = regressed_on(task, train.targets)
    solutions = solve(train.values, y, strengths, task.weights_of(train.targets))
    for number, (strength, weight, bias) in enumerate(counted(solutions, "ridge", len(strengths), "strengths")):
        fitted, held_out = (linear_rows(split.values, weight, bias) for split in (train, validation))
        scale = task.best_scale(held_out, validation.targets)
        row = {"l2": strength}
        row |= scored_by_blocks(
            task, train=(scale * fitted, train.targets), validation=(scale * held_out, validation.targets)
        )
        yield Probe(scale * weight, scale * bias, number, row, scale=scale)


def regressed_on(task: ProbeTask, targets: Tensor) -> LazyRows:
    """Return the targets of a least-squares fit, float64 (N, K), computed when they are read."""
    return LazyRows(lambda rows: task.regress_on(targets[rows]))


def solve(
    values: Tensor, y: Matrix, strengths: Sequence[float], weights: Tensor | None = None
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield strength, weight (K, D) and bias (K,) for unscaled features, strongest first.

    Each solution minimises ``|y - x w|^2 / N + l2 |w|^2`` for standardised features x and centred targets y. ``values``
    is float64 (N, D); ``y``, float64 (N, K), is read in blocks of rows. One singular value decomposition of x serves
    all strengths. ``weights``, (N,) with mean 1, multiply the squared errors of the images.
    """
    mean, std = standardisation(values)
    x = (values - mean) / std
    shares = x.new_ones(len(x), 1) if weights is None else weights[:, None]
    blocks, nothing = list(blocks_of(len(x), y[:1].shape[1])), x.new_zeros(())
    centre = sum(((shares[rows] * y[rows]).sum(dim=0) for rows in blocks), nothing) / len(x)
    if weights is not None:  # the bias removes the weighted means; rows are multiplied by the root of their weight
        middle = (shares * x).mean(dim=0)
        x = shares.sqrt() * (x - middle)
        mean = mean + std * middle
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    projected = sum((u[rows].T @ (shares[rows].sqrt() * (y[rows] - centre)) for rows in blocks), nothing)
    for strength in sorted((float(strength) for strength in strengths), reverse=True):
        shrunk = s / (s.square() + len(x) * strength)
        weight = (vh.T @ (shrunk[:, None] * projected)).T / std
        yield strength, weight, centre - weight @ mean
