"""Which splits are made of train, what that needs, and which of the source's own splits and settings are left idle."""

from collections.abc import Mapping, Sequence

import numpy as np

from headstart.errors import DataError
from headstart.inputs.collection import Collection
from headstart.inputs.found import images_text

FRACTION = 0.2  # what the fractions are unless they are set


def splits_to_make(found: Mapping[str, Collection], test_split: str | None) -> list[str]:
    """Return the splits that are split off train, without folds."""
    given = {"test", *found} if test_split is not None else set(found)
    if test_split == "validation":
        given.discard("validation")
    return [name for name in ("validation", "test") if name not in given]


def check_enough(train: Collection, made: Sequence[str], class_names: Sequence[str]) -> None:
    """Refuse a class with too few images for train and every split that is made of it."""
    counts = np.bincount(train.targets, minlength=len(class_names))
    for label in np.flatnonzero(counts <= len(made)).tolist():
        names = ["train", *made]
        many = images_text(int(counts[label])) if counts[label] else "no image"
        raise DataError(
            f"Class '{class_names[label]}' has {many}; {len(names)} are needed for"
            f" {', '.join(names[:-1])} and {names[-1]}."
        )


def splits_not_used(found: Mapping[str, Collection], folds: int | None, test_split: str | None) -> list[str]:
    """Return a phrase for each split of the source that takes no part."""
    used = ("train", "validation", "test" if test_split is None and folds is None else test_split)
    return [f"split `{name}`: {images_text(len(split))}" for name, split in found.items() if name not in used]


def idle_fractions(made: Sequence[str], folds: int | None, fractions: Mapping[str, float]) -> str:
    """Return which fractions were set without effect; empty where there are none. ``fractions`` are by split."""
    idle = [name for name, share in fractions.items() if share != FRACTION and name not in made]
    why = "test is a fold" if folds is not None else "there is such a split"
    return f"{' and '.join(f'dataset.{name}_fraction' for name in idle)} not used, as {why}" if idle else ""
