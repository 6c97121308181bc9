"""Check settings of data sets that depend on each other, and paths on disk. Needs no torch; opens no image."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from headstart.errors import ConfigError, DataError, WeightsError, nearest
from headstart.files import expanded, hint_beside
from headstart.settings.leaf_table import check_parameters
from headstart.settings.leaves import is_whole
from headstart.settings.split_names import SPLITS, split_name

BEST_OF_RUN = Path("checkpoints", "best.ckpt")  # in the directory of a run
ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")


def check_dataset(settings: Mapping[str, Any]) -> None:
    """Raise ConfigError for values that no data set accepts; settings that are not given are not checked."""
    check_parameters("dataset", settings)
    _check_folds(settings.get("folds"), settings.get("fold", 0), settings.get("test_split"))
    given_splits(settings.get("splits"))
    classes, files = settings.get("classes"), {"palette": settings.get("palette")}
    if isinstance(classes, str) and "ignore_index" in settings:  # masks may have a file of names
        files["classes"] = classes
    else:
        given_classes(classes)
    for key, file in files.items():
        if file is not None and not is_file(expanded(str(file))):
            raise ConfigError(f"dataset.{key}={file}: there is no such file.")
    _check_groups(settings.get("groups"), settings.get("group_column"))
    crop, resize = settings.get("crop_fraction"), settings.get("resize", "crop")
    if crop not in (None, 1) and resize != "crop":  # 1 crops nothing
        raise ConfigError(
            f"dataset.crop_fraction={crop}: dataset.resize={resize} keeps the whole image, so nothing is cropped; leave"
            " one of the two out."
        )


def check_solved_balance(balance: str, strategy: str, task: str = "classification") -> None:
    """Raise ConfigError for a dataset.balance without effect on a strategy that computes its head.

    ``strategy`` is the name of the strategy in the settings.
    """
    if balance == "sampler":
        raise ConfigError(
            f"dataset.balance=sampler draws batches, and strategy={strategy} has none: use dataset.balance=loss."
        )
    if balance == "loss" and task == "multilabel" and strategy in ("ridge", "knn"):
        raise ConfigError(
            f"dataset.balance=loss weighs positives in the cross-entropy, and strategy={strategy} has none: use"
            " strategy=linear_probe."
        )
    if balance == "loss" and strategy == "nearest_centroid":
        raise ConfigError(
            "dataset.balance=loss: strategy=nearest_centroid takes the mean of each class, whatever its number of"
            " images, so there is nothing to weigh: leave dataset.balance=none."
        )


def _check_folds(folds: int | None, fold: int, test_split: object) -> None:
    """Raise ConfigError for a fold without folds, a fold that is too large, or folds together with a test split."""
    if folds is None:
        if fold != 0:
            raise ConfigError(f"dataset.fold={fold} needs dataset.folds, as in dataset.folds=5.")
        return
    if fold >= folds:
        raise ConfigError(
            f"dataset.fold={fold}: expected a whole number from 0 to {folds - 1}, as dataset.folds={folds}."
        )
    if test_split is not None:
        raise ConfigError("dataset.folds and dataset.test_split both choose the test images: leave one of them out.")


def _check_groups(groups: object, column: object) -> None:
    """Raise ConfigError for text that is no pattern, or for a pattern together with a column of groups."""
    if groups is None:
        return
    if column is not None:
        raise ConfigError("dataset.groups and dataset.group_column both define groups: leave one of them out.")
    try:
        count = re.compile(groups).groups if isinstance(groups, str) and groups else None
    except re.error as error:
        raise ConfigError(f"dataset.groups={groups}: expected a regular expression; {error}.") from error
    if count is None or count > 1:
        raise ConfigError(
            f"dataset.groups={groups}: expected a regular expression with one part in brackets at most, such as"
            " 'patient(\\d+)', or null."
        )


def given_splits(splits: object) -> dict[str, str] | None:
    """Return dataset.splits with the keys train, validation and test; None for null. Raises ConfigError."""
    if splits is None:
        return None
    if not isinstance(splits, Mapping) or not splits:
        raise ConfigError(f"dataset.splits={splits}: expected a mapping, as in dataset.splits={{train: a, test: b}}.")
    found: dict[str, str] = {}
    for name, value in splits.items():
        split = split_name(str(name))
        if split not in SPLITS:
            raise ConfigError(f"dataset.splits has the key '{name}'.{nearest(split, SPLITS)}")
        if split in found:
            raise ConfigError(f"dataset.splits names {split} twice; keep one.")
        if not is_whole(value) and not (isinstance(value, str) and value.strip()):
            raise ConfigError(
                f"dataset.splits={{{name}: {value}}}: expected the name of a folder, or a value of a list."
            )
        found[split] = str(value).strip()
    if "train" not in found:
        raise ConfigError(f"dataset.splits names {' and '.join(found)} but not train; add train.")
    if len(set(found.values())) < len(found):
        raise ConfigError(f"dataset.splits={splits}: expected a different place for each split.")
    return found


def given_classes(classes: object) -> list[str] | None:
    """Return dataset.classes as a list of texts; None for null. Raises ConfigError."""
    if classes is None:
        return None
    fits = isinstance(classes, Sequence) and not isinstance(classes, str)
    if not fits or not all(is_whole(name) or isinstance(name, str) for name in classes):  # type: ignore[attr-defined]
        raise ConfigError(f"dataset.classes={classes}: expected a list of names, as in dataset.classes=[cat,dog].")
    names = [str(name) for name in classes]  # type: ignore[attr-defined]
    if len(set(names)) < len(names) or len(names) < 2:
        raise ConfigError(f"dataset.classes={names}: expected at least two different names.")
    return names


def check_no_root(name: str, root: object) -> None:
    """Raise ConfigError for a folder that is given to a data set without one."""
    if root is not None:
        raise ConfigError(
            f"dataset.root={root}: {name} comes with the package and reads no folder; for your own images add"
            " dataset=image_folder."
        )


def given_root(root: str | None) -> Path:
    """Return dataset.root as a path. Raises ConfigError where it is not set."""
    if not root:
        raise ConfigError("dataset.root is not set: give the place of your images, as in dataset.root=my_images.")
    return expanded(str(root))


def existing_folder(root: str | None) -> Path:
    """Return dataset.root as the path of a folder. Raises ConfigError or DataError."""
    path = given_root(root)
    if is_file(path):
        archive = path.name.lower().endswith(ARCHIVES)
        mend = "unpack it first" if archive else "for a list of images and labels use dataset=csv"
        raise DataError(f"dataset.root={root} is a file; expected a folder of class folders: {mend}.")
    return _folder("root", str(root), path)


def existing_images(images: str | None) -> Path | None:
    """Return dataset.pictures as the path of a folder; None for null. Raises DataError."""
    if images is None:
        return None
    path = expanded(str(images))
    if is_file(path):
        raise DataError(f"dataset.pictures={images} is a file; expected the folder that paths in the list start from.")
    return _folder("pictures", str(images), path)


def _folder(key: str, given: str, path: Path) -> Path:
    """Return the path of a folder. Raises DataError, with the nearest name, where it does not exist."""
    try:
        if path.is_dir():
            return path
    except OSError as error:  # a folder above it cannot be read, or the name is too long
        raise DataError(f"dataset.{key}={given}: the folder cannot be read ({error.strerror}).") from error
    raise DataError(f"dataset.{key}={given}: there is no such folder.{hint_beside(path, Path.is_dir)}")


def existing_table(root: str | None) -> Path:
    """Return dataset.root as the path of a CSV file. Raises ConfigError or DataError."""
    file = given_root(root)
    if is_file(file):
        return file
    if os.path.isdir(file):  # noqa: PTH112  # unlike Path.is_dir, it never raises
        lists = sorted(path.name for path in file.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
        mend = f"name one, such as {', '.join(lists[:3])}" if lists else "for class folders use dataset=image_folder"
        raise DataError(f"dataset.root={root} is a folder; dataset=csv reads a CSV file: {mend}.")
    raise DataError(
        f"There is no file '{file}'; dataset.root has to name a CSV file with columns path,label."
        f"{hint_beside(file, is_file)}"
    )


def is_file(path: Path) -> bool:
    """Return whether a path is a file; False for text that cannot be a path."""
    return os.path.isfile(path)  # noqa: PTH113  # unlike Path.is_file, it never raises


def existing_weights(path: Path) -> Path:
    """Return the file that backbone.weights names; of a run directory, its best.ckpt. Raises WeightsError."""
    if os.path.isfile(best := path / BEST_OF_RUN):  # noqa: PTH113
        return best
    if os.path.isdir(path):  # noqa: PTH112
        raise WeightsError(
            f"backbone.weights={path}: this is a folder; name a file in it, or give backbone=timm"
            f" 'backbone.name=\"local-dir:{path}\"' for a network saved by timm."
        )
    if not os.path.isfile(path):  # noqa: PTH113  # unlike Path.is_file, it never raises
        raise WeightsError(
            f"backbone.weights={path}: there is no such file; give a state dict, a safetensors file,"
            " 'imagenet', or null for random weights."
        )
    return path
