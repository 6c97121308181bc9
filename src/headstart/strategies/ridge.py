"""Ridge regression on fixed features: every strength from one decomposition."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart.progress import counted
from headstart.solvers.centroids import best_scale, standardisation
from headstart.solvers.features import Features
from headstart.solvers.probe_fit import balanced_weights, end_of, in_double, rank, scores, warn_of_end
from headstart.strategies.checks import numbers_above_zero
from headstart.strategies.feature_classifier import FeatureClassifier, OnRow
from headstart.strategies.linear_head import put_into

RIDGE_STRENGTHS = tuple(10 ** (exponent / 2) for exponent in range(8, -5, -1))  # 10,000 down to 0.01


class Ridge(FeatureClassifier):
    """Least squares to one-hot targets with an L2 penalty, in closed form.

    On standardised features x, centred targets y and n images it minimises
    ``|y - x w|^2 / n + l2 |w|^2``. The strength is the one with the best validation accuracy, then the lowest loss. The
    outputs are scaled so that their cross-entropy on validation is least, which changes no decision.
    """

    picked, solver = "l2", "closed form"

    def __init__(self, *args: Any, l2: Sequence[float] = RIDGE_STRENGTHS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.strengths = numbers_above_zero("strategy.l2", l2)

    @classmethod
    def config_name(cls) -> str:
        """What the settings call it."""
        return "ridge"

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Solve for each strength, put the best into the head."""
        train, validation = in_double(train), in_double(validation)
        best: tuple[tuple[float, float], int, Tensor, Tensor] | None = None
        rows = []
        solutions = counted(self._solved(train, self.strengths), "ridge", len(self.strengths), "strengths")
        for number, (strength, weight, bias) in enumerate(solutions):
            held_out = validation.values @ weight.T + bias
            scale = best_scale(held_out, validation.targets)
            row = {"l2": strength, **scores("train", scale * (train.values @ weight.T + bias), train.targets)}
            row |= scores("validation", scale * held_out, validation.targets)
            on_row(number, row)
            rows.append(row)
            if best is None or rank(row) > best[0]:
                best = rank(row), number, scale * weight, scale * bias
                self.chosen = strength, scale
        assert best is not None
        put_into(self.head, best[2], best[3])
        warn_of_end(end_of(rows, best[1]), rows[best[1]]["l2"])
        return best[1]

    def compute_again(self, images: Features) -> None:
        """Solve for the chosen strength; the scale stays that of the choice, as these images cannot tell it."""
        strength, scale = self.chosen
        ((_, weight, bias),) = self._solved(in_double(images), [strength])
        put_into(self.head, scale * weight, scale * bias)

    def _solved(self, images: Features, strengths: Sequence[float]) -> Iterator[tuple[float, Tensor, Tensor]]:
        classes = self.task.num_classes
        weights = balanced_weights(images.targets, classes) if self.task.balanced else None
        return solve(images.values, images.targets, classes, strengths, weights)


def solve(
    values: Tensor, targets: Tensor, classes: int, strengths: Sequence[float], weights: Tensor | None = None
) -> Iterator[tuple[float, Tensor, Tensor]]:
    """Yield strength, weight (classes, D) and bias (classes,) on the features as they come, strongest first.

    One singular value decomposition of the standardised features (N, D), float64, serves all strengths. The square of
    each image counts ``weights`` times, (N,) of mean 1.
    """
    mean, std = standardisation(values)
    x = (values - mean) / std
    y = F.one_hot(targets, classes).double()
    if weights is None:
        centre = y.mean(dim=0)
        y = y - centre
    else:  # the free bias takes the weighted means, and each row counts by the root of its weight
        weights = weights[:, None]
        centre, middle = ((weights * of).mean(dim=0) for of in (y, x))
        y, x = weights.sqrt() * (y - centre), weights.sqrt() * (x - middle)
        mean = mean + std * middle
    u, s, vh = torch.linalg.svd(x, full_matrices=False)
    projected = u.T @ y
    for strength in sorted((float(strength) for strength in strengths), reverse=True):
        shrunk = s / (s.square() + len(x) * strength)
        weight = (vh.T @ (shrunk[:, None] * projected)).T / std
        yield strength, weight, centre - weight @ mean
