"""Define an objective: a task whose inputs and targets are made from images alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from headstart.errors import ConfigError
from headstart.kinds import KINDS
from headstart.pretraining.monitor import EmbeddingMonitor
from headstart.seeds import stream
from headstart.tasks.heads import LinearHead

Bytes = NDArray[np.uint8]
Display = Callable[[Tensor], Bytes]
"""Returns normalised images (N, C, S, S) as bytes (N, S, S, 3)."""
SIDE_SHOWN, GAP = 96, 2  # pixels: smaller images are drawn larger, up to this side; between drawn images


def answered(rows: Tensor) -> float:
    """Return the accuracy of rows (N, K + 1) of K logits and the number of the true answer."""
    return float((rows[:, :-1].argmax(dim=1) == rows[:, -1].long()).double().mean())


def in_lines(lines: Sequence[Bytes]) -> Bytes:
    """Return lines of images (N, S, S, 3) as one image on white. Small images are enlarged by a whole factor."""
    factor = max(1, SIDE_SHOWN // lines[0].shape[1])
    large = [line.repeat(factor, axis=1).repeat(factor, axis=2) for line in lines]
    padded = [np.pad(line, ((0, 0), (0, GAP), (0, GAP), (0, 0)), constant_values=255) for line in large]
    return np.concatenate([np.concatenate(list(line), axis=1) for line in padded], axis=0)


@dataclass(frozen=True)
class Draws:
    """Random numbers for the images of a batch.

    Several processes get the numbers of one: rows are drawn for the whole batch of ``total`` items, and a process
    takes those of its share, from item ``first`` on. Without ``total`` its share is the batch. With several ``views``,
    the rows of the first view of every item come first, then those of the second.
    """

    generator: torch.Generator
    first: int = 0
    total: int | None = None
    views: int = 1

    def normal(self, like: Tensor) -> Tensor:
        """Return standard normal numbers, with the shape (N, ...) and type of a tensor."""
        return self._rows(torch.randn, len(like), *like.shape[1:], dtype=like.dtype)

    def uniform(self, count: int, *shape: int) -> Tensor:
        """Return numbers between 0 and 1, (count, *shape)."""
        return self._rows(torch.rand, count, *shape)

    def below(self, high: int, count: int, *shape: int) -> Tensor:
        """Return whole numbers from 0 to ``high - 1``, (count, *shape)."""
        return self._rows(partial(torch.randint, high), count, *shape)

    def _rows(self, draw: Callable[..., Tensor], count: int, *shape: int, **kind: Any) -> Tensor:
        items = count // self.views
        size = (self.views, items if self.total is None else self.total, *shape)
        rows = draw(size=size, generator=self.generator, device=self.generator.device, **kind)
        return rows[:, self.first : self.first + items].flatten(0, 1)


@dataclass(frozen=True)
class Sample:
    """Some test images of a run, evenly spread: what entered the network, what it gave, and the targets."""

    inputs: Tensor
    outputs: Tensor
    targets: Tensor


class Readout(LinearHead):
    """Reads the pooled output of the last stage, for output layers of an objective."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind


class Objective:
    """A task that makes an input and a target from each image.

    ``copies`` is the number of views of an image that make an item. The ``tally`` of an item is also what a run keeps
    of it until its end.
    """

    kind = ""
    copies = 1
    by_pixel = linear = balanced = False
    primary: str
    higher_is_better = True

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        cls.primary = KINDS[cls.kind].primary.name

    def __init__(self, head: LinearHead | None, own: LinearHead) -> None:
        if head is not None:
            raise ConfigError(f"head: objective={self.kind} has output layers of its own; leave the group head out.")
        self.head = own

    @classmethod
    def settings_of(cls, data: Any) -> Mapping[str, Any]:
        """Return nothing, as the data set determines no argument."""
        return {}

    def make_head(self, feature_dim: int, seed: int) -> nn.Module:
        """Return new output layers; only the seed determines their weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(stream("head", seed))
            return self.layers(feature_dim)

    def layers(self, feature_dim: int) -> nn.Module:
        """Return the output layers, from features (N, D) or (N, V, D) to outputs (N, ...)."""
        raise NotImplementedError

    def pose(self, images: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
        """Return inputs (N, C, S, S) or (N, V, C, S, S), and targets (N, ...), of normalised images.

        Images are (copies * N, C, S, S): the first view of every image, then the second of every image.
        """
        raise NotImplementedError

    def loss(self, outputs: Tensor, targets: Tensor, training: bool = False) -> Tensor:
        """Return the mean loss over N items, in float32 or wider."""
        raise NotImplementedError

    def tally(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return a row for each item from which ``primary_of`` computes the metric, (N, M)."""
        raise NotImplementedError

    def primary_of(self, tallies: Tensor) -> float:
        """Return the primary metric of N items, from their tallies (N, M)."""
        raise NotImplementedError

    def score(self, kept: Tensor, targets: Tensor) -> dict[str, float]:
        """Return the primary metric by its name, from tallies (N, M); the labels of the data set have no effect."""
        return {self.primary: self.primary_of(kept)}

    def make_monitor(self) -> EmbeddingMonitor | None:
        """Return what watches the embeddings of validation images, if anything."""
        return None

    def draw(self, rows: Tensor, sample: Sample, display: Display) -> dict[str, Bytes]:
        """Return images (H, W, 3) of the result by tag, from the tallies of all test images and a sample of them."""
        return {}
