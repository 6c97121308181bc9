"""Rank the images of a data set by what is suspicious about them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from headstart.analysis.audit.duplicates import (
    DuplicateCluster,
    Pairs,
    components,
    duplicate_clusters,
    same_pairs,
)
from headstart.analysis.audit.pooled import PooledImages
from headstart.errors import DataError
from headstart.progress import ProgressLine
from headstart.seeds import stream
from headstart.solvers.cross_fit import cross_fit
from headstart.solvers.label_quality import Shares, agreed, likely_wrong
from headstart.solvers.neighbours import NearestNeighbours
from headstart.splits.grouped_splits import spread_groups

log = logging.getLogger(__name__)
FOLDS = 5
NEIGHBOURS, TEMPERATURE = 50, 0.07  # that vote
NEAREST = 20  # of them, for the distance
FAR = 3.5  # robust standard deviations; Iglewicz & Hoaglin 1993, How to detect and handle outliers


@dataclass(frozen=True)
class AuditResult:
    """The suspicious images of a data set; positions count its pooled images."""

    images: PooledImages
    probabilities: Shares
    """(N, classes), of the probe that never saw the image or its duplicates."""
    votes: Shares
    """(N, classes), shares of the nearest images that are no duplicates."""
    combined: Shares
    """(N, classes), from both."""
    wrong: NDArray[np.int64]
    """Images whose labels are likely wrong, most suspicious first."""
    clusters: list[DuplicateCluster]
    isolated: NDArray[np.float64]
    """(N,), how isolated each image is, in robust standard deviations."""
    outliers: NDArray[np.int64]
    """Images that are far from all others, farthest first."""

    @property
    def scores(self) -> NDArray[np.float64]:
        """Return 1 - the probability of each image's label, (N,): the higher, the more suspicious."""
        return 1 - self.combined[np.arange(len(self.images)), self.images.targets]

    @property
    def suggested(self) -> NDArray[np.int64]:
        """Return the most probable class of each image, (N,)."""
        return self.combined.argmax(axis=1)

    @property
    def leaking(self) -> list[DuplicateCluster]:
        """Return the clusters with images in several splits."""
        return [cluster for cluster in self.clusters if cluster.splits > 1]

    @property
    def contradicting(self) -> list[DuplicateCluster]:
        """Return the clusters with several labels."""
        return [cluster for cluster in self.clusters if cluster.labels > 1]


def audit_images(images: PooledImages, pairs: Pairs, seed: int) -> AuditResult:
    """Return what is suspicious about pooled images with these ``pairs`` of duplicates; ``seed`` draws the folds.

    Duplicates and images of a group share a fold, and are no neighbours of each other. Raises DataError for too few
    images.
    """
    _check_counts(images)
    together = components(len(images), np.concatenate([pairs, same_pairs(images.groups)]))
    folds = _folds(images, together, seed)
    classes, targets = len(images.class_names), torch.from_numpy(images.targets)
    fitted = cross_fit(images.values, targets, classes, torch.from_numpy(folds))
    log.info(
        "probe: %d folds, L2 strengths %s", FOLDS, ", ".join(f"{strength:g}" for strength in sorted(fitted.strengths))
    )
    votes, isolated = _neighbours(images, torch.from_numpy(together))
    probabilities = fitted.probabilities.numpy()
    combined = agreed(probabilities, votes)
    far = np.argsort(-isolated, kind="stable")
    return AuditResult(
        images,
        probabilities,
        votes,
        combined,
        likely_wrong(combined, images.targets),
        duplicate_clusters(images, pairs),
        isolated,
        far[isolated[far] > FAR],
    )


def _check_counts(images: PooledImages) -> None:
    """Raise DataError for a class that no probe can learn without the image that it judges."""
    counts = np.bincount(images.targets, minlength=len(images.class_names))
    if np.count_nonzero(counts) < 2:
        raise DataError("All images have one label; an audit needs at least 2 classes.")
    for name, count in zip(images.class_names, counts.tolist(), strict=True):
        if count == 1:
            raise DataError(f"Class '{name}' has 1 image in all splits; an audit needs at least 2 of every class.")


def _folds(images: PooledImages, together: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """Return the fold of each image, (N,), with classes spread evenly."""
    if (count := len(np.unique(together))) < FOLDS:
        raise DataError(
            f"There are {count} images or groups after joining duplicates; an audit needs at least {FOLDS}, one for"
            " each fold."
        )
    if int(np.bincount(images.targets).max()) < FOLDS:
        raise DataError(f"No class has {FOLDS} images, one for each fold; an audit needs more images.")
    folds = spread_groups(images.targets, together, FOLDS, stream("audit folds", seed))
    if len(np.unique(folds)) < FOLDS:
        raise DataError(f"The groups cannot be spread over {FOLDS} folds; an audit needs more groups.")
    for label, name in enumerate(images.class_names):
        if len(np.unique(folds[images.targets == label])) == 1:
            raise DataError(
                f"Class '{name}' has all its images in one group or one cluster of duplicates; an audit needs at least"
                " 2 of every class."
            )
    return folds


def _neighbours(images: PooledImages, together: torch.Tensor) -> tuple[Shares, NDArray[np.float64]]:
    """Return the vote shares (N, classes) of each image's neighbours, and how far it is from them (N,)."""
    classes, targets = len(images.class_names), torch.from_numpy(images.targets)
    most = min(NEIGHBOURS, max(1, len(images) // classes // 3))  # a third of a class: most neighbours may agree
    count = min(most, len(images) - int(together.bincount().max()))
    memory = NearestNeighbours(images.values, torch.arange(len(images)), classes, count, TEMPERATURE)
    with ProgressLine("nearest images", len(images)) as progress:
        cosines, places = memory.nearest(images.values, count, together, progress.advance)
    votes = memory.votes(cosines, targets[places], count).double().exp().numpy()
    return votes, isolation(1 - cosines[:, :NEAREST].double().mean(dim=1).numpy(), places[:, :NEAREST].numpy())


def isolation(distances: NDArray[np.float64], neighbours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return how isolated images are, (N,), from their mean distances (N,) to their ``neighbours`` (N, K).

    It is the smaller of two robust deviations: of the log distance among all images, and of its difference from the
    neighbours' own. So neither a class that varies much nor an image beside a dense class is isolated.
    """
    logs = np.log(np.maximum(distances, 1e-12))
    return np.minimum(robust_deviations(logs), robust_deviations(logs - logs[neighbours].mean(axis=1)))


def robust_deviations(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (value - median) / (1.4826 * median absolute deviation) of values (N,); 0 where all are equal."""
    centred = values - np.median(values)
    scale = 1.4826 * np.median(np.abs(centred))
    return centred / scale if scale > 0 else np.zeros_like(centred)


def labels_text(names: Sequence[str], result: AuditResult, index: int) -> str:
    """Return why the label of an image is likely wrong, in one sentence."""
    label, other = int(result.images.targets[index]), int(result.suggested[index])
    probe, votes = result.probabilities[index], result.votes[index]
    return (
        f"probe: {100 * probe[other]:.0f} % {names[other]}, {100 * probe[label]:.0f} % {names[label]};"
        f" neighbours: {100 * votes[other]:.0f} % {names[other]}, {100 * votes[label]:.0f} % {names[label]}"
    )
