"""Remove information: sharpness, detail, a rectangle."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from headstart.augmentations.operations import Step
from headstart.augmentations.policies import Operations
from headstart.augmentations.view import LabelArray, PixelArray, Shape, View, as_range
from headstart.settings.leaf_table import check_parameters


class Blur(Operations):
    """Blur a fraction of the images with a Gaussian of random width (Chen et al. 2020, arXiv:2002.05709).

    ``sigma`` bounds the standard deviation in pixels of a 224-pixel image, and scales with the image's short side.
    """

    def __init__(self, sigma: Sequence[float] = (0.1, 2.0), share: float = 0.5) -> None:
        check_parameters("augmentation.blur", locals())
        self.sigma, self.share = as_range(sigma), share

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> list[Step] | None:
        """Draw one step or none."""
        drawn, sigma = rng.random(), rng.uniform(*self.sigma)
        return [("blur", sigma * min(shape) / 224)] if drawn < self.share else None


class Jpeg(Operations):
    """Encode a fraction of the images as JPEG of random quality and decode them."""

    has_batch_form = False

    def __init__(self, quality: Sequence[float] = (30, 95), share: float = 0.5) -> None:
        check_parameters("augmentation.jpeg", locals())
        self.quality, self.share = as_range(quality), share

    def draw_steps(self, rng: np.random.Generator) -> list[Step]:
        """Draw one step or none."""
        drawn, quality = rng.random(), rng.uniform(*self.quality)
        return [("jpeg", float(round(quality)))] if drawn < self.share else []


@dataclass(frozen=True)
class Rectangle:
    """The erased rectangle, in fractions of height and width, and the seed of its noise."""

    top: float
    left: float
    bottom: float
    right: float
    seed: int

    def within(self, shape: Shape) -> tuple[slice, slice]:
        """Return its rows and columns, in pixels."""
        height, width = shape
        return (
            slice(round(self.top * height), round(self.bottom * height)),
            slice(round(self.left * width), round(self.right * width)),
        )


class RandomErasing(View):
    """Fill a rectangle in a fraction of the images (Zhong et al. 2017, arXiv:1708.04896, algorithm 1).

    ``area`` bounds its fraction of the image, ``ratio`` its height over width; ``fill`` is noise, black or grey.
    """

    def __init__(
        self,
        share: float = 0.5,
        area: Sequence[float] = (0.02, 0.33),
        ratio: Sequence[float] = (0.3, 3.3),
        fill: str = "noise",
    ) -> None:
        check_parameters("augmentation.random_erasing", locals())
        self.share, self.area, self.ratio = share, as_range(area), as_range(ratio)
        self.fill = fill

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> Rectangle | None:
        """Draw a rectangle that fits, or None after ten attempts, as torchvision does."""
        if rng.random() >= self.share:
            return None
        height, width = shape
        for _ in range(10):
            area = rng.uniform(*self.area) * height * width
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            h, w = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < h < height and 0 < w < width:
                top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
                return Rectangle(
                    top / height, left / width, (top + h) / height, (left + w) / width, int(rng.integers(2**62))
                )
        return None

    def apply(self, image: PixelArray, drawn: Rectangle, size: int) -> PixelArray:
        """Return a copy of the image with the rectangle filled."""
        image = image.copy()
        image[drawn.within(image.shape[:2])] = self._filling(drawn, image.shape[:2])
        return image

    def move(self, labels: LabelArray, drawn: Rectangle, size: int, outside: Any) -> LabelArray:
        """Return a copy without labels in the rectangle, which shows nothing of the image."""
        labels = labels.copy()
        labels[drawn.within((labels.shape[0], labels.shape[1]))] = outside
        return labels

    def apply_batch(self, images: Tensor, drawn: Sequence[Rectangle], size: int) -> Tensor:
        """Fill the same rectangles with the same noise as ``apply``."""
        shape = (images.shape[-2], images.shape[-1])
        images = images.clone()
        for image, rectangle in zip(images, drawn, strict=True):
            filling = torch.from_numpy(self._filling(rectangle, shape)).to(images.device, non_blocking=True)
            image[(slice(None), *rectangle.within(shape))] = filling.permute(2, 0, 1)
        return images

    def _filling(self, drawn: Rectangle, shape: Shape) -> PixelArray:
        rows, columns = drawn.within(shape)
        filled = (rows.stop - rows.start, columns.stop - columns.start, 3)
        if self.fill == "noise":
            return np.random.default_rng(drawn.seed).integers(0, 256, filled, dtype=np.uint8)
        return np.full(filled, 0 if self.fill == "black" else 127, np.uint8)
