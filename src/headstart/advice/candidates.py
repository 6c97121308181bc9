"""Try every strategy that solves its head, at every stage of a backbone, on cached features.

Few validation images cannot tell many candidates apart. So a small validation split that was drawn from the training
images is replaced by folds of both together: every image is held out once.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.advice.reading import ImagesToMeasure, StageReader
from headstart.progress import within
from headstart.solvers.centroids import nearest_mean
from headstart.solvers.features import Features, in_double, joined
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe import Probe, rank, scored
from headstart.solvers.probe_fit import fit_probe
from headstart.solvers.ridge import fit_ridge
from headstart.splits.splits import fold_of
from headstart.strategies.knn import NEIGHBOURS
from headstart.tasks import Classification

TEMPERATURE = 0.07  # as in strategy=knn
FOLDS = 5
ROUNDING = 0.05  # of folds: the share of validation images is rounded in each class
ENOUGH_IMAGES = 1000  # of validation; the standard error of an accuracy is at most 1.6 points
Answer = Callable[[Tensor], Tensor]
"""A function of features (N, D) that returns outputs (N, classes)."""
Solve = Callable[[Features, Features, Classification], Answer]
"""A function of training features, and of validation features that choose its strength."""


@dataclass(frozen=True)
class SolvedCandidate:
    """A backbone, a stage and a strategy, with its result on validation or on the folds that replace it."""

    backbone: str
    stage: str
    is_last: bool
    """Whether it is the last stage of the backbone, as in a run without head.stages."""
    strategy: str
    correct: NDArray[np.bool_] = field(repr=False)
    """Whether each of these images is right, (N,)."""
    loss: float
    """Mean cross-entropy of the images, in nats."""
    seconds: float
    """Time of the features of training and validation images, and of the fit."""
    fit: Callable[[], Answer] = field(repr=False)
    """Fits the head of a run: on the training images, with validation to choose its strength."""

    @property
    def accuracy(self) -> float:
        """Return the share of right images, a fraction of 1."""
        return float(self.correct.mean())

    @property
    def settings(self) -> list[str]:
        """Return the settings of a run."""
        stage = [] if self.is_last else [f"head.stages=[{self.stage}]"]
        return [f"backbone={self.backbone}", f"strategy={self.strategy}", *stage]


def _linear(fit: Callable[[Features, Features, Classification], Probe]) -> Solve:
    def solve(train: Features, validation: Features, task: Classification) -> Answer:
        probe = fit(train, validation, task)
        return lambda values: values.double() @ probe.weight.T + probe.bias

    return solve


def _votes(train: Features, validation: Features, task: Classification) -> Answer:
    """Choose the number of neighbours that is best on validation."""
    counts = [count for count in NEIGHBOURS if count < len(train.targets)] or [1]
    memory = NearestNeighbours(train.values, train.targets, task.width, counts[-1], TEMPERATURE)
    found = memory.nearest(validation.values, counts[-1])

    def rank_of(count: int) -> Any:
        return rank(scored(task, validation=(memory.votes(*found, count), validation.targets)), task)

    best = max(counts, key=rank_of)
    return lambda values: memory.votes(*memory.nearest(values, best), best)


def _centroids(train: Features, validation: Features, task: Classification) -> Answer:
    weight, bias = nearest_mean(in_double(train).values, train.targets, task.width)
    return lambda values: values.double() @ weight.T + bias


SOLVERS: Mapping[str, Solve] = {
    "linear_probe": _linear(fit_probe),
    "ridge": _linear(fit_ridge),
    "knn": _votes,
    "nearest_centroid": _centroids,
}


@dataclass(frozen=True)
class SolvedStages:
    """The candidates of one backbone, and the features that they were computed from, by stage."""

    candidates: list[SolvedCandidate]
    features: Mapping[str, tuple[Features, Features]]
    """Of training and validation images."""
    task: Classification


def try_stages(reader: StageReader, target: ImagesToMeasure, name: str) -> SolvedStages:
    """Solve each strategy at each stage. The target has labels; ``name`` is that of the backbone's config."""
    task = Classification(len(target.class_names))
    stages = reader.labelled_stages(target)
    images = sum(len(split.targets) for split in next(iter(stages.values())))
    parts = folds_for(target)
    candidates = []
    for stage, (train, validation) in stages.items():
        for strategy, solve in SOLVERS.items():
            begun = time.perf_counter()
            with within(f"{name}, {stage}"):
                correct, loss = _tried(solve, train, validation, task, parts)
            seconds = reader.seconds_an_image * images + (time.perf_counter() - begun) / parts
            fit = partial(solve, train, validation, task)
            is_last = stage == list(stages)[-1]
            candidates.append(SolvedCandidate(name, stage, is_last, strategy, correct, loss, seconds, fit))
    return SolvedStages(candidates, stages, task)


def folds_for(target: ImagesToMeasure) -> int:
    """Return the number of folds of training and validation images together; 1 for the validation split itself.

    A fit on folds must not see more images than a run trains on, or it would be better than the run.
    """
    assert target.validation is not None
    if not target.validation_is_drawn or len(target.validation) >= ENOUGH_IMAGES:
        return 1
    labels = np.concatenate([np.asarray(split.targets) for split in (target.train, target.validation)])
    most = int(len(labels) / len(target.validation) + ROUNDING)
    return min(FOLDS, most, int(np.bincount(labels).min()))


def _tried(
    solve: Solve, train: Features, validation: Features, task: Classification, parts: int
) -> tuple[NDArray[np.bool_], float]:
    """Return which images are right when ``solve`` has not seen them, and their mean loss."""
    splits = [(train, validation)]
    if parts > 1:
        pooled, names = joined(train, validation), [str(number) for number in range(task.num_classes)]
        places = [fold_of(pooled.targets.numpy(), parts, fold, 0, names) for fold in range(parts)]
        splits = [
            (Features(pooled.values[stay], pooled.targets[stay]), Features(pooled.values[off], pooled.targets[off]))
            for stay, off in places
        ]
    correct, losses = [], []
    for known, held_out in splits:
        outputs = solve(known, held_out, task)(held_out.values)
        correct.append((outputs.argmax(dim=1) == held_out.targets).numpy())
        losses.append(task.score(outputs, held_out.targets)["loss"])
    return np.concatenate(correct), float(np.average(losses, weights=[len(part) for part in correct]))


def in_order(candidates: list[SolvedCandidate]) -> list[SolvedCandidate]:
    """Return the candidates, best first: by accuracy, then loss."""
    return sorted(candidates, key=lambda one: (-one.accuracy, one.loss))
