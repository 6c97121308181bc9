"""Find the images of a run on which an export is checked and quantised."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from headstart.analysis.explain.network import settings_of
from headstart.errors import HeadstartError
from headstart.exporting.onnx_file import MOST_CALIBRATED, MOST_CHECKED, CheckImages, random_images
from headstart.files import expanded
from headstart.models.asked import asked_images
from headstart.records.names import CHECKPOINT_FOLDER, SETTINGS_FILE
from headstart.settings.configs import CONFIG_ERRORS
from headstart.training import compose
from headstart.training.prepare import settle_process


def images_to_check(
    path: Path, given: Sequence[Path] | None, root: Path | None, trusted: Sequence[str]
) -> tuple[CheckImages, list[str]]:
    """Return the images given, else the test images of the run, else random ones; and sentences for the user."""
    if given:
        paths, notes = asked_images([expanded(place) for place in given])
        return CheckImages(paths[:MOST_CHECKED], f"{min(len(paths), MOST_CHECKED):,} given images"), notes
    run = path.parent if path.name == CHECKPOINT_FOLDER else path
    reason = "this is no run with settings"
    if (run / SETTINGS_FILE).is_file():
        try:
            return run_images(run, root, trusted), []
        except (HeadstartError, *CONFIG_ERRORS) as error:
            reason = str(error).splitlines()[0].rstrip(".")
    check = random_images()
    return check, [f"The run's test images are not used ({reason}); the export is checked on {check.words}."]


def run_images(directory: Path, root: Path | None = None, trusted: Sequence[str] = ()) -> CheckImages:
    """Return the test images of a run, and some training images for quantisation.

    Of more than ``MOST_CHECKED`` images it takes some, evenly spaced. ``root`` holds the images if they have moved.
    Raises DataError and ConfigError if they cannot be found.
    """
    settle_process()
    config = settings_of(directory, root, trusted)
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
