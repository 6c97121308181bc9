"""One split, ready to be loaded, and what its views have to offer."""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from headstart.inputs.batch import Batch
from headstart.inputs.collection import Targets
from headstart.inputs.decoding import PixelArray
from headstart.inputs.images import Images
from headstart.seeds import generator


class Views(Protocol):
    """What makes other images of the training images: drawn for each image, and carried out in order."""

    @property
    def branches(self) -> int:
        """How many images come out of one."""

    @property
    def crops(self) -> bool:
        """Whether whole images go in; otherwise they are centre-cropped before."""

    @property
    def batch_from(self) -> int:
        """The view from which on batches of tensors may go in."""

    def source_side(self, size: int) -> int | None:
        """Pixels of the short side that images should have when they come in; None where it is as in evaluation."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], size: int) -> Any:
        """What to do to an image of this height and width."""

    def stack(self, images: Sequence[PixelArray], drawn: Sequence[Any], size: int) -> Tensor:
        """uint8 (branches * N, 3, size, size): the first image of each, then the second of each, and so on."""

    def pack(self, images: Sequence[PixelArray], drawn: Sequence[Any], size: int) -> Any:
        """The same, but the views from ``batch_from`` on are left to whoever calls ``done()`` of the result."""


class ImageSplit(Dataset[Batch]):
    """One split, ready to be loaded: whole batches by positions, so that nothing is copied twice."""

    def __init__(
        self,
        images: Images,
        targets: Targets,
        size: int,
        views: Views | None = None,
        view_seed: int = 0,
    ) -> None:
        self.images, self.targets, self.size = images, targets, size
        self.views, self.view_seed = views if views else None, view_seed
        side = self.views.source_side(size) if self.views is not None else None
        self.source = images if side is None else images.finer(side)  # what views are made of
        self.views_in_batches = False  # whether those that can be are left to the device

    @property
    def ids(self) -> Sequence[str]:
        """Names of the images, unique in the split."""
        return self.images.ids

    @property
    def branches(self) -> int:
        """How many images come out of one."""
        return self.views.branches if self.views is not None else 1

    def without_views(self) -> "ImageSplit":
        """The same images, centre-cropped."""
        return ImageSplit(self.images, self.targets, self.size)

    def with_views(self, views: Views | None, seed: int) -> "ImageSplit":
        """The same images, seen through these views."""
        return ImageSplit(self.images, self.targets, self.size, views, seed)

    def image(self, index: int, epoch: int = 0) -> PixelArray:
        """(size, size, 3) uint8; the first that comes out of an image."""
        return self.view_tensor([(epoch, index)])[0].permute(1, 2, 0).numpy()  # type: ignore[no-any-return]

    def view_tensor(self, keys: Sequence[tuple[int, int]], pack: bool = False) -> Any:
        """Of (epoch, position) pairs uint8 (branches * N, 3, S, S), channels-last in memory; or what the device ends.

        What is random is drawn from (seed, epoch, position), whatever process asks.
        """
        images = [self.source[index] for _, index in keys]
        if self.views is None or not self.views.crops:
            images = [centre_crop(image, self.size) for image in images]
        if self.views is None:
            return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)
        drawn = [
            self.views.draw(generator("augmentation", self.view_seed, epoch, index), image.shape[:2], self.size)
            for (epoch, index), image in zip(keys, images, strict=True)
        ]
        return (self.views.pack if pack else self.views.stack)(images, drawn, self.size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> Batch:
        """Positions, or (epoch, position) pairs, to a batch."""
        pairs = [key if isinstance(key, tuple) else (0, int(key)) for key in keys]
        indices = np.array([index for _, index in pairs], dtype=np.int64)
        pack = self.views_in_batches and self.views is not None and self.views.batch_from < len(self.views)
        targets, positions = torch.from_numpy(self.targets[indices]), torch.from_numpy(indices)
        return Batch(self.view_tensor(pairs, pack), targets, positions, self.branches)


def centre_crop(image: PixelArray, size: int) -> NDArray[np.uint8]:
    """The middle size x size pixels."""
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]
