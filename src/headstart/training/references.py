"""Compute scores from the data alone, without a network, for comparison with a run."""

import logging
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from headstart.data import ImageData, ImageSplit
from headstart.inputs.decoding import PixelArray
from headstart.solvers.features import Features
from headstart.solvers.probe import scored
from headstart.tasks import Task

log = logging.getLogger(__name__)
SIDE = 32  # larger images are reduced to this many pixels a side


def raw_pixels(data: ImageData, task: Task) -> Mapping[str, float]:
    """Return the scores of a linear model on the pixels, with its strength chosen on validation."""
    train, validation, test = (pixels(split) for split in (data.train.without_views(), data.validation, data.test))
    probe = task.fit_probe(train, validation)
    outputs = test.values.double() @ probe.weight.T + probe.bias
    kept = {name: value for name, value in probe.scores.items() if not name.startswith("train/")}
    return kept | scored(task, test=(outputs, test.targets))


def pixels(split: ImageSplit) -> Features:
    """Return the centre-cropped images, at most 32 x 32, as features (N, pixels)."""
    split.images.load("images")
    rows = [_reduced(split.image(index)).reshape(-1) for index in range(len(split))]
    return Features(torch.from_numpy(np.stack(rows)), torch.from_numpy(split.targets))


def _reduced(image: PixelArray) -> NDArray[np.float32]:
    """Return an image (S, S, C) reduced to at most 32 pixels a side; Pillow averages one channel at a time."""
    if image.shape[0] <= SIDE:
        return image.astype(np.float32)
    bands = [Image.fromarray(band).resize((SIDE, SIDE), Image.Resampling.BOX) for band in np.moveaxis(image, 2, 0)]
    return np.stack([np.asarray(band, dtype=np.float32) for band in bands], axis=2)


REFERENCES: dict[str, Callable[[ImageData, Task], Mapping[str, float]]] = {"raw_pixels": raw_pixels}


def compute_references(names: Iterable[str], data: ImageData, task: Task) -> dict[str, Mapping[str, float]]:
    """Return the scores of each reference, by the names of metrics."""
    found = {}
    for name in names:
        found[name] = REFERENCES[name](data, task)
        metric = data.kind.primary
        value = metric.text(found[name][f"test/{metric.name}"])
        log.info("%s, no network: test %s %s", name.replace("_", " "), metric.words, value)
    return found
