"""Batch-level mixing: pictures and their targets are mixed in the same shares."""

import math

import numpy as np
import torch
from torch import Tensor

from headstart.errors import ConfigError


class Mix:
    """Pictures (N, C, H, W) and soft targets (N, classes) in, the same shapes out."""

    def __init__(self, alpha: float) -> None:
        if alpha <= 0:
            raise ConfigError(f"{type(self).__name__.lower()}.alpha={alpha}: expected a number above 0.")
        self.alpha = alpha

    def __call__(self, images: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Mix every picture with another one of the batch; one share for the whole batch, from Beta(alpha, alpha)."""
        share = float(rng.beta(self.alpha, self.alpha))
        partner = torch.from_numpy(rng.permutation(len(images))).to(images.device)
        images, share = self.mix(images, images[partner], share, rng)
        return images, targets * share + targets[partner] * (1 - share)

    def mix(self, images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
        """The mixed pictures, and the share of ``images`` that is really in them."""
        raise NotImplementedError


class Mixup(Mix):
    """Weighted averages of two pictures (Zhang et al. 2017, arXiv:1710.09412)."""

    def __init__(self, alpha: float = 0.2) -> None:
        super().__init__(alpha)

    def mix(self, images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
        """Equation 1 of the paper."""
        return images * share + others * (1 - share), share


class CutMix(Mix):
    """A rectangle of one picture pasted into another (Yun et al. 2019, arXiv:1905.04899)."""

    def __init__(self, alpha: float = 1.0) -> None:
        super().__init__(alpha)

    def mix(self, images: Tensor, others: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, float]:
        """Equation 2 of the paper; the share is that of the pixels left, as the border may cut the rectangle."""
        height, width = images.shape[-2:]
        side = math.sqrt(1 - share)
        spans = []
        for length in (height, width):
            centre, half = int(rng.integers(length)), side * length / 2
            spans.append((max(0, round(centre - half)), min(length, round(centre + half))))
        (top, bottom), (left, right) = spans
        images = images.clone()
        images[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return images, 1 - (bottom - top) * (right - left) / (height * width)
