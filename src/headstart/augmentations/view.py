"""What a view is: it draws what it will do to an image, then does it, to one image or to a batch of tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

PixelArray = NDArray[np.uint8]
Shape = tuple[int, int]  # height and width in pixels


class View:
    """Images (H, W, 3) uint8 to images of the same type; ``size`` is the side of the square that the network takes.

    What is random is drawn first, from the generator handed in, and for both forms alike: an image gets the same view
    wherever it is carried out, up to the rounding of the kernels.
    """

    crops = False  # whether what comes out is size x size, whatever goes in
    branches = 1  # how many images come out of one

    @property
    def has_batch_form(self) -> bool:
        """Whether ``apply_batch`` is there; without it the view stays with the loader."""
        return type(self).apply_batch is not View.apply_batch

    def source_side(self, size: int) -> int | None:
        """For a view that crops: the short side of images of which no part has to be enlarged.

        None: images come in as for evaluation.
        """
        return None

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> Any:
        """What to do to an image of this shape; None leaves it as it is."""
        raise NotImplementedError

    def draw_branches(self, rng: np.random.Generator, shape: Shape, size: int) -> list[Any]:
        """What to do for each image that comes out."""
        return [self.draw(rng, shape, size) for _ in range(self.branches)]

    def apply(self, image: PixelArray, drawn: Any, size: int) -> PixelArray:
        """Do it to one image (H, W, 3)."""
        raise NotImplementedError

    def cut(self, image: PixelArray, drawn: Any) -> tuple[PixelArray, Any]:
        """For a view that crops: the part that it reads, and what is drawn, told of that part."""
        return image, drawn

    def apply_batch(self, images: Tensor, drawn: Sequence[Any], size: int) -> Tensor:
        """Do it to images (N, 3, H, W), uint8, on any device; none of ``drawn`` is None."""
        raise NotImplementedError

    def __call__(self, image: PixelArray, rng: np.random.Generator, size: int) -> PixelArray:
        """Draw one view of an image."""
        drawn = self.draw(rng, image.shape[:2], size)
        return image if drawn is None else self.apply(image, drawn, size)


def mirrored(image: PixelArray, really: bool) -> PixelArray:
    """Left to right, or as it is; its bytes in one piece, as OpenCV wants them."""
    return np.ascontiguousarray(image[:, ::-1] if really else image)


def as_range(pair: Sequence[float]) -> tuple[float, float]:
    """Return a pair of numbers as floats."""
    low, high = pair
    return float(low), float(high)
