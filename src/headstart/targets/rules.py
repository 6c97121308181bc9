"""Define how targets are read, checked, split evenly and described; the rules for classes and for numbers."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from headstart.errors import DataError, nearest
from headstart.inputs.collection import Targets
from headstart.targets.labels import (
    absent_classes,
    classes_text,
    is_imbalanced,
    number_of,
    refuse_no_classes,
    sizes_text,
    suspicious_labels,
)

Cells = Sequence[Sequence[str]]  # the cells of each row

LARGEST = 1e38  # numbers must be smaller, as networks compute in 32 bits
MOST_STRATA = 5  # ranges of numbers that splits hold in equal shares
LEAST_IN_STRATUM = 10  # images in a range; with few images, there are fewer ranges


class TargetRules(Protocol):
    """How a data set reads, checks, splits and describes targets of a kind."""

    from_folders: bool  # whether folders of classes give such targets
    masks_of: str  # content of masks, "classes" or "numbers"; "" if targets are no masks
    columns: str  # content of the columns that dataset.targets names, such as "numbers"; "" if it may not be set
    label_columns: Sequence[str]  # default names of the column of labels: the first one in the list is read
    may_be_empty: bool  # whether a list may have empty cells
    several_labels: bool  # whether targets are 0 or 1 for each label, (N, K)
    balances: Collection[str]  # valid values of dataset.balance

    def read(
        self, cells: Mapping[str, Cells], names: Sequence[str], place: str
    ) -> tuple[list[str], dict[str, NDArray[Any]], list[str]]:
        """Return class names, targets of each split, and warnings, from the cells of a list. Raises DataError.

        A row has a cell for each of ``names``, the columns of dataset.targets, or one cell if there are no names.
        """

    def strata(self, targets: NDArray[Any], class_names: Sequence[str]) -> tuple[Targets, list[str]]:
        """Return the stratum of each target, int64 (N,), and their names; each split gets its share of each stratum."""

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Raise DataError for targets that cannot be trained on."""

    def absent(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> list[str]:
        """Return a sentence for each split that lacks classes or labels."""

    def describe(self, targets: NDArray[Any], class_names: Sequence[str], balance: str) -> tuple[str, list[str]]:
        """Return a phrase for the targets of the training images, and further lines about them."""

    def text(self, target: Any, class_names: Sequence[str]) -> str:
        """Return a target as text, for messages and for the hash of the data."""


class ClassTargets:
    """Rules for targets that are indices of classes, int64 (N,)."""

    from_folders = True
    masks_of = ""
    columns = ""
    label_columns: Sequence[str] = ("label",)
    may_be_empty = False
    several_labels = False
    balances: Collection[str] = ("none", "loss", "sampler")

    def read(
        self, cells: Mapping[str, Cells], names: Sequence[str], place: str
    ) -> tuple[list[str], dict[str, NDArray[Any]], list[str]]:
        """Return class names, targets and warnings; the class names are the labels of train, sorted.

        Raises DataError for a label that train lacks.
        """
        labels = {split: [label for (label,) in rows] for split, rows in cells.items()}
        counts: dict[str, int] = {}
        for label in (label for found in labels.values() for label in found):
            counts[label] = counts.get(label, 0) + 1
        refuse_no_classes(counts, place)
        class_names = sorted(set(labels["train"]))
        numbers = {name: number for number, name in enumerate(class_names)}
        for split, found in labels.items():
            for label in found:
                if label not in numbers:
                    raise DataError(f"Class '{label}' of {split} is missing in train.{nearest(label, class_names)}")
        targets = {
            split: np.array([numbers[label] for label in found], dtype=np.int64) for split, found in labels.items()
        }
        return class_names, targets, suspicious_labels(counts)

    def strata(self, targets: NDArray[Any], class_names: Sequence[str]) -> tuple[Targets, list[str]]:
        """Return the targets and the class names, as each class is a stratum."""
        return targets, list(class_names)

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Raise DataError unless there are at least two classes and each has a training image."""
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
        """Return the classes as text, and lines on their numbers of training images."""
        lines = [sizes_text(class_names, targets)]
        if is_imbalanced(targets, len(class_names)) and balance == "none":
            lines.append("classes differ in size: dataset.balance=loss lets each count the same")
        return classes_text(class_names), lines

    def text(self, target: Any, class_names: Sequence[str]) -> str:
        """Return the name of the class."""
        return class_names[target]


class AnyLabels(ClassTargets):
    """Rules for labels that only divide the images evenly, so one class is enough and classes may be absent."""

    balances: Collection[str] = ("none", "sampler")

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Accept any labels."""

    def absent(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> list[str]:
        """Return nothing, as no class has to be in a split."""
        return []


class NumberTargets:
    """Rules for targets that are K numbers, float64 (N, K); the class names are those of their columns.

    There is no class name if a single number is in the label column.
    """

    from_folders = False
    masks_of = ""
    columns = "numbers"
    label_columns: Sequence[str] = ("label",)
    may_be_empty = False
    several_labels = False
    balances: Collection[str] = ("none",)

    def read(
        self, cells: Mapping[str, Cells], names: Sequence[str], place: str
    ) -> tuple[list[str], dict[str, NDArray[Any]], list[str]]:
        """Return the names, the cells as numbers, and no warning.

        Raises DataError for a cell that is no number or a too large one.
        """
        targets = {}
        for split, rows in cells.items():
            values = np.array([[number_of(cell) for cell in row] for row in rows], dtype=np.float64)  # NaN for None
            for row, column in np.argwhere(~(np.abs(values) < LARGEST)).tolist()[:1]:
                cell = rows[row][column]
                where = f"Column '{names[column]}' of '{place}'" if names else f"'{place}'"
                if number_of(cell) is not None:
                    raise DataError(f"{where} has the number {cell}, too large for 32 bits; use a larger unit.")
                raise DataError(f"{where} has the label '{cell}', but task=regression needs numbers.")
            targets[split] = values
        return list(names), targets, []

    def strata(self, targets: NDArray[Any], class_names: Sequence[str]) -> tuple[Targets, list[str]]:
        """Return up to five ranges of numbers with equally many images; equal numbers are in one range.

        For several targets, these are ranges of the first principal component of the standardised targets.
        """
        values, prefix = targets[:, 0], ""
        if targets.shape[1] > 1:
            spread = targets.std(axis=0)
            standard = (targets - targets.mean(axis=0)) / np.where(spread > 0, spread, 1)
            _, _, axes = np.linalg.svd(standard, full_matrices=False)
            axis = axes[0] * np.sign(axes[0, np.abs(axes[0]).argmax()])
            values, prefix = np.round(standard @ axis, 9), "component "
        count = max(1, min(MOST_STRATA, len(values) // LEAST_IN_STRATUM))
        edges = np.quantile(values, np.arange(1, count) / count)
        _, strata = np.unique(np.searchsorted(edges, values, side="right"), return_inverse=True)
        parts = [values[strata == one] for one in np.unique(strata)]
        return strata.astype(np.int64), [f"{prefix}{part.min():g} to {part.max():g}" for part in parts]

    def check(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> None:
        """Raise DataError if all images of a split have the same number."""
        for split, targets in splits.items():
            for column in np.flatnonzero((targets == targets[:1]).all(axis=0)).tolist() if len(targets) else []:
                where = f" in column '{class_names[column]}'" if class_names else ""
                why = "; there is nothing to learn from them" if split == "train" else ", so R² does not exist"
                name = "training" if split == "train" else split
                raise DataError(f"All {name} images have the number {targets[0, column]:g}{where}{why}.")

    def absent(self, splits: Mapping[str, NDArray[Any]], class_names: Sequence[str]) -> list[str]:
        """Return no sentence, as there are no classes."""
        return []

    def describe(self, targets: NDArray[Any], class_names: Sequence[str], balance: str) -> tuple[str, list[str]]:
        """Return the range or the names of the numbers, and a line on mean and deviation of each in train."""
        lines = []
        for column, name in enumerate(class_names or ["numbers"]):
            numbers = targets[:, column]
            span = f"{numbers.min():.4g} to {numbers.max():.4g}, " if class_names else ""
            lines.append(f"{name} in train: {span}mean {numbers.mean():.4g}, deviation {numbers.std():.4g}")
        if class_names:
            return f"{len(class_names)} number{'s' * (len(class_names) > 1)} ({', '.join(class_names)})", lines
        return f"numbers from {targets.min():.4g} to {targets.max():.4g}", lines

    def text(self, target: Any, class_names: Sequence[str]) -> str:
        """Return the numbers with all digits, separated by commas."""
        return ", ".join(repr(number) for number in np.atleast_1d(target).tolist())
