"""Find the images of a run on which an export is checked and quantised."""

from pathlib import Path
from typing import Any

import numpy as np

from headstart.analysis.explain.network import settings_of
from headstart.models.onnx_file import MOST_CALIBRATED, MOST_CHECKED, CheckImages
from headstart.training import compose
from headstart.training.prepare import settle_process


def run_images(directory: Path, root: Path | None = None, trusted: list[str] | None = None) -> CheckImages:
    """Return the test images of a run, and some training images for quantisation.

    Of more than ``MOST_CHECKED`` images it takes some, evenly spaced. ``root`` holds the images if they have moved.
    Raises DataError and ConfigError if they cannot be found.
    """
    settle_process()
    config = settings_of(directory, root, trusted or [])
    data = compose.make_data(config)
    data.prepare(compose.make_backbone(config).preprocessing)
    test, train = data.test, data.train
    places = _spaced(len(test), MOST_CHECKED)
    targets: Any = test.targets
    labels = np.asarray(targets)[places] if isinstance(targets, np.ndarray) and targets.ndim == 1 else None
    some = "" if len(places) == len(test) else f" of {len(test):,}"
    return CheckImages(
        [test.images.undecoded[int(place)] for place in places],
        f"{len(places):,}{some} test images",
        labels if labels is not None and labels.dtype == np.int64 else None,
        [train.images.undecoded[int(place)] for place in _spaced(len(train), MOST_CALIBRATED)],
    )


def _spaced(count: int, most: int) -> Any:
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))
