"""Describe the values that a data set gives, and normalise them for the weights of a network."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

SHOWN = 3  # channels of an image for people: red, green, blue
StoredArray = NDArray[Any]
"""Items as a data set stores them: (N, S, S, C) in the type of its signature."""


@dataclass(frozen=True)
class Signature:
    """The images of a data set: their kind, their channels, and the range and type of their stored values."""

    kind: str  # "image"
    channels: int
    low: float  # the value that is 0 after scaling to [0, 1]
    high: float  # the value that is 1 after scaling
    dtype: torch.dtype  # of the stored values
    views: bool  # whether the views of images make sense

    @property
    def pixel_bytes(self) -> int:
        """Return the size of one stored pixel in bytes."""
        return self.channels * self.dtype.itemsize

    def stored_shape(self, size: int) -> tuple[int, int, int]:
        """Return the shape of one stored item, (S, S, C)."""
        return (size, size, self.channels)

    def stored(self, batch: int, size: int) -> Tensor:
        """Return zeros (N, S, S, C) as the data set stores them."""
        return torch.zeros(batch, *self.stored_shape(size), dtype=self.dtype)

    def example(self, batch: int, size: int, dtype: torch.dtype | None = None) -> Tensor:
        """Return zeros (N, C, S, S), by default in the type of the stored values."""
        return torch.zeros(batch, self.channels, size, size, dtype=dtype or self.dtype)

    def for_display(self, values: StoredArray) -> NDArray[np.uint8]:
        """Return stored values (..., C) as uint8 (..., 3) for people to see: ``low`` is black, ``high`` is white.

        Three or more channels show the first three as red, green and blue; fewer show the first one as grey.
        """
        if self == RGB and values.dtype == np.uint8:
            return values
        scaled = (values.astype(np.float32) - self.low) * (255 / (self.high - self.low))
        chosen = scaled[..., :SHOWN] if self.channels >= SHOWN else np.repeat(scaled[..., :1], SHOWN, axis=-1)
        return chosen.round().clip(0, 255).astype(np.uint8)


RGB = Signature("image", channels=3, low=0, high=255, dtype=torch.uint8, views=True)


class LearnedOn(Protocol):
    """Statistics of the images that weights were learned on, as values from 0 to 1."""

    @property
    def mean(self) -> Sequence[float]:
        """Return the mean of each channel."""

    @property
    def std(self) -> Sequence[float]:
        """Return the standard deviation of each channel."""


class Normalisation(NamedTuple):
    """How to normalise stored values: multiply by ``scale`` and add ``shift``."""

    scale: Tensor  # (1, C, 1, 1)
    shift: Tensor  # (1, C, 1, 1)
    note: str  # a phrase on the first layer and the range of values
    changed: bool  # whether this is anything other than 8-bit RGB images and weights for RGB


def reconcile(given: Signature, learned: LearnedOn) -> Normalisation:
    """Return the normalisation of a data set's images for weights that were ``learned`` on others.

    If the data set has more channels than the weights, the means and deviations are repeated in order. The backbone
    adapts its first layer.
    """
    known, span = len(learned.mean), given.high - given.low
    own = [channel % known for channel in range(given.channels)]
    mean, std = (torch.tensor([v[c] for c in own]).view(1, -1, 1, 1) * span for v in (learned.mean, learned.std))
    layer = "unchanged" if given.channels == known else f"from {known} to {given.channels} channels"
    note = f"first layer {layer}, values from {given.low:g} to {given.high:g}"
    changed = (given.kind, given.channels, given.low, given.high) != (RGB.kind, known, RGB.low, RGB.high)
    return Normalisation(1 / std, -(mean + given.low) / std, note, changed)
