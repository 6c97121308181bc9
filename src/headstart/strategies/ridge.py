"""Solve ridge regression on fixed features: every strength from one decomposition.

Least squares has a closed form, so the path of strengths costs little more than one fit.

Command: headstart train strategy=ridge
Measured: 84.0 ± 1.7 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds, in 1
  s (docs/strategies.md).
Fails: with few labels and many features it can trail linear_probe: 88.9 against 92.2 % on 196 images of hymenoptera.
"""

from collections.abc import Sequence
from typing import Any

from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import as_list
from headstart.solvers.features import Features, in_double
from headstart.solvers.ridge import STRENGTHS, fit_ridge, solve
from headstart.strategies.solved import OnRow, SolvedStrategy
from headstart.tasks.heads import put_linear


class Ridge(SolvedStrategy):
    """Least squares to the task's numbers (one-hot targets, or the numbers of a regression) with an L2 penalty.

    ``solvers.ridge.solve`` has the objective. The strength is the best by the primary metric on validation, then by the
    loss. The outputs of a classifier are scaled so that their cross-entropy on validation is least, which changes no
    decision.
    """

    picked, solver, only_classes = "l2", "closed form", False

    def __init__(self, *args: Any, l2: Sequence[float] = STRENGTHS, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_parameters("strategy", locals())
        self.strengths = [float(strength) for strength in as_list(l2)]

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Solve for each strength, put the best in place."""
        probe = fit_ridge(train, validation, self.task, self.strengths, self.task.weights_of, on_row)
        put_linear(self.head, probe.weight, probe.bias)
        self.chosen = probe.scores["l2"], probe.scale
        return probe.number

    def compute_again(self, images: Features) -> None:
        """Solve for the chosen strength; the scale stays that of the choice, as these images cannot tell it."""
        strength, scale = self.chosen
        images, task = in_double(images), self.task
        ((_, weight, bias),) = solve(
            images.values, task.regress_on(images.targets), [strength], task.weights_of(images.targets)
        )
        put_linear(self.head, scale * weight, scale * bias)
