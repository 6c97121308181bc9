"""Sample-level views: one picture in, one picture out, every choice from the generator handed in."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import v2

from headstart.errors import ConfigError

Picture = NDArray[np.uint8]


class View:
    """Picture (H, W, 3) uint8 to a picture of the same type; ``size`` is the side that the network takes."""

    def __call__(self, image: Picture, rng: np.random.Generator, size: int) -> Picture:
        """Draw one view."""
        raise NotImplementedError


class FlipCrop(View):
    """A random square of the network's size, mirrored half of the time (He et al. 2015, arXiv:1512.03385).

    Pictures are padded by reflection until at least ``slack`` of the size is left to move in.
    """

    def __init__(self, flip: float = 0.5, slack: float = 0.125) -> None:
        _check_share("flip", flip)
        _check_share("slack", slack)
        self.flip, self.slack = flip, slack

    def __call__(self, image: Picture, rng: np.random.Generator, size: int) -> Picture:
        """Picture of at least size x size to size x size."""
        wanted = size + round(self.slack * size)
        missing = [max(0, wanted - side) for side in image.shape[:2]]
        if any(missing):
            pads = [(lack // 2, lack - lack // 2) for lack in missing]
            image = np.pad(image, [*pads, (0, 0)], mode="reflect" if min(image.shape[:2]) > 1 else "edge")
        top, left = (int(rng.integers(side - size + 1)) for side in image.shape[:2])
        return _mirror(image[top : top + size, left : left + size], rng, self.flip)


class CropResize(View):
    """A random part of the picture, stretched to the network's size (Szegedy et al. 2014, arXiv:1409.4842, section 6).

    ``scale`` bounds the part's share of the area, ``ratio`` its width over height.
    """

    def __init__(
        self,
        scale: tuple[float, float] = (0.35, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        flip: float = 0.5,
    ) -> None:
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ConfigError(f"crop_resize.scale={list(scale)}: expected two shares of the area, such as [0.35, 1].")
        if not 0 < ratio[0] <= ratio[1]:
            raise ConfigError(f"crop_resize.ratio={list(ratio)}: expected two aspect ratios, such as [0.75, 1.33].")
        _check_share("flip", flip)
        self.scale, self.ratio, self.flip = (scale[0], scale[1]), (ratio[0], ratio[1]), flip

    def box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Left, top, right, bottom of the part, in pixels."""
        for _ in range(10):
            area = rng.uniform(*self.scale) * height * width
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return left, top, left + w, top + h
        side = min(height, width)  # no part of that shape fits: the largest square in the middle
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side

    def __call__(self, image: Picture, rng: np.random.Generator, size: int) -> Picture:
        """Picture of any size to size x size."""
        box = self.box(image.shape[0], image.shape[1], rng)
        part = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR, box=box)
        return _mirror(np.asarray(part), rng, self.flip)


class AugMix(View):
    """Chains of mild operations, mixed with the picture itself (Hendrycks et al. 2019, arXiv:1912.02781)."""

    def __init__(self, severity: int = 3, width: int = 3, alpha: float = 1.0) -> None:
        if not 1 <= severity <= 10:
            raise ConfigError(f"augmix.severity={severity}: expected a whole number from 1 to 10.")
        if width < 1 or alpha <= 0:
            raise ConfigError(f"augmix.width={width}, augmix.alpha={alpha}: both have to be above 0.")
        self.transform = v2.AugMix(severity=severity, mixture_width=width, alpha=alpha)

    def __call__(self, image: Picture, rng: np.random.Generator, size: int) -> Picture:
        """Picture of any size to a picture of the same size."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(rng.integers(2**63)))
            mixed = self.transform(torch.from_numpy(np.array(image)).permute(2, 0, 1))
        return mixed.permute(1, 2, 0).numpy()


def _mirror(image: Picture, rng: np.random.Generator, share: float) -> Picture:
    return image[:, ::-1] if rng.random() < share else image


def _check_share(name: str, value: float) -> None:
    if not 0 <= value <= 1:
        raise ConfigError(f"The augmentation's {name}={value} has to lie between 0 and 1.")
