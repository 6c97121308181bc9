"""Try every strategy that solves its head at every stage of a backbone, and at all joined, on cached features.

Few validation images cannot tell many candidates apart. So a validation split that was drawn from few training images
is replaced by folds of both together: every image is held out once.

A strategy chooses its strength on held-out images and then looks too good on them, and the more strengths it has, the
more so. Candidates are compared without this advantage: the strength that is best on one fold is scored on the others.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial

import numpy as np
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from headstart.advice.reading import ImagesToMeasure, StageReader
from headstart.analysis.layer_report import JOINED
from headstart.progress import within
from headstart.seeds import generator
from headstart.solvers.centroids import nearest_mean
from headstart.solvers.features import Features, in_double, joined
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe import Probe, rank, scored
from headstart.solvers.probe_fit import probe_path
from headstart.solvers.ridge import ridge_path
from headstart.splits.splits import fold_of
from headstart.strategies.knn import NEIGHBOURS
from headstart.tasks import Classification

TEMPERATURE = 0.07  # as in strategy=knn
FOLDS = 5
ROUNDING = 0.05  # of folds: the share of validation images is rounded in each class
ENOUGH_IMAGES = 5000  # of training and validation: fits on folds of more take long, and a fifth of them tells enough
Answer = Callable[[Tensor], Tensor]
"""A function of features (N, D) that returns outputs (N, classes)."""
Solve = Callable[[Features, Features, Classification], Iterator[Answer]]
"""A function of training and validation features that yields the answer of each strength.

The strongest comes first; the numbers of neighbours count as strengths.
"""


@dataclass(frozen=True)
class ScoredCandidate:
    """A backbone, a stage and a strategy, with its result on validation or on the folds that replace it."""

    backbone: str
    stage: str
    read: Sequence[str]
    """The stages for head.stages; empty for the last stage, which a run reads by default."""
    strategy: str
    correct: NDArray[np.float64] = field(repr=False)
    """For each of these images the share of the chosen strengths or epochs that are right, (N,)."""
    loss: float
    """Mean cross-entropy of the images, in nats."""
    seconds: float
    """Time of the features of training and validation images, and of the fit."""

    @property
    def accuracy(self) -> float:
        """Return the share of right images, a fraction of 1."""
        return float(self.correct.mean())

    @property
    def settings(self) -> list[str]:
        """Return the settings of a run."""
        stage = [f"head.stages=[{','.join(self.read)}]"] if self.read else []
        return [f"backbone={self.backbone}", f"strategy={self.strategy}", *stage]


@dataclass(frozen=True)
class SolvedCandidate(ScoredCandidate):
    """A candidate whose head is computed from features."""

    fit: Callable[[], Answer] = field(repr=False)
    """Fits the head of a run: on the training images, with validation to choose its strength."""


def _linear(path: Callable[[Features, Features, Classification], Iterator[Probe]]) -> Solve:
    def solve(train: Features, validation: Features, task: Classification) -> Iterator[Answer]:
        for probe in path(train, validation, task):
            yield partial(_outputs, probe.weight, probe.bias)

    return solve


def _outputs(weight: Tensor, bias: Tensor, values: Tensor) -> Tensor:
    return values.double() @ weight.T + bias


def _votes(train: Features, validation: Features, task: Classification) -> Iterator[Answer]:
    """Yield the votes of each number of neighbours."""
    counts = [count for count in NEIGHBOURS if count < len(train.targets)] or [1]
    memory = NearestNeighbours(train.values, train.targets, task.width, counts[-1], TEMPERATURE)
    nearest = lru_cache(1)(partial(memory.nearest, count=counts[-1]))

    def answer(count: int, values: Tensor) -> Tensor:
        return memory.votes(*nearest(values), count)

    yield from (partial(answer, count) for count in counts)


def _centroids(train: Features, validation: Features, task: Classification) -> Iterator[Answer]:
    yield partial(_outputs, *nearest_mean(in_double(train).values, train.targets, task.width))


SOLVERS: Mapping[str, Solve] = {
    "linear_probe": _linear(probe_path),
    "ridge": _linear(ridge_path),
    "knn": _votes,
    "nearest_centroid": _centroids,
}


def fit_best(solve: Solve, train: Features, validation: Features, task: Classification) -> Answer:
    """Return the answer of the strength that is best on validation, as in a run."""
    return max(
        solve(train, validation, task),
        key=lambda answer: rank(scored(task, validation=(answer(validation.values), validation.targets)), task),
    )


@dataclass(frozen=True)
class SolvedStages:
    """The candidates of one backbone, and the features that they were computed from, by stage."""

    candidates: list[SolvedCandidate]
    features: Mapping[str, tuple[Features, Features]]
    """Of training and validation images."""
    task: Classification


def try_stages(reader: StageReader, target: ImagesToMeasure, name: str) -> SolvedStages:
    """Solve each strategy at each stage and at all joined, which come last.

    The target has labels; ``name`` is that of the backbone's config.
    """
    task = Classification(len(target.class_names))
    names = list(reader.columns())
    stages = reader.labelled_stages(target, joined=True)
    images = sum(len(split.targets) for split in next(iter(stages.values())))
    parts = folds_for(target)
    candidates = []
    for stage, (train, validation) in stages.items():
        for strategy, solve in SOLVERS.items():
            begun = time.perf_counter()
            with within(f"{name}, {stage}"):
                correct, loss = _tried(solve, train, validation, task, parts)
            seconds = reader.seconds_an_image * images + (time.perf_counter() - begun) / parts
            fit = partial(fit_best, solve, train, validation, task)
            read = names if stage not in names else [stage] if stage != names[-1] else []
            candidates.append(SolvedCandidate(name, stage, read, strategy, correct, loss, seconds, fit))
    return SolvedStages(candidates, stages, task)


def folds_for(target: ImagesToMeasure) -> int:
    """Return the number of folds of training and validation images together; 1 for the validation split itself.

    A fit on folds must not see more images than a run trains on, or it would be better than the run.
    """
    assert target.validation is not None
    labels = np.concatenate([np.asarray(split.targets) for split in (target.train, target.validation)])
    if not target.validation_is_drawn or len(labels) >= ENOUGH_IMAGES:
        return 1
    most = int(len(labels) / len(target.validation) + ROUNDING)
    return min(FOLDS, most, int(np.bincount(labels).min()))


def _tried(
    solve: Solve, train: Features, validation: Features, task: Classification, parts: int
) -> tuple[NDArray[np.float64], float]:
    """Return the results of ``scored_elsewhere``; one part means validation, whose halves then serve as folds.

    No image is scored by a fit that has seen it, or with a strength because it was best on that image.
    """
    if parts == 1:
        return scored_by_halves(_outcomes(solve(train, validation, task), validation))
    pooled = joined(train, validation)
    folds = []
    for fold in range(parts):
        stay, off = fold_positions(pooled.targets.numpy(), parts, fold)
        held_out = Features(pooled.values[off], pooled.targets[off])
        answers = solve(Features(pooled.values[stay], pooled.targets[stay]), held_out, task)
        folds.append(_outcomes(answers, held_out))
    return scored_elsewhere(folds)


def fold_positions(targets: NDArray[np.int64], folds: int, fold: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return positions outside and inside a fold of training and validation images, which are joined in this order."""
    return fold_of(targets, folds, fold, 0, [str(number) for number in range(targets.max() + 1)])


