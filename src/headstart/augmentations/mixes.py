"""Batch-level mixing: images, or what a stage makes of them, and their targets are mixed in the same shares."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.augmentations.view import Shape
from headstart.settings.leaf_table import check_parameters

INPUT = "input"


@dataclass(frozen=True)
class BatchMixing:
    """How one batch of N is mixed."""

    partner: NDArray[np.int64]  # (N,) with whom each is mixed
    share: float  # how much of itself each keeps
    box: tuple[int, int, int, int] | None = None  # top, bottom, left, right of what is the partner's; None: averages
    stage: str | None = None  # whose output is mixed; None: the images themselves

    def inputs(self, x: Tensor) -> Tensor:
        """Images (N, C, H, W), or what a stage makes of them (N, ...), mixed."""
        if self.share == 1 and self.box is None:
            return x
        others = x[torch.from_numpy(self.partner).to(x.device)]
        if self.box is None:
            return x * self.share + others * (1 - self.share)
        top, bottom, left, right = self.box
        x = x.clone()
        x[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return x

    def targets(self, targets: Tensor) -> Tensor:
        """Soft targets (N, classes) in the same shares."""
        return targets * self.share + targets[torch.from_numpy(self.partner).to(targets.device)] * (1 - self.share)

    def of_rows(self, rows: Sequence[int]) -> "BatchMixing":
        """The same for some rows of the batch, among whom are the partners of those that are of use."""
        places = {row: place for place, row in enumerate(rows)}
        partners = [places.get(int(self.partner[row]), place) for place, row in enumerate(rows)]
        return replace(self, partner=np.array(partners))


class Mix:
    """Every image is mixed with another one of its batch; one share for the whole batch, from Beta(alpha, alpha).

    ``share`` is how many of the batches are mixed at all.
    """

    def __init__(self, alpha: float, share: float = 1.0) -> None:
        check_parameters(f"augmentation.{self.config_name()}", locals())
        self.alpha, self.share = alpha, share

    @classmethod
    def config_name(cls) -> str:
        """What the settings call it."""
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in cls.__name__).lstrip("_")

    def draw(self, rng: np.random.Generator, count: int, shape: Shape) -> BatchMixing:
        """How to mix a batch of ``count`` images of this shape."""
        share, partner = float(rng.beta(self.alpha, self.alpha)), rng.permutation(count)
        if self.share < 1 and rng.random() >= self.share:
            return BatchMixing(partner, 1.0)
        return self.mixing(BatchMixing(partner, share), rng, shape)

    def mixing(self, averages: BatchMixing, rng: np.random.Generator, shape: Shape) -> BatchMixing:
        """From a plain average to the subclass's own way."""
        return averages


class Mixup(Mix):
    """Weighted averages of two images (Zhang et al. 2017, arXiv:1710.09412, equation 1)."""

    def __init__(self, alpha: float = 0.2, share: float = 1.0) -> None:
        super().__init__(alpha, share)


class CutMix(Mix):
    """A rectangle of one image pasted into another (Yun et al. 2019, arXiv:1905.04899, equation 2)."""

    def __init__(self, alpha: float = 1.0, share: float = 1.0) -> None:
        super().__init__(alpha, share)

    @classmethod
    def config_name(cls) -> str:
        """One word."""
        return "cutmix"

    def mixing(self, averages: BatchMixing, rng: np.random.Generator, shape: Shape) -> BatchMixing:
        """The share becomes that of the pixels left, as the border may cut the rectangle."""
        side = math.sqrt(1 - averages.share)
        spans = []
        for length in shape:
            centre, half = int(rng.integers(length)), side * length / 2
            spans.append((max(0, round(centre - half)), min(length, round(centre + half))))
        (top, bottom), (left, right) = spans
        return replace(
            averages,
            share=1 - (bottom - top) * (right - left) / (shape[0] * shape[1]),
            box=(top, bottom, left, right),
        )


class MixupOrCutMix(Mix):
    """A batch is mixed by the one or by the other, as timm's recipes have it; ``cutmix`` is how often by CutMix."""

    def __init__(
        self, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0, cutmix: float = 0.5, share: float = 1.0
    ) -> None:
        check_parameters(f"augmentation.{self.config_name()}", locals())
        super().__init__(mixup_alpha, share)
        self.ways = Mixup(mixup_alpha, share), CutMix(cutmix_alpha, share)
        self.cutmix = cutmix

    @classmethod
    def config_name(cls) -> str:
        """As in the settings."""
        return "mixup_or_cutmix"

    def draw(self, rng: np.random.Generator, count: int, shape: Shape) -> BatchMixing:
        """A switch, then what that way draws."""
        return self.ways[rng.random() < self.cutmix].draw(rng, count, shape)


class ManifoldMixup(Mix):
    """What a stage makes of two images, averaged there (Verma et al. 2018, arXiv:1806.05236).

    A batch's stage is drawn from ``stages``: names of the backbone's, and "input" for the images themselves. By
    default from the input and the lower half of the stages.
    """

    def __init__(self, alpha: float = 2.0, stages: Sequence[str] | None = None, share: float = 1.0) -> None:
        super().__init__(alpha, share)
        check_parameters(f"augmentation.{self.config_name()}", locals())
        self.stages = None if stages is None else [str(stage) for stage in stages]

    def settle(self, names: Sequence[str]) -> list[str]:
        """Where batches may be mixed in a network of these stages, lowest first."""
        if self.stages is None:
            self.stages = [INPUT, *names[: len(names) // 2]]
        return self.stages

    def mixing(self, averages: BatchMixing, rng: np.random.Generator, shape: Shape) -> BatchMixing:
        """At one of the stages."""
        assert self.stages is not None
        stage = self.stages[int(rng.integers(len(self.stages)))]
        return averages if stage == INPUT else replace(averages, stage=stage)
