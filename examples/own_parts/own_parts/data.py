"""Make images of bright dots; the target is their number."""

from typing import Any

import numpy as np

from headstart.data import ImageData
from headstart.inputs.collection import Collection
from headstart.inputs.facts import Facts
from headstart.seeds import generator


class Dots(ImageData):
    """Grey images of 1 to ``most`` dots each; headstart splits off validation and test."""

    reads_labels = True  # it can give targets of several kinds

    def __init__(self, images: int = 100, most: int = 4, image_size: int | None = 32, **kwargs: Any) -> None:
        super().__init__(image_size=image_size, **kwargs)
        self.images, self.most = images, most

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names, and ids, targets and images of the one split that there is."""
        counts = np.arange(self.images) % self.most + 1
        images = [_drawn(int(count), generator("dots", number)) for number, count in enumerate(counts)]
        ids = [f"{number:04d}" for number in range(self.images)]
        if self.task == "classification":  # targets are indices of classes
            return [str(count + 1) for count in range(self.most)], {"train": Collection(ids, counts - 1, images)}
        return [], {"train": Collection(ids, counts[:, None].astype(np.float64), images)}

    def source_hash(self, facts: Facts) -> None:
        """Return None, because the settings determine the images."""


def _drawn(count: int, rng: np.random.Generator) -> np.ndarray:
    image = np.zeros((32, 32), np.uint8)
    for cell in rng.choice(16, count, replace=False):  # of a grid, so that no dots overlap
        top, left = 8 * np.array(divmod(cell, 4)) + rng.integers(5, size=2)
        image[top : top + 4, left : left + 4] = 255
    return image
