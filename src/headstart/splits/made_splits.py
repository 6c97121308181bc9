"""Decide which splits are made from train, and report splits and settings that are not used."""

from collections.abc import Mapping, Sequence

import numpy as np

from headstart.errors import DataError
from headstart.inputs.collection import Collection, Targets
from headstart.inputs.found import images_text

FRACTION = 0.2  # the default of both fractions


def splits_to_make(found: Mapping[str, Collection], test_split: str | None) -> list[str]:
    """Return the names of the splits to split off train, for a run without folds."""
    given = {"test", *found} if test_split is not None else set(found)
    if test_split == "validation":
        given.discard("validation")
    return [name for name in ("validation", "test") if name not in given]


def check_enough(strata: Targets, made: Sequence[str], class_names: Sequence[str]) -> None:
    """Raise DataError for a class with too few images for train and every split made from it."""
    counts = np.bincount(strata, minlength=len(class_names))
    for label in np.flatnonzero(counts <= len(made)).tolist():
        names = ["train", *made]
        many = images_text(int(counts[label])) if counts[label] else "no image"
        raise DataError(
            f"Class '{class_names[label]}' has {many}; {len(names)} are needed for"
            f" {', '.join(names[:-1])} and {names[-1]}."
        )


def splits_not_used(found: Mapping[str, Collection], folds: int | None, test_split: str | None) -> list[str]:
    """Return a phrase for each split of the source that is not used."""
    used = ("train", "validation", "test" if test_split is None and folds is None else test_split)
    return [f"split `{name}`: {images_text(len(split))}" for name, split in found.items() if name not in used]


def idle_fractions(made: Sequence[str], folds: int | None, fractions: Mapping[str, float]) -> str:
    """Return a phrase on the ``fractions``, by split, that are set but have no effect; empty if there are none."""
    idle = [name for name, fraction in fractions.items() if fraction != FRACTION and name not in made]
    why = "test is a fold" if folds is not None else "the source has its own split"
    return f"{' and '.join(f'dataset.{name}_fraction' for name in idle)} not used, as {why}" if idle else ""
