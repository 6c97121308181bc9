"""Measure how far a target is from what the weights of a backbone know."""

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.advice.channels import channel_distances
from headstart.advice.reading import ImagesToMeasure, StageReader
from headstart.advice.source_head import source_head
from headstart.errors import DataError
from headstart.progress import counted
from headstart.similarity.distances import LEAST, FrechetDistance, KernelDistance, measure_frechet, measure_kernel
from headstart.similarity.source_labels import leep, negative_conditional_entropy
from headstart.similarity.transferability import h_score, log_evidence
from headstart.solvers.features import Features
from headstart.solvers.neighbours import NearestNeighbours
from headstart.solvers.probe_fit import fit_probe
from headstart.tasks import Classification

NEIGHBOURS, TEMPERATURE = 5, 0.07


@dataclass(frozen=True)
class StageSimilarity:
    """The measures at one stage; accuracies are fractions of 1, and NaN stands for what cannot be measured."""

    stage: str
    features: int
    neighbours: float = math.nan
    """Accuracy of the five nearest other training images."""
    probe: float = math.nan
    """Validation accuracy of a linear probe; its L2 strength is chosen on validation, too."""
    log_evidence: float = math.nan
    h_score: float = math.nan
    shrunk_h_score: float = math.nan
    statistics: float = math.nan
    """Distance of batch norm's statistics, in stored deviations, averaged over the layers of the stage."""


@dataclass(frozen=True)
class Similarity:
    """All measures of one target, one backbone and, at most, one source."""

    target: str
    backbone: str
    weights: str | None
    images: int
    classes: int
    stages: tuple[StageSimilarity, ...]
    statistics: float = math.nan
    """Distance of batch norm's statistics, averaged over all layers."""
    source_classes: int = 0
    nce: float = math.nan
    leep: float = math.nan
    source: str | None = None
    source_images: int = 0
    frechet: FrechetDistance | None = None
    kernel: KernelDistance | None = None
    notes: tuple[str, ...] = field(default=())
    """Sentences on what could not be measured, and why."""


def measure_similarity(reader: StageReader, target: ImagesToMeasure, source: ImagesToMeasure | None) -> Similarity:
    """Return all measures that labels, weights and source images allow. Equal inputs give equal results.

    Raises DataError if source and target have different channels or value ranges.
    """
    if source is not None and source.signature != target.signature:
        raise DataError(
            f"The source {source.name} gives {source.signature.kind}s of {source.signature.channels} channels, and the"
            f" target {target.name} {target.signature.kind}s of {target.signature.channels}: one network cannot read"
            " both."
        )
    notes: list[str] = []
    columns = reader.columns()
    values = reader.features(target.name, target.train)
    last = values[:, list(columns.values())[-1]]
    by_stage, mean = _statistics(reader, target, notes)
    stages = tuple(
        StageSimilarity(stage, columns[stage].stop - columns[stage].start, **scores, statistics=by_stage[stage])
        for stage, scores in _labelled_scores(reader, target, notes).items()
    )
    given: dict = {}
    if target.class_names and (head := source_head(reader.backbone, last.shape[1])) is not None:
        probabilities = _probabilities(last, *head)
        labels = np.asarray(target.train.targets)
        given = {
            "source_classes": probabilities.shape[1],
            "nce": negative_conditional_entropy(probabilities.argmax(axis=1), labels),
            "leep": leep(probabilities, labels),
        }
    elif target.class_names:
        notes.append("NCE and LEEP need the classifier of the source, and the file of the weights has none.")
    if source is not None:
        given |= _distances(reader, source, last, list(columns.values())[-1], notes)
    weights = reader.backbone.weights.name
    return Similarity(
        target.name,
        reader.name,
        weights,
        len(values),
        len(target.class_names),
        stages,
        mean,
        notes=tuple(notes),
        **given,
    )


def _statistics(reader: StageReader, target: ImagesToMeasure, notes: list[str]) -> tuple[dict[str, float], float]:
    """Return the mean distance of each stage's batch-norm statistics, and that of all layers; NaN without any."""
    found: dict[str, list[float]] = {}
    if reader.backbone.weights.name is None:
        notes.append("The weights are random, so batch norm has stored no statistics.")
    else:
        found = channel_distances(reader.prefix, target.train, reader.device)
        if not found:
            notes.append(f"{reader.name} has no batch norm, so no statistics are compared.")
    every = [distance for distances in found.values() for distance in distances]
    by_stage = {
        name: float(np.mean(found[name])) if name in found else math.nan for name in reader.backbone.stage_names
    }
    return by_stage, float(np.mean(every)) if every else math.nan


def _labelled_scores(reader: StageReader, target: ImagesToMeasure, notes: list[str]) -> dict[str, dict[str, float]]:
    """Return the scores of each stage that need labels; none without labels."""
    if target.validation is None:
        notes.append(f"{target.name} has no classes, so only measures without labels are given.")
        return {stage: {} for stage in reader.columns()}
    task = Classification(len(target.class_names))
    labels = np.asarray(target.train.targets)
    stages = reader.labelled_stages(target)
    found = {}
    for stage, (train, validation) in counted(stages.items(), "stages", len(stages), "stages"):
        values = train.values.numpy()
        found[stage] = {
            "neighbours": neighbour_accuracy(train, task.num_classes),
            "probe": fit_probe(train, validation, task).scores["validation/accuracy"],
            "log_evidence": log_evidence(values, labels),
            "h_score": h_score(values, labels),
            "shrunk_h_score": h_score(values, labels, shrunk=True),
        }
    return found


def neighbour_accuracy(train: Features, classes: int) -> float:
    """Return the share of images whose nearest ``NEIGHBOURS`` other images vote for their class."""
    count = max(1, min(NEIGHBOURS, len(train.targets) - 1))
    memory = NearestNeighbours(train.values, train.targets, classes, count, TEMPERATURE)
    votes = memory.votes(*memory.nearest(train.values, count, torch.arange(len(train.targets))), count)
    return float((votes.argmax(dim=1) == train.targets).double().mean())


def _probabilities(features: NDArray[np.float32], weight: torch.Tensor, bias: torch.Tensor) -> NDArray[np.float64]:
    """Return the source classifier's probabilities (N, K) for the features of the last stage (N, D)."""
    logits = torch.from_numpy(features).double() @ weight.double().T + bias.double()
    return np.asarray(logits.softmax(dim=1).numpy())


def _distances(
    reader: StageReader, source: ImagesToMeasure, target: NDArray[np.float32], last: slice, notes: list[str]
) -> dict:
    """Return the distances between the features of the last stage of source and target."""
    values = reader.features(source.name, source.train)[:, last]
    few = min(len(values), len(target))
    if few < LEAST:
        notes.append(f"Distances need {LEAST} images or more of source and target.")
        return {"source": source.name, "source_images": len(values)}
    if few < target.shape[1]:
        notes.append(
            f"The smaller set has {few} images for {target.shape[1]} features: the Fréchet distance is too large by an"
            " amount that depends on the number of images, and its extrapolation is an approximation; the kernel"
            " distance has no such error."
        )
    return {
        "source": source.name,
        "source_images": len(values),
        "frechet": measure_frechet(values, target),
        "kernel": measure_kernel(values, target),
    }
