"""Watch embeddings during pretraining: their rank, their spread, and what a simple classifier makes of features."""

import torch
from torch import Tensor
from torch.nn import functional as F

from headstart import ranks
from headstart.precision import at_least_single
from headstart.solvers.centroids import nearest_mean

EPSILON = 1e-7  # of the paper, added to each share
MOST = 8192  # images of a split that are kept
WATCHED = ("rank_me", "embedding_deviation")  # of any images
PROBED = "probe_accuracy"  # of images with labels


def rank_me(embeddings: Tensor) -> float:
    """Return the effective rank of embeddings (N, K): from 1, if they collapse to a line, to min(N, K).

    It is the exponential of the entropy of the singular values, divided by their sum (Garrido et al. 2023,
    arXiv:2210.02885, equation 1).
    """
    values = torch.linalg.svdvals(embeddings.double())
    shares = values / values.sum().clamp(min=torch.finfo(torch.float64).tiny) + EPSILON
    return float((-shares * shares.log()).sum().exp())


def deviation_of(embeddings: Tensor) -> float:
    """Return the mean deviation of the K coordinates of normalised embeddings (N, K), times the root of K.

    It is 0 for a collapse to a point and 1 for embeddings in all directions (Chen & He 2020, arXiv:2011.10566, 4.1).
    """
    normalised = F.normalize(embeddings.double(), dim=1)
    return float(normalised.std(dim=0, correction=0).mean() * embeddings.shape[1] ** 0.5)


def probe_accuracy(features: Tensor, labels: Tensor) -> float:
    """Return the accuracy of the nearest class mean, fitted on one half of the images and tested on the other.

    Each half is tested once, and has every second image of each class. Features are (N, D), labels int64 (N,).
    """
    classes, right, by_class = int(labels.max()) + 1, 0.0, labels.argsort(stable=True)
    features, labels = features[by_class], labels[by_class]
    for fitted in (0, 1):
        weight, bias = nearest_mean(features[fitted::2], labels[fitted::2], classes)
        found = (features[1 - fitted :: 2].double() @ weight.T + bias).argmax(dim=1)
        right += float((found == labels[1 - fitted :: 2]).sum())
    return right / len(labels)


def watched(labels: Tensor) -> list[str]:
    """Return the names of the numbers that exist for validation images with these labels, (N,)."""
    return [*WATCHED, *([PROBED] if len(labels) > 2 and len(labels.unique()) > 1 else [])]


class EmbeddingMonitor:
    """Collects the embeddings, features and labels of an epoch of validation."""

    def __init__(self) -> None:
        self._seen: list[tuple[Tensor, ...]] = []
        self._count = 0

    def see(self, positions: Tensor, features: Tensor, embeddings: Tensor, labels: Tensor) -> None:
        """Add a batch: positions (N,), features (N, D), embeddings (N, K) and labels (N,)."""
        if self._count < MOST:
            self._count += len(labels)
            values = positions, at_least_single(features), at_least_single(embeddings), labels
            self._seen.append(tuple(value.cpu() for value in values))

    def compute(self) -> dict[str, float]:
        """Return the numbers of the epoch by name, over the images of all processes; then forget them."""
        positions, *values = (torch.cat(parts) for parts in zip(*ranks.gathered(self._seen), strict=True))
        features, embeddings, labels = (value[positions.argsort()[:MOST]] for value in values)
        self._seen, self._count = [], 0
        found = dict(zip(WATCHED, (rank_me(embeddings), deviation_of(embeddings)), strict=True))
        return found | ({PROBED: probe_accuracy(features, labels)} if PROBED in watched(labels) else {})
