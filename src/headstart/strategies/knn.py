"""The nearest training images vote."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from headstart.progress import ProgressLine, counted
from headstart.solvers.features import Features
from headstart.solvers.probe_fit import rank, scores
from headstart.strategies.checks import above_zero, counts
from headstart.strategies.feature_classifier import FeatureClassifier, OnRow

NEIGHBOURS = (1, 3, 5, 10, 20, 50, 100)
CHUNK = 1024  # images compared at once
LEAST = 1e-6  # the share of a class without a vote, so that its logarithm is finite


class NearestNeighbours(nn.Module):
    """A head that remembers the training images: features (N, D) to logarithms of the classes' shares of votes.

    Each of the ``neighbours`` nearest by cosine votes with weight ``exp(cosine / temperature)`` (Wu et al. 2018,
    arXiv:1805.01978, section 3.4). With ``balanced`` also by the inverse of how many images its class has in memory.
    """

    memory: Tensor  # float32 (M, D), rows of length 1
    labels: Tensor  # int64 (M,)

    def __init__(
        self,
        memory: Tensor,
        labels: Tensor,
        classes: int,
        neighbours: int,
        temperature: float,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        self.balanced = balanced
        self.register_buffer("memory", F.normalize(memory.float(), dim=1))
        self.register_buffer("labels", labels)
        self.classes, self.neighbours, self.temperature = classes, neighbours, temperature

    def extra_repr(self) -> str:
        """Shown by print."""
        return f"{len(self.memory)} images, neighbours={self.neighbours}, temperature={self.temperature}"

    def forward(self, x: Tensor) -> Tensor:
        """(N, D) to (N, classes)."""
        return self.votes(*self.nearest(x, self.neighbours), self.neighbours)

    def nearest(
        self, x: Tensor, count: int, itself: bool = False, on_chunk: Callable[[int], None] = lambda size: None
    ) -> tuple[Tensor, Tensor]:
        """Cosines and labels of the nearest images, (N, count) each; with ``itself`` row i is not its own one.

        ``on_chunk`` gets the number of rows after each chunk of them.
        """
        cosines, labels = [], []
        memory = self.memory.float()  # the trainer may hold it in another precision
        for start in range(0, len(x), CHUNK):
            chunk = F.normalize(x[start : start + CHUNK].float(), dim=1) @ memory.T
            if itself:
                rows = torch.arange(len(chunk), device=chunk.device)
                chunk[rows, rows + start] = -torch.inf
            values, indices = chunk.topk(min(count, len(self.memory)), dim=1)
            cosines.append(values)
            labels.append(self.labels[indices])
            on_chunk(len(chunk))
        return torch.cat(cosines), torch.cat(labels)

    def votes(self, cosines: Tensor, labels: Tensor, count: int) -> Tensor:
        """Logits (N, classes) from the first ``count`` columns of what ``nearest`` gives."""
        logs = cosines[:, :count] / self.temperature
        if self.balanced:
            logs = logs - self.labels.bincount(minlength=self.classes).log()[labels[:, :count]]
        weights = logs.softmax(dim=1)
        shares = weights.new_zeros(len(weights), self.classes).scatter_add_(1, labels[:, :count], weights)
        return ((1 - self.classes * LEAST) * shares + LEAST).log()


class Knn(FeatureClassifier):
    """k nearest neighbours on the features as they come; ``neighbours`` lists the k to choose from on validation.

    A k above the number of training images is left out. Training scores leave each image itself out.
    """

    picked, solver = "neighbours", "votes"

    def __init__(
        self, *args: Any, neighbours: Sequence[int] = NEIGHBOURS, temperature: float = 0.07, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.candidates = sorted(counts("strategy.neighbours", neighbours))
        self.temperature = above_zero("strategy.temperature", temperature)

    @classmethod
    def config_name(cls) -> str:
        """What the settings call it."""
        return "knn"

    def change_layers(self) -> None:
        """A head that remembers nothing yet: it has no weights to train."""
        nothing = torch.empty(0, self.backbone.feature_dim), torch.empty(0, dtype=torch.int64)
        self.head = NearestNeighbours(*nothing, self.task.num_classes, 1, 1.0)

    def compute_head(self, train: Features, validation: Features, on_row: OnRow) -> int:
        """Remember the training images, choose k."""
        candidates = [k for k in self.candidates if k < len(train.targets)] or [1]
        memory = NearestNeighbours(
            train.values, train.targets, self.task.num_classes, candidates[-1], self.temperature, self.task.balanced
        ).to(train.values.device)
        with ProgressLine("nearest neighbours", len(train.targets) + len(validation.targets)) as progress:
            own = memory.nearest(train.values, candidates[-1], itself=True, on_chunk=progress.advance)
            held_out = memory.nearest(validation.values, candidates[-1], on_chunk=progress.advance)
        rows = []
        for number, count in enumerate(counted(candidates, "votes", len(candidates), "candidates")):
            row = {"neighbours": float(count), **scores("train", memory.votes(*own, count), train.targets)}
            row |= scores("validation", memory.votes(*held_out, count), validation.targets)
            on_row(number, row)
            rows.append(row)
        best = max(range(len(rows)), key=lambda number: rank(rows[number]))
        memory.neighbours = candidates[best]
        self.head = memory
        return best

    def compute_again(self, images: Features) -> None:
        """Remember these images; as many of them vote."""
        head = self.head
        assert isinstance(head, NearestNeighbours)
        self.head = NearestNeighbours(
            images.values, images.targets, head.classes, head.neighbours, head.temperature, head.balanced
        ).to(images.values.device)
