"""Try every strategy that solves its head, at every stage of a backbone, on cached features."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.advice.reading import ImagesToMeasure, StageReader
from headstart.progress import within
from headstart.solvers.centroids import nearest_mean
from headstart.solvers.features import Features, in_double
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe import Probe, rank, scored
from headstart.solvers.probe_fit import fit_probe
from headstart.solvers.ridge import fit_ridge
from headstart.strategies.knn import NEIGHBOURS
from headstart.tasks import Classification

TEMPERATURE = 0.07  # as in strategy=knn
Solve = Callable[[Features, Features, Classification], Callable[[Tensor], Tensor]]
"""A function of training and validation features that returns one of features (N, D): their outputs (N, classes)."""


@dataclass(frozen=True)
class SolvedCandidate:
    """A backbone, a stage and a strategy, with its result on validation."""

    backbone: str
    stage: str
    is_last: bool
    """Whether it is the last stage of the backbone, as in a run without head.stages."""
    strategy: str
    correct: NDArray[np.bool_] = field(repr=False)
    """Whether each validation image is right, (N,)."""
    loss: float
    """Cross-entropy on validation, in nats."""
    seconds: float
    """Time of the features of training and validation images, and of the fit."""
    answer: Callable[[Tensor], Tensor] = field(repr=False)
    """Returns outputs (N, classes) for features of its stage (N, D)."""

    @property
    def accuracy(self) -> float:
        """Return the accuracy on validation, a fraction of 1."""
        return float(self.correct.mean())

    @property
    def settings(self) -> list[str]:
        """Return the settings of a run."""
        stage = [] if self.is_last else [f"head.stages=[{self.stage}]"]
        return [f"backbone={self.backbone}", f"strategy={self.strategy}", *stage]


def _linear(fit: Callable[[Features, Features, Classification], Probe]) -> Solve:
    def solve(train: Features, validation: Features, task: Classification) -> Callable[[Tensor], Tensor]:
        probe = fit(train, validation, task)
        return lambda values: values.double() @ probe.weight.T + probe.bias

    return solve


def _votes(train: Features, validation: Features, task: Classification) -> Callable[[Tensor], Tensor]:
    """Choose the number of neighbours that is best on validation."""
    counts = [count for count in NEIGHBOURS if count < len(train.targets)] or [1]
    memory = NearestNeighbours(train.values, train.targets, task.width, counts[-1], TEMPERATURE)
    found = memory.nearest(validation.values, counts[-1])

    def rank_of(count: int) -> Any:
        return rank(scored(task, validation=(memory.votes(*found, count), validation.targets)), task)

    best = max(counts, key=rank_of)
    return lambda values: memory.votes(*memory.nearest(values, best), best)


def _centroids(train: Features, validation: Features, task: Classification) -> Callable[[Tensor], Tensor]:
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
    candidates = []
    for stage, (train, validation) in stages.items():
        for strategy, solve in SOLVERS.items():
            begun = time.perf_counter()
            with within(f"{name}, {stage}"):
                answer = solve(train, validation, task)
                outputs = answer(validation.values)
            seconds = reader.seconds_an_image * images + time.perf_counter() - begun
            correct = (outputs.argmax(dim=1) == validation.targets).numpy()
            loss = task.score(outputs, validation.targets)["loss"]
            is_last = stage == list(stages)[-1]
            candidates.append(SolvedCandidate(name, stage, is_last, strategy, correct, loss, seconds, answer))
    return SolvedStages(candidates, stages, task)


def in_order(candidates: list[SolvedCandidate]) -> list[SolvedCandidate]:
    """Return the candidates, best first: by accuracy, then loss."""
    return sorted(candidates, key=lambda one: (-one.accuracy, one.loss))
