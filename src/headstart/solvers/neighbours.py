"""Predict from the nearest training images: the votes for their classes, or the mean of their numbers."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

CHUNK = 1024  # images that are compared with the training images at once
LEAST = 1e-6  # share of a class without a vote, so that its logarithm is finite


class NearestNeighbours(nn.Module):
    """A head that stores the features of the training images and lets the nearest ones vote for their classes.

    It maps features (N, D) to the logarithms of the classes' shares of the votes, (N, classes). Each of the
    ``neighbours`` images with the largest cosine has the vote ``exp(cosine / temperature)`` (Wu et al. 2018,
    arXiv:1805.01978, section 3.4). With ``balanced``, a vote is divided by the number of images of its class.
    """

    memory: Tensor  # float32 (M, D), rows of length 1
    labels: Tensor  # int64 (M,)
    counts: Tensor  # int64 (classes,), images of each class; empty unless ``balanced``

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
        counts = labels.bincount(minlength=classes) if balanced else labels.new_empty(0)
        self.register_buffer("counts", counts, persistent=False)
        self.classes, self.neighbours, self.temperature = classes, neighbours, temperature

    def extra_repr(self) -> str:
        """Return the settings as text, for ``print``."""
        return f"{len(self.memory)} images, neighbours={self.neighbours}, temperature={self.temperature}"

    def forward(self, x: Tensor) -> Tensor:
        """Return logarithms of vote shares (N, classes) of features (N, D)."""
        return self.votes(*self.nearest(x, self.neighbours), self.neighbours)

    def nearest(
        self,
        x: Tensor,
        count: int,
        groups: Tensor | None = None,
        on_chunk: Callable[[int], None] = lambda size: None,
    ) -> tuple[Tensor, Tensor]:
        """Return cosines and labels of the nearest images, (N, count), for features (N, D).

        With ``groups`` (N,), ``x`` are the stored images in their order, and images of the same group are no
        neighbours: a group for each image excludes only the image itself. ``on_chunk`` gets the number of rows of each
        finished chunk.
        """
        cosines, labels = [], []
        memory = self.memory.float()  # a trainer may have converted it to another precision
        for start in range(0, len(x), CHUNK):
            chunk = F.normalize(x[start : start + CHUNK].float(), dim=1) @ memory.T
            if groups is not None:
                chunk[groups[start : start + CHUNK, None] == groups] = -torch.inf
            values, indices = chunk.topk(min(count, len(self.memory)), dim=1)
            cosines.append(values)
            labels.append(self.labels[indices])
            on_chunk(len(chunk))
        return torch.cat(cosines), torch.cat(labels)

    def votes(self, cosines: Tensor, labels: Tensor, count: int) -> Tensor:
        """Return log shares (N, classes) from the first ``count`` columns of ``cosines`` and ``labels`` (N, most)."""
        logs = cosines[:, :count] / self.temperature
        if self.balanced:
            logs = logs - self.counts.log()[labels[:, :count]]
        weights = logs.softmax(dim=1)
        shares = weights.new_zeros(weights.shape[0], self.classes).scatter_add_(1, labels[:, :count], weights)
        return ((1 - self.classes * LEAST) * shares + LEAST).log()


class NeighbourMean(NearestNeighbours):
    """A head that gives the mean of the nearest images' numbers, (N, K), weighted by their votes.

    With ``odds``, the numbers are 0 or 1, and the outputs are the log-odds of their means.
    """

    labels: Tensor  # (M, K)

    def __init__(self, *args: Any, odds: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.odds = odds

    def votes(self, cosines: Tensor, labels: Tensor, count: int) -> Tensor:
        """Return outputs (N, K) from the first ``count`` of ``cosines`` (N, most) and ``labels`` (N, most, K)."""
        weights = (cosines[:, :count] / self.temperature).softmax(dim=1)
        means = (weights[:, :, None] * labels[:, :count].to(weights)).sum(dim=1)
        return ((1 - 2 * LEAST) * means + LEAST).logit() if self.odds else means
