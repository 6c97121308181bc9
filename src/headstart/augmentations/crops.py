"""Crop: cut a part of an image and return it at the network's size."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from headstart.augmentations.batch_operations import as_bytes
from headstart.augmentations.view import LabelArray, PixelArray, Shape, View, as_range, mirrored
from headstart.inputs.pixel_files import nearest_resized
from headstart.settings.leaf_table import check_parameters

MOST_SIDE = 2**14  # pixels of the short side; larger images are decoded at a smaller size


@dataclass(frozen=True)
class CropPart:
    """A part of an image in pixels, and whether to mirror it."""

    left: int
    top: int
    right: int
    bottom: int
    mirrored: bool


class FlipCrop(View):
    """Crop a random square of the network's size and mirror half of them (He et al. 2015, arXiv:1512.03385).

    Images are padded by reflection until the crop can move by at least ``slack`` times the size.
    """

    crops = True  # no batch form: slicing is free, and images of different shapes cannot be batched

    def __init__(self, flip: float = 0.5, slack: float = 0.125) -> None:
        check_parameters("augmentation.flip_crop", locals())
        self.flip, self.slack = flip, slack

    def _pads(self, shape: Shape, size: int) -> list[tuple[int, int]]:
        wanted = size + round(self.slack * size)
        return [(lack // 2, lack - lack // 2) for lack in (max(0, wanted - side) for side in shape)]

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> CropPart:
        """Draw a position within the padded image."""
        padded = [side + sum(pad) for side, pad in zip(shape, self._pads(shape, size), strict=True)]
        top, left = (int(rng.integers(side - size + 1)) for side in padded)
        return CropPart(left, top, left + size, top + size, rng.random() < self.flip)

    def apply(self, image: PixelArray, drawn: CropPart, size: int) -> PixelArray:
        """Return the crop (size, size, 3), after padding a smaller image."""
        pads = self._pads(image.shape[:2], size)
        if any(map(sum, pads)):
            image = np.pad(image, [*pads, (0, 0)][: image.ndim], mode="reflect" if min(image.shape[:2]) > 1 else "edge")
        return mirrored(image[drawn.top : drawn.bottom, drawn.left : drawn.right], drawn.mirrored)

    def move(self, labels: LabelArray, drawn: CropPart, size: int, outside: Any) -> LabelArray:
        """Return the same crop (size, size); padding is a reflection, as in the image."""
        return self.apply(labels, drawn, size)


class CropResize(View):
    """Crop a random part and resize it to the network's size (Szegedy et al. 2014, arXiv:1409.4842, section 6).

    ``scale`` bounds the part's fraction of the area, ``ratio`` its width over height. With ``copies`` above 1, each
    image gives that many parts: pairs for contrastive learning (Chen et al. 2020, arXiv:2002.05709), or batch
    augmentation when there are labels (Hoffer et al. 2019, arXiv:1901.09335).
    """

    crops = True

    def __init__(
        self,
        scale: Sequence[float] = (0.35, 1.0),
        ratio: Sequence[float] = (0.75, 1.3333333),
        flip: float = 0.5,
        copies: int = 1,
    ) -> None:
        check_parameters("augmentation.crop_resize", locals())
        self.scale, self.ratio = as_range(scale), as_range(ratio)
        self.flip, self.branches = flip, copies

    def source_side(self, size: int) -> int:
        """Return the short side, in pixels, at which the smallest part with the worst aspect fills the network's input.

        Parts are cut from the decoded image. If it had the network's size, most parts would be enlarged.
        """
        aspect = max(self.ratio[1], 1 / self.ratio[0])
        return min(MOST_SIDE, math.ceil(size * math.sqrt(max(1.0, aspect) / self.scale[0])))

    def box(self, height: int, width: int, rng: np.random.Generator) -> tuple[int, int, int, int]:
        """Draw a part and return its left, top, right and bottom in pixels."""
        for _ in range(10):
            area = rng.uniform(*self.scale) * height * width
            aspect = math.exp(rng.uniform(math.log(self.ratio[0]), math.log(self.ratio[1])))
            w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if 0 < w <= width and 0 < h <= height:
                left, top = int(rng.integers(width - w + 1)), int(rng.integers(height - h + 1))
                return left, top, left + w, top + h
        side = min(height, width)  # no drawn part fits: take the largest central square
        left, top = (width - side) // 2, (height - side) // 2
        return left, top, left + side, top + side

    def draw(self, rng: np.random.Generator, shape: Shape, size: int) -> CropPart:
        """Draw a part, and whether it is mirrored."""
        return CropPart(*self.box(*shape, rng), rng.random() < self.flip)

    def apply(self, image: PixelArray, drawn: CropPart, size: int) -> PixelArray:
        """Return the part resized to size x size: by area means if both sides shrink, otherwise bilinear."""
        part = image[drawn.top : drawn.bottom, drawn.left : drawn.right]
        resized = cv2.resize(part, (size, size), interpolation=_filter(drawn, size))
        return mirrored(resized, drawn.mirrored)  # type: ignore[arg-type]

    def move(self, labels: LabelArray, drawn: CropPart, size: int, outside: Any) -> LabelArray:
        """Return the same part (size, size)."""
        part = labels[drawn.top : drawn.bottom, drawn.left : drawn.right]
        return mirrored(nearest_resized(part, (size, size)), drawn.mirrored)

    def cut(self, image: PixelArray, drawn: CropPart) -> tuple[PixelArray, CropPart]:
        """Return the part alone, which is much smaller for a panorama."""
        part = image[drawn.top : drawn.bottom, drawn.left : drawn.right]
        return part, CropPart(0, 0, part.shape[1], part.shape[0], drawn.mirrored)

    def apply_batch(self, images: Tensor, drawn: Sequence[CropPart], size: int) -> Tensor:
        """Apply the same filters as matrix products, with one matrix for each image and direction."""
        height, width = images.shape[-2:]
        filters = [_filter(part, size) == cv2.INTER_AREA for part in drawn]
        down = [_weights(part.top, part.bottom, height, size, area) for part, area in zip(drawn, filters, strict=True)]
        across = [_weights(part.left, part.right, width, size, area) for part, area in zip(drawn, filters, strict=True)]
        across = [matrix[::-1] if part.mirrored else matrix for part, matrix in zip(drawn, across, strict=True)]
        rows, columns = (torch.from_numpy(np.stack(each)).to(images.device)[:, None] for each in (down, across))
        return as_bytes(rows @ (images.float() @ columns.mT))


def _filter(part: CropPart, size: int) -> int:
    shrinks = min(part.right - part.left, part.bottom - part.top) >= size
    return cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR


def _weights(start: int, stop: int, length: int, size: int, area: bool) -> NDArray[np.float32]:
    """Return weights (size, length): each pixel of the result is a mean over pixels from ``start`` to ``stop``."""
    scale = (stop - start) / size
    pixels, results = np.arange(length), np.arange(size)[:, None]
    if area:  # the overlap of each source pixel with each pixel of the result
        left = start + results * scale
        weights = np.clip(np.minimum(pixels + 1, left + scale) - np.maximum(pixels, left), 0, None) / scale
    else:  # between the two nearest centres; at the border, the nearest one
        centres = np.clip(start + (results + 0.5) * scale - 0.5, start, stop - 1)
        weights = np.clip(1 - np.abs(pixels - centres), 0, None)
    return weights.astype(np.float32)
