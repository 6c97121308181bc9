"""What a run is compared with, made from its data alone: no network."""

import logging
from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from PIL import Image

from headstart.data import ImageData, ImageSplit
from headstart.solvers.features import Features
from headstart.solvers.probe_fit import fit_probe, scores

log = logging.getLogger(__name__)
SIDE = 32  # larger images are reduced to this many pixels a side


def raw_pixels(data: ImageData) -> Mapping[str, float]:
    """A softmax regression on the pixels themselves, its strength chosen on validation as for ``linear_probe``."""
    train, validation, test = (pixels(split) for split in (data.train.without_views(), data.validation, data.test))
    probe = fit_probe(train, validation, data.num_classes, balanced=data.balance == "loss")
    logits = test.values.double() @ probe.weight.T + probe.bias
    kept = {name: value for name, value in probe.scores.items() if not name.startswith("train/")}
    return kept | scores("test", logits, test.targets)


def pixels(split: ImageSplit) -> Features:
    """Bytes of the centre-cropped images, at most 32 x 32, as (N, pixels)."""
    split.images.load("pictures")
    rows = []
    for index in range(len(split)):
        image = Image.fromarray(split.image(index))
        if image.width > SIDE:
            image = image.resize((SIDE, SIDE), Image.Resampling.BOX)
        rows.append(np.asarray(image, dtype=np.float32).reshape(-1))
    return Features(torch.from_numpy(np.stack(rows)), torch.from_numpy(split.targets))


REFERENCES: dict[str, Callable[[ImageData], Mapping[str, float]]] = {"raw_pixels": raw_pixels}


def compute_references(names: Iterable[str], data: ImageData) -> dict[str, Mapping[str, float]]:
    """Scores of each reference, under the names of metrics."""
    found = {}
    for name in names:
        found[name] = REFERENCES[name](data)
        log.info("%s, no network: test accuracy %.1f %%", name.replace("_", " "), 100 * found[name]["test/accuracy"])
    return found
