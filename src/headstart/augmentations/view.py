"""What a view is: it draws what it will do to a picture, then does it, to one picture or to a batch of tensors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.errors import ConfigError
from headstart.rules import is_number, is_whole

Picture = NDArray[np.uint8]
Shape = tuple[int, int]  # height and width in pixels


class View:
    """Pictures (H, W, 3) uint8 to pictures of the same type; ``size`` is the side of the square that the network takes.

    What is random is drawn first, from the generator handed in, and for both forms alike: a picture gets the same view
    wherever it is carried out, up to the rounding of the kernels.
    """

    crops = False  # whether what comes out is size x size, whatever goes in
    branches = 1  # how many pictures come out of one

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
        """What to do to a picture of this shape; None leaves it as it is."""
        raise NotImplementedError

    def draw_branches(self, rng: np.random.Generator, shape: Shape, size: int) -> list[Any]:
        """What to do for each picture that comes out."""
        return [self.draw(rng, shape, size) for _ in range(self.branches)]

    def apply(self, picture: Picture, drawn: Any, size: int) -> Picture:
        """Do it to one picture (H, W, 3)."""
        raise NotImplementedError

    def cut(self, picture: Picture, drawn: Any) -> tuple[Picture, Any]:
        """For a view that crops: the part that it reads, and what is drawn, told of that part."""
        return picture, drawn

    def apply_batch(self, pictures: Tensor, drawn: Sequence[Any], size: int) -> Tensor:
        """Do it to pictures (N, 3, H, W), uint8, on any device; none of ``drawn`` is None."""
        raise NotImplementedError

    def __call__(self, picture: Picture, rng: np.random.Generator, size: int) -> Picture:
        """Draw one view of a picture."""
        drawn = self.draw(rng, picture.shape[:2], size)
        return picture if drawn is None else self.apply(picture, drawn, size)


def mirrored(picture: Picture, really: bool) -> Picture:
    """Left to right, or as it is; its bytes in one piece, as OpenCV wants them."""
    return np.ascontiguousarray(picture[:, ::-1] if really else picture)


def check_share(name: str, value: float) -> float:
    """Refuse what is no share of 1."""
    if not is_number(value) or not 0 <= value <= 1:
        raise ConfigError(f"{name}={value}: expected a share between 0 and 1.")
    return value


def check_count(name: str, value: int, low: int, high: int) -> int:
    """Refuse what is no whole number from ``low`` to ``high``."""
    if not is_whole(value) or not low <= value <= high:
        raise ConfigError(f"{name}={value}: expected a whole number from {low} to {high}.")
    return value


def check_range(name: str, value: Sequence[float], low: float, high: float, what: str) -> tuple[float, float]:
    """Two numbers within limits, the smaller one first."""
    pair = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else ()
    if len(pair) != 2 or not all(is_number(number) for number in pair) or not low <= pair[0] <= pair[1] <= high:
        raise ConfigError(f"{name}={list(pair) if pair else value}: expected {what}.")
    return float(pair[0]), float(pair[1])
