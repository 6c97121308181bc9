"""Define a view: it draws what to do to an image, then applies that to one image or to a batch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

PixelArray = NDArray[np.uint8]
LabelArray = NDArray[Any]  # (H, W): a class or a number for each pixel
Shape = tuple[int, int]  # height and width in pixels


class View:
    """Turn images (H, W, 3) uint8 into images of the same type; ``size`` is the side of the network's input.

    All randomness is drawn first, from the given generator. So ``apply`` and ``apply_batch`` make the same view of an
    image, up to rounding.
    """

    crops = False  # whether outputs are always size x size
    branches = 1  # how many images are made from one

    @property
    def has_batch_form(self) -> bool:
        """Return whether ``apply_batch`` is implemented; otherwise the loader applies the view."""
        return type(self).apply_batch is not View.apply_batch

    def source_side(self, size: int) -> int | None:
        """Return the short side, in pixels, that a cropping view never has to enlarge; None for that of evaluation."""
        return None

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> Any:
        """Draw what to do to an image of this shape; None leaves it unchanged."""
        raise NotImplementedError

    def draw_branches(self, rng: np.random.Generator, shape: Shape, size: int) -> list[Any]:
        """Draw what to do for each output image."""
        return [self.draw(rng, shape, size) for _ in range(self.branches)]

    def apply(self, image: PixelArray, drawn: Any, size: int) -> PixelArray:
        """Apply the draw to one image (H, W, 3)."""
        raise NotImplementedError

    def move(self, labels: LabelArray, drawn: Any, size: int, outside: Any) -> LabelArray:
        """Return a label image (H, W) as ``apply`` moves its image, by the nearest pixel.

        Pixels that come from outside the image, or show nothing of it, get the value ``outside``.
        """
        raise NotImplementedError

    @property
    def moves_labels(self) -> bool:
        """Return whether ``move`` is implemented; otherwise the view does not fit label images."""
        return type(self).move is not View.move

    def cut(self, image: PixelArray, drawn: Any) -> tuple[PixelArray, Any]:
        """Return the part of the image that a cropping view reads, and the draw relative to that part."""
        return image, drawn

    def apply_batch(self, images: Tensor, drawn: Sequence[Any], size: int) -> Tensor:
        """Apply the draws to images (N, 3, H, W), uint8, on any device. ``drawn`` has no None."""
        raise NotImplementedError

    def __call__(self, image: PixelArray, rng: np.random.Generator, size: int) -> PixelArray:
        """Draw one view of an image and apply it."""
        drawn = self.draw(rng, image.shape[:2], size)
        return image if drawn is None else self.apply(image, drawn, size)


def mirrored(image: NDArray[Any], mirror: bool) -> NDArray[Any]:
    """Return the image, mirrored left to right if ``mirror``, in contiguous memory as OpenCV needs it."""
    return np.ascontiguousarray(image[:, ::-1] if mirror else image)


def as_range(pair: Sequence[float]) -> tuple[float, float]:
    """Return a pair of numbers as floats."""
    low, high = pair
    return float(low), float(high)
