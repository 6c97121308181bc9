"""Tell how unlike the training images an image is: the distance to its nearest neighbours in feature space.

Deep nearest neighbours (Sun et al. 2022, arXiv:2204.06507): features have length 1, the distance is 1 minus the cosine
to the neighbour number k of a sample of the training images.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save
from torch import Tensor
from torch.nn import functional as F

from headstart.boundary.opening import MB, read_inside, unreadable
from headstart.errors import DataError
from headstart.files import write_atomically
from headstart.models.description import Unlike, shortened
from headstart.records.names import MODEL_FEATURES
from headstart.strategies import Strategy

NEIGHBOURS = 5
MOST_IMAGES, MOST_BYTES = 1000, 4 * MB  # of training features in a model's folder
MOST_PASSED = 200  # training images that are passed through the network where no features are stored
FALSE_ALARMS = 0.05  # share of validation images above the threshold
LEAST_IMAGES = 2 * NEIGHBOURS
KEPT = 2000  # features of validation images that are kept during a pass
NAME = "features"


class SeenFeatures:
    """An evenly spaced sample of the inputs of a head, of ``KEPT`` to twice as many rows at most."""

    def __init__(self) -> None:
        self.rows: list[Tensor] = []
        self.step, self.count = 1, 0

    def add(self, values: Tensor) -> None:
        """Add features (N, D) of the next images."""
        places = range(-self.count % self.step, len(values), self.step)
        self.rows += list(values.detach()[list(places)].to("cpu", torch.float16))
        self.count += len(values)
        if len(self.rows) >= 2 * KEPT:
            self.rows, self.step = self.rows[::2], 2 * self.step

    def values(self) -> Tensor:
        """Return the features, float16 (N, D)."""
        return torch.stack(self.rows) if self.rows else torch.empty(0, 0, dtype=torch.float16)


@contextmanager
def watched_head(strategy: Strategy) -> Iterator[SeenFeatures]:
    """Collect what enters the head inside this context; nothing for maps, which are too large, or without a model."""
    seen = SeenFeatures()
    if strategy.task.by_pixel or strategy.gives_weights_only:
        yield seen
        return
    hook = strategy.head.register_forward_pre_hook(lambda _, inputs: seen.add(inputs[0]))
    try:
        yield seen
    finally:
        hook.remove()


def sample_size(feature_dim: int, count: int, stored: bool) -> int:
    """Return how many of ``count`` training images a model keeps; fewer if they have to be computed."""
    most = min(MOST_IMAGES, MOST_BYTES // (2 * feature_dim))
    return min(count, most if stored else min(most, MOST_PASSED))


def described_unlike(train: Tensor, validation: Tensor) -> Unlike | None:
    """Return the threshold from features of training images and of validation images; None with too few images."""
    if len(train) < LEAST_IMAGES or not len(validation):
        return None
    distances = np.sort(distances_to(train, validation))
    if not np.isfinite(distances).all():
        return None
    place = min(len(distances) - 1, int(np.ceil((1 - FALSE_ALARMS) * len(distances))) - 1)
    kept = [round(value, 7) for value in shortened(distances.tolist(), 201)]
    return Unlike(NEIGHBOURS, float(distances[place]), len(train), kept)


def distances_to(train: Tensor, features: Tensor, neighbours: int = NEIGHBOURS) -> NDArray[np.float64]:
    """Return the distance (N,) of features (N, D) to the given neighbour among training features (M, D)."""
    memory = F.normalize(train.float(), dim=1)
    cosines = F.normalize(features.to(memory), dim=1) @ memory.T
    nearest = cosines.topk(min(neighbours, len(memory)), dim=1).values[:, -1]
    return (1 - nearest).clamp(0, 2).double().cpu().numpy()


def write_features(folder: Path, train: Tensor) -> None:
    """Write training features as float16 (M, D), of length 1."""
    write_atomically(folder / MODEL_FEATURES, save({NAME: F.normalize(train.float(), dim=1).half().contiguous()}))


def read_features(folder: Path, described: Unlike) -> Tensor:
    """Return the training features (M, D). Raises DataError for a damaged file."""
    content = read_inside(folder, MODEL_FEATURES, 2 * MOST_BYTES)
    try:
        found: dict[str, Any] = load(content)
        values = found[NAME]
        if values.ndim != 2 or len(values) != described.images or not values.isfinite().all():
            raise DataError(f"{MODEL_FEATURES} does not hold the features that model.json describes")
    except DataError:
        raise
    except Exception as error:  # the reader of safetensors raises its own errors
        raise unreadable(MODEL_FEATURES, error) from None
    return values.float()
