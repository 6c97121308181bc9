"""How targets of each kind are read, checked, split evenly and described."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError, nearest
from headstart.inputs.collection import Targets
from headstart.kinds.labels import (
    absent_classes,
    classes_text,
    is_imbalanced,
    number_of,
    refuse_no_classes,
    sizes_text,
    suspicious_labels,
)

MOST_STRATA = 5  # ranges of numbers that splits hold in equal shares
LEAST_IN_STRATUM = 10  # images; with fewer in all, there are fewer ranges


class TargetRules(Protocol):
    """What a data set needs to know of the kind of its targets."""

    from_folders: bool  # whether folders of classes give such targets
    from_masks: bool  # whether they are label images

    def read(
        self, labels: Mapping[str, Sequence[str]], place: str
    ) -> tuple[list[str], dict[str, NDArray[Any]], list[str]]:
        """Return class names, targets of each split, and warnings, from the labels in a list. Raises DataError."""

    def strata(self, targets: NDArray[Any], class_names: Sequence[str]) -> tuple[Targets, list[str]]:
        """Return the stratum of each target, int64 (N,), and the names of the strata: splits hold them evenly."""

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Raise DataError for targets that cannot be trained on."""

    def absent(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> list[str]:
        """Return a sentence for each split that lacks classes."""

    def describe(self, targets: NDArray[Any], class_names: Sequence[str], balance: str) -> tuple[str, list[str]]:
        """Return a phrase for the targets of the training images, and further lines about them."""

    def text(self, target: Any, class_names: Sequence[str]) -> str:
        """Return a target as people read it, which also counts as the label in hashes."""


class ClassTargets:
    """Targets are indices of classes, int64 (N,)."""

    from_folders = True
    from_masks = False

    def read(
        self, labels: Mapping[str, Sequence[str]], place: str
    ) -> tuple[list[str], dict[str, NDArray[Any]], list[str]]:
        """Return the labels of train, sorted, as class names. Raises DataError for a label that train lacks."""
        counts: dict[str, int] = {}
        for label in (label for of in labels.values() for label in of):
            counts[label] = counts.get(label, 0) + 1
        refuse_no_classes(counts, place)
        class_names = sorted(set(labels["train"]))
        numbers = {name: number for number, name in enumerate(class_names)}
        for split, of in labels.items():
            for label in of:
                if label not in numbers:
                    raise DataError(f"Class '{label}' of {split} is missing in train.{nearest(label, class_names)}")
        targets = {split: np.array([numbers[label] for label in of], dtype=np.int64) for split, of in labels.items()}
        return class_names, targets, suspicious_labels(counts)

    def strata(self, targets: NDArray[Any], class_names: Sequence[str]) -> tuple[Targets, list[str]]:
        """Return the classes themselves."""
        return targets, list(class_names)

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Raise DataError unless there are two classes and each has a training image."""
        if len(class_names) < 2:
            raise DataError(f"There is only the class '{class_names[0]}'; classification needs at least two.")
        counts = np.bincount(splits["train"], minlength=len(class_names))
        for label in np.flatnonzero(counts == 0):
            held = [name for name in ("validation", "test") if (splits[name] == label).any()]
            where = f", though {' and '.join(held)} ha{'ve' if len(held) > 1 else 's'} it" if held else ""
            raise DataError(
                f"Class '{class_names[int(label)]}' has no image in train{where}; every class needs one there."
            )

    def absent(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> list[str]:
        """Return a sentence for each split that lacks classes."""
        return absent_classes(splits, class_names)

    def describe(self, targets: NDArray[Any], class_names: Sequence[str], balance: str) -> tuple[str, list[str]]:
        """Return the classes, and their sizes."""
        lines = [sizes_text(class_names, targets)]
        if is_imbalanced(targets, len(class_names)) and balance == "none":
            lines.append("classes differ in size: dataset.balance=loss lets each count the same")
        return classes_text(class_names), lines

    def text(self, target: Any, class_names: Sequence[str]) -> str:
        """Return the name of the class."""
        return class_names[target]


class NumberTargets:
    """Targets are numbers, float64 (N,); there are no classes."""

    from_folders = False
    from_masks = False

    def read(
        self, labels: Mapping[str, Sequence[str]], place: str
    ) -> tuple[list[str], dict[str, NDArray[Any]], list[str]]:
        """Return no class names, and the labels as numbers. Raises DataError for a label that is no number."""
        targets = {}
        for split, of in labels.items():
            values = [number_of(label) for label in of]
            if None in values:
                label = of[values.index(None)]
                raise DataError(f"'{place}' has the label '{label}', but task=regression needs numbers.")
            targets[split] = np.array(values, dtype=np.float64)
        return [], targets, []

    def strata(self, targets: NDArray[Any], class_names: Sequence[str]) -> tuple[Targets, list[str]]:
        """Return up to five ranges of numbers with equally many images; equal numbers are in one range."""
        count = max(1, min(MOST_STRATA, len(targets) // LEAST_IN_STRATUM))
        edges = np.quantile(targets, np.arange(1, count) / count)
        _, strata = np.unique(np.searchsorted(edges, targets, side="right"), return_inverse=True)
        names = [f"{targets[strata == one].min():g} to {targets[strata == one].max():g}" for one in np.unique(strata)]
        return strata.astype(np.int64), names

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Raise DataError where all training images have the same number."""
        train = splits["train"]
        if len(train) and (train == train[0]).all():
            raise DataError(f"All training images have the number {train[0]:g}; there is nothing to learn from them.")

    def absent(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> list[str]:
        """Return nothing: there are no classes."""
        return []

    def describe(self, targets: NDArray[Any], class_names: Sequence[str], balance: str) -> tuple[str, list[str]]:
        """Return the range of the numbers, and their mean and deviation."""
        phrase = f"numbers from {targets.min():.4g} to {targets.max():.4g}"
        return phrase, [f"numbers in train: mean {targets.mean():.4g}, deviation {targets.std():.4g}"]

    def text(self, target: Any, class_names: Sequence[str]) -> str:
        """Return the number, exactly."""
        return repr(float(target))
