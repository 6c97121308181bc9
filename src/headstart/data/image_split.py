"""Load the images of one split, with or without views."""

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
from headstart.inputs.pixel_targets import PixelTargets
from headstart.seeds import generator


class Views(Protocol):
    """The views of an augmentation: random parameters are drawn for each image, and views are applied in order."""

    @property
    def branches(self) -> int:
        """Return the number of versions made from each image."""

    @property
    def crops(self) -> bool:
        """Return whether the views take whole images; otherwise images are centre-cropped first."""

    @property
    def packs(self) -> bool:
        """Return whether batches are packed for the device, which applies the last views."""

    def source_side(self, size: int) -> int | None:
        """Return the short side in pixels that the views need; None if the short side for evaluation is enough."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def draw(self, rng: np.random.Generator, shape: tuple[int, int], size: int) -> Any:
        """Draw the parameters of the views for an image of this height and width."""

    def stack(self, images: Sequence[PixelArray], targets: Any, drawn: Sequence[Any], size: int) -> tuple[Tensor, Any]:
        """Return stored values (branches * N, C, S, S) and targets.

        All first versions come first, then all second versions, and so on. A list of label images (H, W) is transformed
        with the images to (branches * N, S, S); other targets are not changed.
        """

    def pack(self, images: Sequence[PixelArray], targets: Any, drawn: Sequence[Any], size: int) -> tuple[Any, Any]:
        """Return a packed batch and its targets; ``done()`` of the packed batch applies the last views."""


class ImageSplit(Dataset[Batch]):
    """One split. It loads a whole batch at once, so that no image is copied twice."""

    def __init__(
        self,
        images: Images,
        targets: Targets | PixelTargets,
        size: int,
        views: Views | None = None,
        view_seed: int = 0,
    ) -> None:
        self.images, self.size = images, size
        self.targets: Any = targets  # (N, ...); label images are read on demand
        self.views, self.view_seed = views if views else None, view_seed
        side = self.views.source_side(size) if self.views is not None else None
        self.source = images if side is None else images.finer(side)  # the images that views are made from

    @property
    def ids(self) -> Sequence[str]:
        """Return the names of the images, unique in the split."""
        return self.images.ids

    @property
    def branches(self) -> int:
        """Return the number of versions made from each image."""
        return self.views.branches if self.views is not None else 1

    @property
    def packs(self) -> bool:
        """Return whether batches are packed for the device, which applies the last views."""
        return self.views is not None and self.views.packs

    def without_views(self) -> "ImageSplit":
        """Return the split with centre-cropped images."""
        return ImageSplit(self.images, self.targets, self.size)

    def with_views(self, views: Views | None, seed: int) -> "ImageSplit":
        """Return the split with these views."""
        return ImageSplit(self.images, self.targets, self.size, views, seed)

    def image(self, index: int, epoch: int = 0) -> PixelArray:
        """Return the first version of an image, (size, size, C)."""
        return self.view_tensor([(epoch, index)])[0].permute(1, 2, 0).numpy()  # type: ignore[no-any-return]

    def view_tensor(self, keys: Sequence[tuple[int, int]], pack: bool = False) -> Any:
        """Return (branches * N, C, S, S), channels-last in memory, for (epoch, position) pairs.

        With ``pack`` it returns a packed batch, see ``Views``. Random numbers depend only on (seed, epoch, position).
        """
        return self._viewed(keys, None, pack)[0]

    def _viewed(self, keys: Sequence[tuple[int, int]], targets: Any, pack: bool = False) -> tuple[Any, Any]:
        """Return the images as ``view_tensor`` does, and their targets, which views may transform."""
        images = [self.source[index] for _, index in keys]
        if self.views is not None and isinstance(targets, PixelTargets):
            decoder = self.source.decoder
            targets = [
                targets.of_image(index, image.shape[:2], decoder)
                for (_, index), image in zip(keys, images, strict=True)
            ]
            if not self.views.crops:
                targets = [centre_crop(target, self.size) for target in targets]
        elif targets is not None:
            targets = torch.from_numpy(targets[np.array([index for _, index in keys], dtype=np.int64)])
        if self.views is None or not self.views.crops:
            images = [centre_crop(image, self.size) for image in images]
        if self.views is None:
            return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2), targets
        drawn = [
            self.views.draw(generator("augmentation", self.view_seed, epoch, index), image.shape[:2], self.size)
            for (epoch, index), image in zip(keys, images, strict=True)
        ]
        return (self.views.pack if pack else self.views.stack)(images, targets, drawn, self.size)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, key: int | tuple[int, int]) -> Batch:
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[int | tuple[int, int]]) -> Batch:
        """Return the batch of these positions or (epoch, position) pairs."""
        pairs = [key if isinstance(key, tuple) else (0, int(key)) for key in keys]
        indices = np.array([index for _, index in pairs], dtype=np.int64)
        inputs, targets = self._viewed(pairs, self.targets, self.packs)
        return Batch(inputs, targets, torch.from_numpy(indices), self.branches)


def centre_crop(image: NDArray[Any], size: int) -> NDArray[Any]:
    """Return the central size x size pixels of an image (H, W, C) or a label image (H, W)."""
    top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
    return image[top : top + size, left : left + size]
