"""Compute scores without a network, from only the data, to compare a run with."""

import logging
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from PIL import Image

from headstart.data import ImageData, ImageSplit
from headstart.solvers.features import Features
from headstart.tasks import Task

log = logging.getLogger(__name__)
SIDE = 32  # larger images are reduced to this many pixels a side


def raw_pixels(data: ImageData, task: Task) -> Mapping[str, float]:
    """Return the scores of a linear model on the pixels, with its strength chosen on validation."""
    train, validation, test = (pixels(split) for split in (data.train.without_views(), data.validation, data.test))
    probe = task.fit_probe(train, validation)
    outputs = test.values.double() @ probe.weight.T + probe.bias
    kept = {name: value for name, value in probe.scores.items() if not name.startswith("train/")}
    return kept | {f"test/{name}": value for name, value in task.score(outputs, test.targets).items()}


def pixels(split: ImageSplit) -> Features:
    """Return the centre-cropped images, at most 32 x 32, as features (N, pixels)."""
    split.images.load("pictures")
    rows = []
    for index in range(len(split)):
        image = Image.fromarray(split.image(index))
        if image.width > SIDE:
            image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
        rows.append(np.asarray(image, dtype=np.float32).reshape(-1))
    return Features(torch.from_numpy(np.stack(rows)), torch.from_numpy(split.targets))


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
