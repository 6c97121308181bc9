"""Mix the images of a batch, or outputs of a stage, and their targets with the same weights."""

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

    partner: NDArray[np.int64]  # (N,) the row that each row is mixed with
    share: float  # the weight of the row itself
    box: tuple[int, int, int, int] | None = None  # top, bottom, left, right of the partner's patch; None: average
    stage: str | None = None  # the stage whose output is mixed; None: the images

    def inputs(self, x: Tensor) -> Tensor:
        """Return mixed images (N, C, H, W), mixed outputs of a stage (N, ...), or mixed soft label images."""
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
        """Return soft targets (N, classes) mixed with the same weights."""
        return targets * self.share + targets[torch.from_numpy(self.partner).to(targets.device)] * (1 - self.share)

    def of_rows(self, rows: Sequence[int]) -> "BatchMixing":
        """Return the mixing of some rows; a row whose partner is not among them is paired with itself."""
        places = {row: place for place, row in enumerate(rows)}
        partners = [places.get(int(self.partner[row]), place) for place, row in enumerate(rows)]
        return replace(self, partner=np.array(partners))


class Mix:
    """Mix every image with another one of its batch, with one weight per batch from Beta(alpha, alpha).

    ``share`` is the fraction of batches that are mixed at all.
    """

    def __init__(self, alpha: float, share: float = 1.0) -> None:
        check_parameters(f"augmentation.{self.config_name()}", locals())
        self.alpha, self.share = alpha, share

    @classmethod
    def config_name(cls) -> str:
        """Return its name in the settings."""
        return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in cls.__name__).lstrip("_")

    def draw(self, rng: np.random.Generator, count: int, shape: Shape) -> BatchMixing:
        """Draw how to mix a batch of ``count`` images of this shape."""
        share, partner = float(rng.beta(self.alpha, self.alpha)), rng.permutation(count)
        if self.share < 1 and rng.random() >= self.share:
            return BatchMixing(partner, 1.0)
        return self.mixing(BatchMixing(partner, share), rng, shape)

    def mixing(self, averages: BatchMixing, rng: np.random.Generator, shape: Shape) -> BatchMixing:
        """Turn a plain average into the subclass's own mixing."""
        return averages


class Mixup(Mix):
    """Average two images with random weights (Zhang et al. 2017, arXiv:1710.09412, equation 1)."""

    def __init__(self, alpha: float = 0.2, share: float = 1.0) -> None:
        super().__init__(alpha, share)


class CutMix(Mix):
    """Paste a rectangle of one image into another (Yun et al. 2019, arXiv:1905.04899, equation 2)."""

    def __init__(self, alpha: float = 1.0, share: float = 1.0) -> None:
        super().__init__(alpha, share)

    @classmethod
    def config_name(cls) -> str:
        """Return "cutmix", one word."""
        return "cutmix"

    def mixing(self, averages: BatchMixing, rng: np.random.Generator, shape: Shape) -> BatchMixing:
        """Draw the rectangle; the weight is recomputed, as the border may cut the rectangle."""
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
    """Mix each batch by mixup or by CutMix, as in timm's recipes; ``cutmix`` is the probability of CutMix."""

    def __init__(
        self, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0, cutmix: float = 0.5, share: float = 1.0
    ) -> None:
        check_parameters(f"augmentation.{self.config_name()}", locals())
        super().__init__(mixup_alpha, share)
        self.ways = Mixup(mixup_alpha, share), CutMix(cutmix_alpha, share)
        self.cutmix = cutmix

    @classmethod
    def config_name(cls) -> str:
        """Return its name in the settings."""
        return "mixup_or_cutmix"

    def draw(self, rng: np.random.Generator, count: int, shape: Shape) -> BatchMixing:
        """Draw one of the two, then let it draw its mixing."""
        return self.ways[rng.random() < self.cutmix].draw(rng, count, shape)


class ManifoldMixup(Mix):
    """Average the outputs of one stage for two images (Verma et al. 2018, arXiv:1806.05236).

    For each batch, the stage is drawn from ``stages``: names of stages, or "input" for the images. The default is the
    input and the lower half of the stages.
    """

    def __init__(self, alpha: float = 2.0, stages: Sequence[str] | None = None, share: float = 1.0) -> None:
        super().__init__(alpha, share)
        check_parameters(f"augmentation.{self.config_name()}", locals())
        self.stages = None if stages is None else [str(stage) for stage in stages]

    def settle(self, names: Sequence[str]) -> list[str]:
        """Return where batches may be mixed in a network with these stages, lowest first."""
        if self.stages is None:
            self.stages = [INPUT, *names[: len(names) // 2]]
        return self.stages

    def mixing(self, averages: BatchMixing, rng: np.random.Generator, shape: Shape) -> BatchMixing:
        """Draw the stage whose output is mixed."""
        assert self.stages is not None
        stage = self.stages[int(rng.integers(len(self.stages)))]
        return averages if stage == INPUT else replace(averages, stage=stage)
