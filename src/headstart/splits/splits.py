"""Make stratified splits and subsets, each with its own random stream."""

from collections.abc import Collection

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError
from headstart.inputs.collection import Targets
from headstart.seeds import generator

Indices = NDArray[np.int64]


def split_off(
    targets: Targets, fraction: float, seed: int, class_names: list[str], what: str
) -> tuple[Indices, Indices]:
    """Return positions that stay and positions split off: ``fraction`` of each class, at least one, never all.

    The choice depends only on the seed, the class and its number of images.
    """
    if not 0 < fraction < 1:
        raise DataError(f"dataset.{what}_fraction={fraction}: expected a fraction between 0 and 1, such as 0.2.")
    stay, off = [], []
    for label, positions in _by_class(targets, len(class_names)):
        if len(positions) < 2:
            raise DataError(
                f"Class '{class_names[label]}' has {len(positions)} image{'' if len(positions) == 1 else 's'},"
                f" too few to split off a {what} set: at least 2 are needed."
            )
        order = generator(f"split {what}", seed, label).permutation(positions)
        count = min(max(1, round(fraction * len(order))), len(order) - 1)
        off.append(order[:count])
        stay.append(order[count:])
    return np.sort(np.concatenate(stay)), np.sort(np.concatenate(off))


def fold_of(targets: Targets, folds: int, fold: int, seed: int, class_names: list[str]) -> tuple[Indices, Indices]:
    """Return positions outside and inside one of ``folds`` stratified parts; each position is inside exactly one.

    The parts of a class differ by at most one image; the index of the class decides which folds get the extra images.
    """
    stay, off = [], []
    for label, positions in _by_class(targets, len(class_names)):
        if len(positions) < folds:
            raise DataError(
                f"dataset.folds={folds}: class '{class_names[label]}' has only {len(positions)}"
                f" image{'' if len(positions) == 1 else 's'}; each fold needs one."
            )
        parts = np.array_split(generator("split fold", seed, label).permutation(positions), folds)
        inside = (fold + label) % folds
        off.append(parts[inside])
        stay += [part for number, part in enumerate(parts) if number != inside]
    return np.sort(np.concatenate(stay)), np.sort(np.concatenate(off))


def few_per_class(
    targets: Targets,
    count: int,
    seed: int,
    class_names: list[str],
    without: Collection[int] = (),
    split: str = "training",
) -> Indices:
    """Return positions of ``count`` images of each class; a smaller count gives a subset of a larger one.

    Positions in ``without`` are skipped and replaced by the next ones. Each ``split``, training or validation, has its
    own random stream.
    """
    setting, name = (
        ("labels_per_class", "subset") if split == "training" else (f"{split}_labels_per_class", f"subset {split}")
    )
    if isinstance(count, bool) or count < 1:
        raise DataError(f"dataset.{setting}={count}: expected a whole number above 0, or null for all.")
    chosen = []
    for label, positions in _by_class(targets, len(class_names)):
        order = generator(name, seed, label).permutation(positions)
        order = order[~np.isin(order, list(without))]
        if len(order) < count:
            raise DataError(
                f"dataset.{setting}={count}: class '{class_names[label]}' has only {len(order)}"
                f" {split} image{'' if len(order) == 1 else 's'}"
                f"{' that can be read' if len(order) < len(positions) else ''}."
            )
        chosen.append(order[:count])
    return np.sort(np.concatenate(chosen))


def _by_class(targets: Targets, classes: int) -> list[tuple[int, Indices]]:
    return [(label, np.flatnonzero(targets == label)) for label in range(classes)]