Outcomes = tuple[NDArray[np.bool_], NDArray[np.float64]]
"""Whether each image of a fold is right, and its loss, both by strength or epoch, (S, N)."""


def _outcomes(answers: Iterator[Answer], held_out: Features) -> Outcomes:
    return outcomes_of((answer(held_out.values) for answer in answers), held_out.targets)


def outcomes_of(outputs: Iterable[Tensor], targets: Tensor) -> Outcomes:
    """Return the outcomes of the outputs (N, classes) of each strength or epoch."""
    right, losses = [], []
    for logits in outputs:
        logits = logits.double()
        right.append((logits.argmax(dim=1) == targets).numpy())
        losses.append(F.cross_entropy(logits, targets, reduction="none").numpy())
    return np.array(right), np.array(losses)


def scored_by_halves(found: Outcomes) -> tuple[NDArray[np.float64], float]:
    """Return what ``scored_elsewhere`` returns for two halves of the images, in the order of the images."""
    right, loss = found
    order = generator("advice halves", 0).permutation(right.shape[1])
    halves = np.array_split(order, 2)
    scored, mean = scored_elsewhere([(right[:, half], loss[:, half]) for half in halves])
    correct = np.empty_like(scored)
    correct[order] = scored
    return correct, mean


def scored_elsewhere(folds: Sequence[Outcomes]) -> tuple[NDArray[np.float64], float]:
    """Return the share of right answers for each image, (N,), fold by fold, and the mean loss.

    On each fold one strength or epoch is best, by accuracy, then loss. That of each other fold answers for an image.
    """
    chosen = [max(range(len(right)), key=lambda one: (right[one].mean(), -loss[one].mean())) for right, loss in folds]
    correct, losses = [], []
    for fold, (right, loss) in enumerate(folds):
        # A fit on fewer images may have tried fewer numbers of neighbours.
        others = [min(one, len(right) - 1) for one in chosen[:fold] + chosen[fold + 1 :]]
        correct.append(right[others].mean(axis=0))
        losses.append(loss[others].mean(axis=0))
    return np.concatenate(correct), float(np.concatenate(losses).mean())


def in_order(candidates: Sequence[ScoredCandidate]) -> list[ScoredCandidate]:
    """Return the candidates, best first: by accuracy, then loss."""
    return sorted(candidates, key=lambda one: (-one.accuracy, one.loss))


def advised(candidates: Sequence[ScoredCandidate]) -> ScoredCandidate:
    """Return the candidate to use, from those of ``in_order``.

    It is the first of these that is worse than the best candidate by no more than one standard error of the difference:
    the joined stages with the strategy and the backbone of the best solved candidate; the best solved candidate; the
    best candidate. Joined stages hold the features of each stage, so images unlike those of validation depend less on a
    stage that was best by chance. A solved head takes less time than training.
    """
    best, solved = candidates[0], solved_of(candidates)[0]
    joined = [
        one
        for one in candidates
        if (one.backbone, one.stage, one.strategy) == (solved.backbone, JOINED, solved.strategy)
    ]
    return next(one for one in (*joined, solved, best) if not is_better(best, one))


def solved_of(candidates: Sequence[ScoredCandidate]) -> list[SolvedCandidate]:
    """Return the candidates whose head is computed from features."""
    return [one for one in candidates if isinstance(one, SolvedCandidate)]


def is_better(one: ScoredCandidate, other: ScoredCandidate) -> bool:
    """Return whether a candidate is better than another by more than one standard error of the difference."""
    lead, error = lead_over(one, other)
    return lead > error


def lead_over(one: ScoredCandidate, other: ScoredCandidate) -> tuple[float, float]:
    """Return the difference of two accuracies, fractions of 1, and its standard error over the images."""
    lead = one.correct - other.correct
    return float(lead.mean()), float(lead.std() / len(lead) ** 0.5)
