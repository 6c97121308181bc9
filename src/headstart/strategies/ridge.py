"""Solve ridge regression on fixed features, with one decomposition for all strengths.

Least squares has a closed form, so the path of strengths costs little more than one fit.

Command: headstart train strategy=ridge
Measured: 84.0 ± 1.7 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds, in 1
  s (docs/strategies.md).
Fails: with few labels and many features it can trail linear_probe: 88.9 against 92.2 % on 196 images of hymenoptera.
"""

from collections.abc import Sequence
from typing import Any

import torch

from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import as_list
from headstart.solvers.features import Features, in_double
from headstart.solvers.probe import OnRow, Probe
from headstart.solvers.ridge import STRENGTHS, fit_ridge, regressed_on, solve
from headstart.strategies.solved import SolvedStrategy
from headstart.tasks import Task
from headstart.tasks.heads import put_linear
from headstart.tasks.several import fit_parts, parts_of
from headstart.tasks.task import is_by_pixel


class Ridge(SolvedStrategy):
    """Least squares with an L2 penalty on one-hot targets, or on the numbers of a regression.

    ``solvers.ridge.solve`` has the objective. The strength with the best primary metric on validation is chosen, then
    the lowest loss. A classifier's outputs are scaled for the lowest cross-entropy on validation, which changes no
    prediction.
    """

    picked, solver = "l2", "closed form"
    tasks = ("classification", "regression", "multilabel", "segmentation", "dense_regression", "several")

    def __init__(self, *args: Any, l2: Sequence[float] = STRENGTHS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_parameters("strategy", locals())
        self.strengths = [float(strength) for strength in as_list(l2)]

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Solve for each strength and put the best head in place."""

        def fit(task: Task, train: Features, validation: Features, on_row: OnRow) -> Probe:
            if is_by_pixel(task):
                return task.fit_probe(train, validation, self.strengths, on_row, "ridge")
            return fit_ridge(train, validation, task, self.strengths, on_row)

        probe, each = fit_parts(self.task, fit, train, validation, on_row)
        put_linear(self.head, probe.weight, probe.bias)
        self.chosen = {name: (one.scores["l2"], one.scale) for name, one in each.items()}
        self.note_parts(probe, each)
        return probe.number

    def compute_again(self, images: Features) -> None:
        """Solve for the chosen strength and keep the scale, which only images outside the fit can determine."""
        if is_by_pixel(self.task):
            strength, scale = self.chosen[""]
            probe = self.task.fit_probe(images, images, [strength], loss="ridge")
            put_linear(self.head, scale / probe.scale * probe.weight, scale / probe.scale * probe.bias)
            return
        solved = []
        for name, task, own in parts_of(self.task, in_double(images)):
            strength, scale = self.chosen[name]
            ((_, weight, bias),) = solve(
                own.values, regressed_on(task, own.targets), [strength], task.weights_of(own.targets)
            )
            solved.append((scale * weight, scale * bias))
        put_linear(self.head, *map(torch.cat, zip(*solved, strict=True)))
