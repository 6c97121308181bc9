"""Make fixed views for evaluation; the predictions for an image's views are averaged."""

from typing import Any

import numpy as np

from headstart.augmentations.crops import CropPart
from headstart.augmentations.view import PixelArray, Shape, View, mirrored

# (has corners, has mirror images). settings/early_checks.py repeats the names.
KINDS = {"flip": (False, True), "five_crop": (True, False), "ten_crop": (True, True)}


class FixedViews(View):
    """Make ``flip`` (image and mirror image), ``five_crop`` (centre and corners), or ``ten_crop`` (both).

    The first view is the plain one. Source: Krizhevsky et al. 2012, "ImageNet Classification with Deep Convolutional
    Neural Networks", section 4.1.
    """

    crops = True

    def __init__(self, name: str) -> None:
        self.corners, self.flips = KINDS[name]
        self.branches = (5 if self.corners else 1) * (2 if self.flips else 1)

    def draw_branches(self, rng: np.random.Generator, shape: Shape, size: int) -> list[Any]:
        """Return the crops of all views; nothing is random."""
        down, right = (side - size for side in shape)
        corners = [(0, 0), (0, right), (down, 0), (down, right)] if self.corners else []
        return [
            CropPart(left, top, left + size, top + size, flipped)
            for flipped in ((False, True) if self.flips else (False,))
            for top, left in [(down // 2, right // 2), *corners]
        ]

    def apply(self, image: PixelArray, drawn: CropPart, size: int) -> PixelArray:
        """Return the crop (size, size, 3) of an image of at least size x size."""
        return mirrored(image[drawn.top : drawn.bottom, drawn.left : drawn.right], drawn.mirrored)
