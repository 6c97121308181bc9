"""Fit a linear model on the pixels."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from headstart.data import ImageData, ImageSplit
from headstart.inputs.decoding import PixelArray
from headstart.solvers.features import Features
from headstart.solvers.probe import scored
from headstart.tasks import Task
from headstart.tasks.dense_heads import DenseLinear
from headstart.tasks.heads import put_linear
from headstart.tasks.pixel_probe import scores_of
from headstart.tasks.task import is_by_pixel

SIDE = 32  # larger images are reduced to this many pixels a side
MAP_SIDES = (64, 16, 4)  # the same, for a target at each pixel: the pixel and its surroundings


def raw_pixels(data: ImageData, task: Task, seed: int) -> Mapping[str, float]:
    """Return the scores of a linear model on the pixels, with its strength chosen on validation; no use of ``seed``.

    Where each pixel has a target, the model sees the pixel and the mean colour of squares around it.
    """
    splits = (data.train.without_views(), data.validation, data.test)
    if is_by_pixel(task):
        train, validation, test = (pixel_maps(split) for split in splits)
        layers = DenseLinear(map_shapes(data.test), data.test.size, task.width)
        probe = task.fit_probe(train, validation, head=layers)
        put_linear(layers, probe.weight, probe.bias)
        tested = {f"test/{name}": value for name, value in scores_of(task, layers, test).items()}
    else:
        train, validation, test = (pixels(split) for split in splits)
        probe = task.fit_probe(train, validation)
        outputs = test.values.double() @ probe.weight.T + probe.bias
        tested = scored(task, test=(outputs, test.targets))
    return {name: value for name, value in probe.scores.items() if not name.startswith("train/")} | tested


def pixels(split: ImageSplit) -> Features:
    """Return the centre-cropped images, at most 32 x 32, as features (N, pixels)."""
    split.images.load("images")
    rows = [_reduced(split.image(index)).reshape(-1) for index in range(len(split))]
    return Features(torch.from_numpy(np.stack(rows)), torch.from_numpy(split.targets))


def pixel_maps(split: ImageSplit) -> Features:
    """Return the centre-cropped images as maps side by side, (N, D): their pixels, and means over larger squares."""
    split.images.load("images")
    rows = [_maps(split.image(index)) for index in range(len(split))]
    flat = [np.concatenate([of.reshape(-1) for of in maps]) for maps in rows]
    return Features(torch.from_numpy(np.stack(flat)), torch.from_numpy(split.targets[np.arange(len(split))]))


def map_shapes(split: ImageSplit) -> list[tuple[int, int, int]]:
    """Return the shapes (C, H, W) of these maps."""
    return [(of.shape[0], of.shape[1], of.shape[2]) for of in _maps(split.image(0))]


def _maps(image: PixelArray) -> list[NDArray[np.float32]]:
    return [np.moveaxis(_reduced(image, side), 2, 0) for side in MAP_SIDES]


def _reduced(image: PixelArray, most: int = SIDE) -> NDArray[np.float32]:
    """Return an image (S, S, C) reduced to at most ``most`` pixels a side; Pillow averages one channel at a time."""
    if image.shape[0] <= most:
        return image.astype(np.float32)
    bands = [Image.fromarray(band).resize((most, most), Image.Resampling.BOX) for band in np.moveaxis(image, 2, 0)]
    return np.stack([np.asarray(band, dtype=np.float32) for band in bands], axis=2)
