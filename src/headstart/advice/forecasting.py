"""Forecast the accuracy with more labels, from fits on nested subsets of the labels at hand."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from headstart.advice.candidates import Solve, fit_best
from headstart.progress import counted
from headstart.solvers.features import Features
from headstart.solvers.learning_curve import Forecast, LearningCurve, fit_learning_curve
from headstart.splits.splits import few_per_class
from headstart.tasks import Classification

REPETITIONS = 5
HALVINGS = 4  # of the labels at hand: subsets of 1/2, 1/4, 1/8 and 1/16
LEAST, SIZES = 2, 3  # labels a class of the smallest subset, and the number of sizes that a fit needs
ENOUGH = LEAST * 2 ** (SIZES - 1)  # labels a class


@dataclass(frozen=True)
class AccuracyForecast:
    """Measured accuracies by labels a class, and the curve that forecasts more."""

    sizes: Sequence[int]
    accuracies: Sequence[float]
    """Means over the subsets, fractions of 1."""
    curve: LearningCurve

    def at(self, labels: float) -> Forecast:
        """Return the forecast of the error at ``labels`` labels a class, with a 90 % interval."""
        return self.curve.forecast(labels, 0.9)


def sizes_of(most: int) -> list[int]:
    """Return the numbers of labels a class to try, rising; fewer than ``SIZES`` if there are too few labels."""
    halved = {most // 2**step for step in range(HALVINGS + 1)}
    return sorted(size for size in halved if size >= LEAST)


def forecast_accuracy(
    solve: Solve, train: Features, validation: Features, task: Classification, repetitions: int = REPETITIONS
) -> AccuracyForecast | None:
    """Return the forecast for one strategy at one stage, or None with fewer than ``ENOUGH`` labels in a class.

    Each repetition draws nested subsets with the same number of labels in each class, as ``dataset.labels_per_class``
    does with ``subset_seed``.
    """
    targets = train.targets.numpy()
    counts = np.bincount(targets, minlength=task.num_classes)
    sizes = sizes_of(int(counts.min()))
    if len(sizes) < SIZES:
        return None
    names = [str(number) for number in range(task.num_classes)]
    errors = np.empty((repetitions, len(sizes)))
    pairs = [(seed, place) for seed in range(repetitions) for place in range(len(sizes))]
    for seed, place in counted(pairs, "learning curve", len(pairs), "fits"):
        if seed and sizes[place] == counts.max():  # all labels: the same subset each time
            errors[seed, place] = errors[0, place]
            continue
        chosen = few_per_class(targets, sizes[place], seed, names)
        answer = fit_best(solve, Features(train.values[chosen], train.targets[chosen]), validation, task)
        outputs = answer(validation.values)
        errors[seed, place] = float((outputs.argmax(dim=1) != validation.targets).double().mean())
    curve = fit_learning_curve(sizes, errors, len(validation.targets), float(counts.mean()))
    return AccuracyForecast(sizes, (1 - errors.mean(axis=0)).tolist(), curve)
