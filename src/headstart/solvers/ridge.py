"""Solve ridge regression on fixed features, with one decomposition for all strengths."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from headstart.progress import counted
from headstart.solvers.centroids import standardisation
from headstart.solvers.features import Features, in_double
from headstart.solvers.probe import Aim, OnRow, Probe, end_of, ignore, rank, scored, warn_of_end

STRENGTHS = (10000, 3160, 1000, 316, 100, 31.6, 10, 3.16, 1, 0.316, 0.1, 0.0316, 0.01)


def fit_ridge(
    train: Features,
    validation: Features,
    aim: Aim,
    strengths: Sequence[float] = STRENGTHS,
    on_row: OnRow = ignore,
) -> Probe:
    """Solve for each strength, strongest first; return the best by the primary metric on validation, then by the loss.

    ``on_row`` gets the number and the scores of each strength.
    """
    train, validation = in_double(train), in_double(validation)
    best: Probe | None = None
    rows: list[dict[str, float]] = []
    solutions = solve(train.values, aim.regress_on(train.targets), strengths, aim.weights_of(train.targets))
    for number, (strength, weight, bias) in enumerate(counted(solutions, "ridge", len(strengths), "strengths")):
        held_out = validation.values @ weight.T + bias
        scale = aim.best_scale(held_out, validation.targets)
        fitted = scale * (train.values @ weight.T + bias)
        row = {"l2": strength}
        row |= scored(aim, train=(fitted, train.targets), validation=(scale * held_out, validation.targets))
        on_row(number, row)
        rows.append(row)
        if best is None or rank(row, aim) > rank(best.scores, aim):
            best = Probe(scale * weight, scale * bias, number, row, scale=scale)
    if best is None:
        raise ValueError("fit_ridge needs at least one strength.")
    end = end_of(rows, best.number, aim)
    warn_of_end(end, best.scores["l2"])
    return replace(best, end=end)


def solve(
    values: Tensor, y: Tensor, strengths: Sequence[float], weights: Tensor | None = None
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield strength, weight (K, D) and bias (K,) for unscaled features, strongest first.

    Each minimises ``|y - x w|^2 / n + l2 |w|^2`` for standardised features x, centred targets y and n images. One
    singular value decomposition of the features (N, D), float64, serves all strengths. ``y`` is float64 (N, K). The
    squared error of each image counts ``weights`` times, (N,) of mean 1.
    """
    mean, std = standardisation(values)
    x = (values - mean) / std
    if weights is None:
        centre = y.mean(dim=0)
        y = y - centre
    else:  # the free bias takes the weighted means, and each row counts by the root of its weight
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
