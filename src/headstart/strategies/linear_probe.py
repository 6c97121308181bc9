"""Fit one linear layer on fixed features to the minimum of its convex objective.

If pretrained features separate the classes, a linear layer is enough.

Paper: Razavian et al. 2014 (arXiv:1403.6382), which uses a linear SVM: strategy.loss=hinge
Command: headstart train strategy=linear_probe
Measured: 84.3 ± 1.1 % on 15-Scene, 25 labels a class, EfficientNet-Lite0 at 128 px, test accuracy over 3 seeds, in 4
  s (docs/strategies.md).
Fails: with many labels: at 80 a class lp_ft has 89.6 % and the probe 87.7.
"""

from collections.abc import Sequence
from typing import Any

import torch

from headstart.errors import ConfigError
from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import as_list
from headstart.solvers.features import Features
from headstart.solvers.probe import OnRow, Probe
from headstart.solvers.probe_fit import fit_probe, fit_probe_once
from headstart.strategies.solved import SolvedStrategy
from headstart.tasks import Several, Task
from headstart.tasks.heads import put_linear
from headstart.tasks.several import fit_parts, parts_of
from headstart.tasks.task import is_by_pixel

STRENGTHS = (100, 31.6, 10, 3.16, 1, 0.316, 0.1, 0.0316, 0.01, 0.00316, 0.001, 0.000316, 0.0001)


class LinearProbe(SolvedStrategy):
    """A linear classifier on standardised features that are computed once, fitted for each strength in ``l2``.

    ``loss`` is "logistic" (multinomial; of several labels an image, one for each label) or "hinge" (squared, each class
    against the others: a linear SVM). The strength with the best primary metric on validation is chosen; lower loss
    breaks ties. The head includes the standardisation, so that the network takes plain images.
    """

    picked, solver, tasks = "l2", "L-BFGS", ("classification", "multilabel", "segmentation", "several")

    def __init__(self, *args: Any, l2: Sequence[float] = STRENGTHS, loss: str = "logistic", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_parameters("strategy", locals())
        self.strengths, self.loss = [float(strength) for strength in as_list(l2)], loss
        if isinstance(self.task, Several) and (numbers := self.task.of_kind("regression")):
            raise ConfigError(f"strategy=linear_probe: the output '{numbers[0]}' is a number; use strategy=ridge.")

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Fit a classifier for each strength and put the best into the head."""

        def fit(task: Task, train: Features, validation: Features, on_row: OnRow) -> Probe:
            if is_by_pixel(task):
                return task.fit_probe(train, validation, self.strengths, on_row, self.loss)
            return fit_probe_once(train, validation, task, self.strengths, self.loss, on_row)

        probe, each = fit_parts(self.task, fit, train, validation, on_row)
        put_linear(self.head, probe.weight, probe.bias)
        self.chosen = {name: one.scores["l2"] for name, one in each.items()}
        self.note_parts(probe, each)
        return probe.number

    def compute_again(self, images: Features) -> None:
        """Fit a classifier with the chosen strength."""
        fitted = []
        for name, task, own in parts_of(self.task, images):
            if is_by_pixel(task):
                probe = task.fit_probe(own, own, [self.chosen[name]], loss=self.loss)
            else:
                probe = fit_probe(own, own, task, [self.chosen[name]], self.loss)
            fitted.append((probe.weight, probe.bias))
        put_linear(self.head, *map(torch.cat, zip(*fitted, strict=True)))
