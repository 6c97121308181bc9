"""Pool the images of all splits, with their features."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from headstart.analysis.layer_probes import split_features
from headstart.data import ImageData
from headstart.inputs.images import Images
from headstart.settings.split_names import SPLITS
from headstart.solvers.features import joined
from headstart.training.prepare import RunParts


@dataclass(frozen=True)
class PooledImages:
    """The N images of training, validation and test, in this order."""

    data: ImageData
    values: Tensor  # features, float32 (N, D), on the CPU
    targets: NDArray[np.int64]  # (N,)
    ids: Sequence[str]
    splits: Sequence[str]  # of each image
    groups: Sequence[str | None]  # that dataset.groups gives each image, or a column of the list
    contents: Sequence[bytes]  # sha256 of each file

    @property
    def class_names(self) -> Sequence[str]:
        """Return the names of the classes."""
        return self.data.class_names

    @property
    def sets(self) -> list[Images]:
        """Return the images of each split."""
        return [getattr(self.data, name).images for name in SPLITS]

    def __len__(self) -> int:
        return len(self.ids)

    def image(self, index: int) -> NDArray[np.uint8]:
        """Return an image as people see it, uint8 (H, W, 3)."""
        images, place = self._place(index)
        return images.decoder.signature.for_display(images[place])

    def path(self, index: int) -> str:
        """Return the file of an image; empty if it has none."""
        images, place = self._place(index)
        source = images.undecoded[place]
        return str(source) if isinstance(source, Path) else ""

    def _place(self, index: int) -> tuple[Images, int]:
        for images in self.sets:
            if index < len(images):
                return images, index
            index -= len(images)
        raise IndexError("There is no such image.")


def pooled_images(parts: RunParts) -> PooledImages:
    """Return the images of all splits of a prepared run, with features of its frozen network from the cache."""
    data = parts.data
    features = joined(*split_features(parts))
    of_splits = [getattr(data, name) for name in SPLITS]
    given = {
        name: group
        for collection in data.found()[1].values()
        for name, group in zip(collection.ids, collection.groups or [], strict=False)
    }
    ids = [name for split in of_splits for name in split.ids]
    return PooledImages(
        data,
        features.values.cpu(),
        features.targets.cpu().numpy(),
        ids,
        [name for name, split in zip(SPLITS, of_splits, strict=True) for _ in split.ids],
        [given.get(name) for name in ids],
        [content for split in of_splits for content in split.images.contents],
    )
