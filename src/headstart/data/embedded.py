"""Provide data sets that come with installed packages, without a download."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from headstart.data.module import ImageData
from headstart.inputs.collection import Collection
from headstart.inputs.facts import Facts
from headstart.seeds import generator
from headstart.settings.leaf_table import check_parameters
from headstart.settings.rules import check_no_root

PHOTOGRAPHS = {
    "brick": "brick",
    "cat": "cat",
    "coffee": "coffee",
    "coins": "coins",
    "grass": "grass",
    "gravel": "gravel",
    "moon": "moon",
    "motorcycle": "stereo_motorcycle",
    "retina": "retina",
    "stars": "hubble_deep_field",
    "text": "text",
    "tissue": "immunohistochemistry",
}
LONGEST_SHORT_SIDE = 512  # larger photographs are reduced to this first, so that a patch shows some structure
FLAT = 4.0  # smallest deviation of a patch in grey levels; flatter ones (the black around the retina) show no class


class EmbeddedSet(ImageData):
    """A data set that is part of an installed package and needs no folder."""

    def __init__(self, image_size: int | None = 64, crop_fraction: float | None = 1.0, **kwargs: Any) -> None:
        super().__init__(image_size=image_size, crop_fraction=crop_fraction, **kwargs)
        check_no_root(str(self.name), self.root)

    def source_hash(self, facts: Facts) -> None:
        """Return None, because the settings determine the content."""


class Textures(EmbeddedSet):
    """Patches of twelve photographs from scikit-image, one class per photograph, grey and of equal contrast.

    Training patches come from the left half of a photograph, validation patches from the upper right and test patches
    from the lower right quarter, so no pixel is in two splits. Each patch is grey with mean 128 and deviation 50,
    because colour and brightness would reveal the class. ``patch`` is the side in pixels, ``counts`` the number of
    patches of each class in training, validation and test.
    """

    def __init__(self, patch: int = 64, counts: tuple[int, int, int] = (100, 20, 50), **kwargs: Any) -> None:
        super().__init__(**kwargs)
        check_parameters("dataset", locals())
        self.patch, self.counts = patch, tuple(counts)

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names and the patches of each split: the same at every call."""
        found: dict[str, tuple[list[str], list[int], list[NDArray[np.uint8]]]] = {}
        for label, (name, photograph) in enumerate(PHOTOGRAPHS.items()):
            regions = split_regions(load_photograph(photograph))
            for split, part, count in zip(("train", "validation", "test"), regions, self.counts, strict=True):
                patches = cut_patches(part, self.patch, count, generator("textures", label, len(split)))
                ids, targets, images = found.setdefault(split, ([], [], []))
                ids += [f"{split}/{name}/{number:03d}" for number in range(count)]
                targets += [label] * count
                images += patches
        return list(PHOTOGRAPHS), {
            split: Collection(ids, np.array(targets, dtype=np.int64), images)
            for split, (ids, targets, images) in found.items()
        }


class Digits(EmbeddedSet):
    """scikit-learn's 1797 handwritten digits of 8 x 8 pixels."""

    def collect(self) -> tuple[list[str], dict[str, Collection]]:
        """Return the class names and all images as train; validation and test are split off later."""
        from sklearn.datasets import load_digits

        digits = load_digits()
        images = [np.round(image * (255 / 16)).astype(np.uint8) for image in digits.images]
        ids = [f"{number:04d}" for number in range(len(images))]
        return [str(digit) for digit in range(10)], {"train": Collection(ids, digits.target.astype(np.int64), images)}


@cache  # the runs of a sweep read the same photographs
def load_photograph(name: str) -> NDArray[np.float32]:
    """Return a photograph (H, W) in grey levels from 0 to 255."""
    import skimage.data

    photograph = getattr(skimage.data, name)()
    image = Image.fromarray(photograph[0] if isinstance(photograph, tuple) else photograph).convert("L")
    scale = LONGEST_SHORT_SIDE / min(image.size)
    if scale < 1:
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.BICUBIC)
    return np.asarray(image, dtype=np.float32)


def split_regions(photograph: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
    """Return the regions of training, validation and test: the left half, the upper and the lower right quarter."""
    height, width = photograph.shape
    right = photograph[:, width // 2 :]
    return photograph[:, : width // 2], right[: height // 2], right[height // 2 :]


def cut_patches(part: NDArray[np.float32], size: int, count: int, rng: np.random.Generator) -> list[NDArray[np.uint8]]:
    """Return ``count`` patches (size, size) from random places, normalised to mean 128 and deviation 50."""
    patches: list[NDArray[np.uint8]] = []
    while len(patches) < count:
        top, left = (int(rng.integers(side - size + 1)) for side in part.shape)
        patch = part[top : top + size, left : left + size]
        if patch.std() < FLAT:
            continue
        normal = 128 + 50 * (patch - patch.mean()) / patch.std()
        patches.append(np.clip(np.round(normal), 0, 255).astype(np.uint8))
    return patches
