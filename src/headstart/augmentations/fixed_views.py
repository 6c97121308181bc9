"""Views for evaluation: the same of every image, whose predictions are averaged."""

from typing import Any

import numpy as np

from headstart.augmentations.crops import CropPart
from headstart.augmentations.view import PixelArray, Shape, View, mirrored

# Whether there are corners, and whether there are mirror images. The names stand in settings/early_checks.py too.
KINDS = {"flip": (False, True), "five_crop": (True, False), "ten_crop": (True, True)}


class FixedViews(View):
    """``flip``: an image and its mirror image; ``five_crop``: its middle and its corners; ``ten_crop``: both.

    Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional Neural Networks", section 4.1. The first
    view is the plain one.
    """

    crops = True

    def __init__(self, name: str) -> None:
        self.corners, self.flips = KINDS[name]
        self.branches = (5 if self.corners else 1) * (2 if self.flips else 1)

    def draw_branches(self, rng: np.random.Generator, shape: Shape, size: int) -> list[Any]:
        """Nothing is random."""
        down, right = (side - size for side in shape)
        corners = [(0, 0), (0, right), (down, 0), (down, right)] if self.corners else []
        return [
            CropPart(left, top, left + size, top + size, flipped)
            for flipped in ((False, True) if self.flips else (False,))
            for top, left in [(down // 2, right // 2), *corners]
        ]

    def apply(self, image: PixelArray, drawn: CropPart, size: int) -> PixelArray:
        """Image of at least size x size to size x size."""
        return mirrored(image[drawn.top : drawn.bottom, drawn.left : drawn.right], drawn.mirrored)
