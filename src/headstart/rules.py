"""What a setting may be, judged by itself: no picture and no tensor is read, and torch is not needed."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headstart.errors import ConfigError, DataError, WeightsError, nearest
from headstart.files import expanded

LARGEST = 1e300  # of a setting
RESIZES = ("crop", "squish", "pad")
MOST_BITS = 32


def is_whole(value: object) -> bool:
    """Whether it is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    """Whether it is a number, which true and false, infinity and NaN are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def check_dataset(settings: Mapping[str, Any]) -> None:
    """Refuse numbers and words that no data set takes; settings that are not given are not missed."""
    for key in ("image_size", "batch_size", "labels_per_class"):
        if key in settings:
            _check_count(key, settings[key], optional=key != "batch_size")
    _check_folds(settings.get("folds"), settings.get("fold", 0), settings.get("test_split"))
    for key in ("validation_fraction", "test_fraction"):
        share = settings.get(key, 0.2)
        if not is_number(share) or not 0 < share < 1:
            raise ConfigError(f"dataset.{key}={share}: expected a share between 0 and 1, such as 0.2.")
    workers = settings.get("num_workers", "auto")
    if workers != "auto" and (not is_whole(workers) or workers < 0):
        raise ConfigError(f"dataset.num_workers={workers}: expected auto, or a whole number from 0 on.")
    on_error = settings.get("on_error", "raise")
    if on_error not in ("raise", "skip"):
        raise ConfigError(f"dataset.on_error={on_error}: expected raise or skip.{nearest(on_error, ['raise', 'skip'])}")
    root = settings.get("root")
    if root is not None and not isinstance(root, str) and not is_whole(root):
        raise ConfigError(f"dataset.root={root}: expected the path of your pictures, such as my_pictures.")
    for key in ("near_duplicates", "allow_outside"):
        if not isinstance(settings.get(key, False), bool):
            raise ConfigError(f"dataset.{key}={settings[key]}: expected true or false.")
    _check_sizes(settings.get("crop_fraction"), settings.get("resize", "crop"), settings.get("bits"))


def _check_sizes(crop: Any, resize: Any, bits: Any) -> None:
    if crop is not None and not (is_number(crop) and 0 < crop <= 1):
        raise ConfigError(f"dataset.crop_fraction={crop}: expected a share above 0 and at most 1, or null.")
    if resize not in RESIZES:
        raise ConfigError(f"dataset.resize={resize}: expected crop, squish or pad.{nearest(str(resize), RESIZES)}")
    if crop is not None and resize != "crop":
        raise ConfigError(
            f"dataset.crop_fraction={crop}: dataset.resize={resize} keeps the whole image, so nothing is cropped; leave"
            " one of the two out."
        )
    if bits is not None and not (is_whole(bits) and 1 <= bits <= MOST_BITS):
        raise ConfigError(f"dataset.bits={bits}: expected a whole number from 1 to {MOST_BITS}, such as 12, or null.")


def _check_count(key: str, value: object, optional: bool) -> None:
    if value is None and optional:
        return
    if not is_whole(value) or value < 1:  # type: ignore[operator]
        raise ConfigError(f"dataset.{key}={value}: expected a whole number above 0, such as 64.")


def _check_folds(folds: Any, fold: Any, test_split: object) -> None:
    if folds is None:
        if fold != 0:
            raise ConfigError(f"dataset.fold={fold}: of how many? Add dataset.folds, as in dataset.folds=5.")
        return
    if not is_whole(folds) or folds < 2:
        raise ConfigError(f"dataset.folds={folds}: expected a whole number above 1, such as 5, or null.")
    if not is_whole(fold) or not 0 <= fold < folds:
        raise ConfigError(
            f"dataset.fold={fold}: expected a whole number from 0 to {folds - 1}, as dataset.folds={folds}."
        )
    if test_split is not None:
        raise ConfigError("dataset.folds and dataset.test_split both say what is tested on: leave one of them out.")


def given_root(root: str | None) -> Path:
    """dataset.root as a path; refused where it is not set."""
    if not root:
        raise ConfigError("dataset.root is not set: give the place of your pictures, as in dataset.root=my_pictures.")
    return expanded(str(root))


def existing_folder(root: str | None) -> Path:
    """dataset.root as a path; refused where it is no folder."""
    path = given_root(root)
    try:
        if path.is_dir():
            return path
        near = [str(entry) for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    except OSError as error:  # above it is a folder that cannot be read, or the name is too long
        raise DataError(f"dataset.root={root}: the folder cannot be read ({error.strerror}).") from error
    hint = nearest(str(path), near) if near else ""
    hint = hint if hint.startswith(" Did") else ""
    raise DataError(f"dataset.root={root}: there is no such folder.{hint}")


def existing_table(root: str | None) -> Path:
    """dataset.root as the path of a CSV file; refused where there is none."""
    file = given_root(root)
    if not os.path.isfile(file):  # noqa: PTH113  # never raises, as Path's does
        raise DataError(f"There is no file '{file}'; dataset.root has to name a CSV file with columns path,label.")
    return file


def existing_weights(path: Path) -> Path:
    """The file that backbone.weights names; refused where there is none."""
    if not os.path.isfile(path):  # noqa: PTH113  # never raises, as Path's does
        raise WeightsError(
            f"backbone.weights={path}: there is no such file; give a state dict, a safetensors file,"
            " 'imagenet', or null for random weights."
        )
    return path
